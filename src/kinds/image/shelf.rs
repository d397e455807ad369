//! Where a node keeps its images: a file and a sidecar each in `images/` below the data directory.
//!
//! The name of the pair is `NAME-DIGEST`, the digest being of the source: another source is another pair, and what was
//! made of the old one is not disturbed. The sidecar is written last and whole, so a pair is there or it is not.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::ImageSpec;
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind, Mark, Name, Size};
use crate::kinds::World;

/// What is written beside an image's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Whose it is.
    pub mark: Mark,
    /// What it was made from.
    pub spec: ImageSpec,
    /// The SHA-256 of the file.
    pub digest: String,
    /// The bytes in the file.
    pub size: Size,
    /// The size a guest sees.
    pub virtual_size: Size,
    /// When the file was last changed, in nanoseconds; any other value means that someone wrote to it.
    pub modified: i64,
    /// When it was made.
    pub made: jiff::Timestamp,
}

/// One image on the shelf.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What was noted of it.
    pub sidecar: Sidecar,
    /// Its file.
    pub path: PathBuf,
    /// Whether the file is as it was made, as far as size and time of change tell.
    pub intact: bool,
}

/// What was found under one name.
#[derive(Debug, Default)]
pub struct Found {
    /// The images, the newest last.
    pub kept: Vec<Kept>,
    /// Why a sidecar could not be read.
    pub unreadable: Option<String>,
}

/// The directory of images.
#[derive(Debug, Clone)]
pub struct Shelf(PathBuf);

