//! Power cuts: at every moment when something is to be made durable, a disk that kept of the rest what it liked.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reeve::store::Store as _;
use reeve::store::embedded::{Disk, Options};

use super::{NEVER, names, open, options};

/// How many images are looked at.
const IMAGES: u64 = 500;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A disk of which an image is taken whenever something is to be made durable.
#[derive(Debug)]
struct Cut {
    dir: PathBuf,
    images: PathBuf,
    /// How many commits were acknowledged.
    acknowledged: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    chance: fastrand::Rng,
    /// By inode: how much of a file is durable.
    durable: HashMap<u64, usize>,
    /// By number: how many commits an image has to have.
    images: Vec<u64>,
    torn: usize,
}

impl Cut {
    fn new(dir: &Path, images: &Path, seed: u64) -> Arc<Self> {
        let chance = fastrand::Rng::with_seed(seed);
        let taken = Taken { chance, durable: HashMap::new(), images: Vec::new(), torn: 0 };
        let (dir, images, acknowledged) = (dir.to_owned(), images.to_owned(), AtomicU64::new(0));
        Arc::new(Self { dir, images, acknowledged, taken: Mutex::new(taken) })
    }

    /// Takes an image; none when files were put in place or taken away meanwhile.
    fn image(&self, taken: &mut Taken) {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let look = || names(&self.dir).into_iter().filter(|n| n != "lock").collect::<Vec<_>>();
        let inodes = |names: &[String]| -> Vec<_> {
            names.iter().map(|n| fs::metadata(self.dir.join(n)).map(|m| m.ino()).ok()).collect()
        };
        let before = look();
        let files = inodes(&before);
        let bytes: Vec<_> = before.iter().map(|n| fs::read(self.dir.join(n)).ok()).collect();
        if look() != before || inodes(&before) != files || bytes.iter().any(Option::is_none) {
            return;
        }
        let to = self.images.join(taken.images.len().to_string());
        fs::create_dir(&to).unwrap();
        for ((name, inode), bytes) in before.iter().zip(files).zip(bytes) {
            let (mut bytes, durable) = (bytes.unwrap(), taken.durable.get(&inode.unwrap()).copied().unwrap_or(0));
            if durable < bytes.len() {
                taken.torn += 1;
                spoil(&mut bytes, durable, &mut taken.chance);
            }
            fs::write(to.join(name), bytes).unwrap();
        }
        taken.images.push(acknowledged);
    }
}

/// Drops, tears or reorders what is not durable.
fn spoil(bytes: &mut Vec<u8>, durable: usize, chance: &mut fastrand::Rng) {
    match chance.u8(0..4) {
        0 => bytes.truncate(durable),
        1 => bytes.truncate(chance.usize(durable..=bytes.len())),
        2 => {}
        _ => {
            // Later sectors arrived and earlier ones did not.
            let whole = bytes.len();
            for sector in durable / SECTOR..=whole / SECTOR {
                let part = (sector * SECTOR).max(durable)..((sector + 1) * SECTOR).min(whole);
                if chance.bool() && !part.is_empty() {
                    bytes[part].fill(0);
                }
            }
        }
    }
}

impl Disk for Cut {
    fn write(&self, _path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, _path: &Path, file: &File) -> io::Result<()> {
        let mut taken = self.taken.lock().unwrap();
        self.image(&mut taken);
        let meta = file.metadata()?;
        taken.durable.insert(meta.ino(), usize::try_from(meta.len()).unwrap());
        Ok(())
    }
}

/// What commit number `n` writes.
fn value(n: u64) -> Vec<u8> {
    vec![u8::try_from(n % 251).unwrap(); usize::try_from(n * 97 % 3_000).unwrap()]
}

#[tokio::test]
async fn a_power_cut_at_any_sync_loses_nothing_acknowledged() {
    let (dir, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Cut::new(dir.path(), images.path(), 1);
    let store = open(dir.path(), Options { disk: disk.clone(), ..options(64 * 1024) });
    let mut commits = 0;
    while u64::try_from(disk.taken.lock().unwrap().images.len()).unwrap() < IMAGES {
        store.put(&format!("k/{commits}"), value(commits)).await.unwrap();
        commits += 1;
        disk.acknowledged.store(commits, Ordering::SeqCst);
    }
    drop(store);
    let (needed, torn) = {
        let taken = disk.taken.lock().unwrap();
        (taken.images.clone(), taken.torn)
    };
    for (number, acknowledged) in needed.iter().enumerate() {
        let image = images.path().join(number.to_string());
        let store = open(&image, options(NEVER));
        for n in 0..*acknowledged {
            let entry = store.get(&format!("k/{n}")).await.unwrap();
            assert!(entry.is_some_and(|e| *e.value == *value(n)), "image {number} lost commit {n} of {acknowledged}");
        }
        let all = store.list("").await.unwrap();
        let most = *acknowledged + 1;
        assert!(all.revision <= most && all.entries.len() as u64 == all.revision, "image {number}: {}", all.revision);
        store.put("more", vec![]).await.unwrap();
    }
    assert!(torn > 300, "only {torn} files had something that was not durable");
}