/// Held while an image is made; let go when dropped, or when the process dies.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Shelf {
    /// The shelf of this node.
    pub fn of(world: &World) -> Self {
        Self(world.data_dir.join("images"))
    }

    /// Makes the directory.
    pub fn make(&self) -> Result<(), Fault> {
        fs::create_dir_all(&self.0).attempt(|| format!("make {}", self.0.display()))
    }

    /// The path of a file with this ending for the image `name` of this spec.
    pub fn path(&self, name: &Name, spec: &ImageSpec, ending: &str) -> PathBuf {
        self.0.join(format!("{name}-{}.{ending}", source_digest(spec)))
    }

    /// The directory in which the image of this UID is built.
    pub fn build_dir(&self, uid: crate::base::Uid) -> PathBuf {
        self.0.join(format!("build-{uid}"))
    }

    /// Takes the sole right to make the image of this name.
    pub fn lock(&self, name: &Name) -> Result<Lock, Fault> {
        let path = self.0.join(format!(".{name}.lock"));
        let open = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.attempt(|| format!("open {}", path.display()))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            // Whoever deleted the image in between removed the file that is locked here.
            Ok(()) if fs::metadata(&path).is_ok_and(|m| file.metadata().is_ok_and(|f| f.ino() == m.ino())) => {
                Ok(Lock(file))
            }
            Ok(()) | Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(Fault::new(FaultKind::Busy, format!("another run of reeve works on image/{name}"))
                    .help("wait for it to end"))
            }
            Err(error) => Err(Fault::from(io::Error::from(error)).context(format!("lock {}", path.display()))),
        }
    }

    /// Removes the lock file of an image that is gone, before the lock is let go.
    pub fn unlock(&self, name: &Name, lock: Lock) -> Result<(), Fault> {
        remove_file(&self.0.join(format!(".{name}.lock")))?;
        drop(lock);
        Ok(())
    }

    /// Everything on the shelf, by the image's name.
    pub fn list(&self) -> Result<BTreeMap<Name, Found>, Fault> {
        let mut all: BTreeMap<Name, Found> = BTreeMap::new();
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(Fault::from(error).context(format!("list {}", self.0.display()))),
        };
        for entry in entries {
            let path = entry.attempt(|| format!("list {}", self.0.display()))?.path();
            let Some(name) = sidecar_name(&path) else { continue };
            let found = all.entry(name).or_default();
            match read(&path) {
                Ok(Some(kept)) => found.kept.push(kept),
                Ok(None) => {}
                Err(fault) => found.unreadable = Some(fault.message),
            }
        }
        all.retain(|_, found| !found.kept.is_empty() || found.unreadable.is_some());
        for found in all.values_mut() {
            found.kept.sort_by_key(|k| k.sidecar.made);
        }
        Ok(all)
    }

    /// The image of this name made from this very source.
    pub fn find(&self, name: &Name, spec: &ImageSpec) -> Result<Option<Kept>, Fault> {
        let found = self.list()?.remove(name).unwrap_or_default();
        match (found.kept.into_iter().rev().find(|k| same_source(&k.sidecar.spec, spec)), found.unreadable) {
            (None, Some(why)) => Err(Fault::other(why)),
            (kept, _) => Ok(kept),
        }
    }

    /// Puts a finished file on the shelf under its name and notes what it is.
    pub fn keep(&self, name: &Name, made: &Path, sidecar: &Sidecar) -> Result<(), Fault> {
        let path = self.path(name, &sidecar.spec, sidecar.spec.format().word());
        let store = || -> io::Result<()> {
            fs::rename(made, &path)?;
            File::open(&self.0)?.sync_all()
        };
        store().attempt(|| format!("move {} to {}", made.display(), path.display()))?;
        self.note(&path, sidecar)
    }

    /// Writes the sidecar of an image's file, whole or not at all.
    pub fn note(&self, file: &Path, sidecar: &Sidecar) -> Result<(), Fault> {
        let path = file.with_extension("json");
        let text = serde_json::to_vec_pretty(sidecar).map_err(|e| Fault::other(e.to_string()))?;
        write_whole(&path, &text).attempt(|| format!("write {}", path.display()))
    }

    /// Removes an image, the sidecar first.
    pub fn remove(&self, kept: &Kept) -> Result<(), Fault> {
        for path in [kept.path.with_extension("json"), kept.path.clone()] {
            remove_file(&path)?;
        }
        Ok(())
    }

    /// Removes what broken-off runs left of the image `name`, save what serves `keep`.
    ///
    /// The caller holds the image's lock.
    pub fn clean(&self, name: &Name, uid: crate::base::Uid, keep: Option<&ImageSpec>) -> Result<(), Fault> {
        super::debian::clear(&self.build_dir(uid))?;
        let kept = keep.map(|spec| self.path(name, spec, "part"));
        let Ok(entries) = fs::read_dir(&self.0) else { return Ok(()) };
        for path in entries.flatten().map(|e| e.path()) {
            let file = path.file_name().and_then(|f| f.to_str()).unwrap_or_default();
            let ours = file
                .strip_suffix(".part")
                .or_else(|| file.strip_suffix(".part.json"))
                .or_else(|| file.strip_suffix(".copy"))
                .is_some_and(|stem| stem_name(stem).as_ref() == Some(name));
            let useful = kept.as_ref().is_some_and(|k| path == *k || path == part_note(k));
            if ours && !useful {
                remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// The note beside a download that is not finished.
pub fn part_note(part: &Path) -> PathBuf {
    part.with_extension("part.json")
}

/// When a file was last changed, in nanoseconds.
pub fn modified(meta: &fs::Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// Removes a file; one that is not there counts as removed.
pub fn remove_file(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::from(error).context(format!("remove {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Removes a directory and what is in it; one that is not there counts as removed.
pub fn remove_tree(path: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::from(error).context(format!("remove {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes a file so that it is there whole and durable, or as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(dir)?.sync_all()
}

/// The first digits of the SHA-256 of everything that decides what an image's bytes are.
fn source_digest(spec: &ImageSpec) -> String {
    let what = serde_json::json!([spec.kind, spec.format(), spec.canonical().source]);
    let digest = sha2::Sha256::digest(what.to_string());
    hex(&digest)[..12].to_owned()
}

/// Whether two specs ask for the same bytes.
pub fn same_source(a: &ImageSpec, b: &ImageSpec) -> bool {
    let (a, b) = (a.canonical(), b.canonical());
    (a.kind, a.format, a.source) == (b.kind, b.format, b.source)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The image's name in the name of a sidecar, `NAME-DIGEST.json`.
fn sidecar_name(path: &Path) -> Option<Name> {
    stem_name(path.file_name()?.to_str()?.strip_suffix(".json")?)
}

fn stem_name(stem: &str) -> Option<Name> {
    let (name, digest) = stem.rsplit_once('-')?;
    (digest.len() == 12 && digest.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Name::new(name).ok())?
}

/// Reads a sidecar and looks at its file; `None` when either is not there.
fn read(path: &Path) -> Result<Option<Kept>, Fault> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Fault::from(error).context(format!("read {}", path.display()))),
    };
    let sidecar: Sidecar = serde_json::from_slice(&bytes).map_err(|error| {
        Fault::other(format!("read {}: it is not what reeve wrote: {error}", path.display()))
            .help("look at the file; if nothing needs it, remove it and its image, and apply again")
    })?;
    let file = path.with_extension(sidecar.spec.format().word());
    match fs::metadata(&file) {
        Ok(meta) => {
            let intact = meta.len() == sidecar.size.bytes() && modified(&meta) == sidecar.modified;
            Ok(Some(Kept { sidecar, path: file, intact }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::from(error).context(format!("look at {}", file.display()))),
    }
}
