//! File systems for containers: made, filled from an archive as the guest's own root would do it, and grown.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use super::apart::{Apart, enter_mounts};
use super::host::{Host, Ids};
use crate::base::exec::Command;
use crate::base::{Attempt as _, Fault, FaultKind};
use crate::drivers::container::{Fill, Place};

const LONG: Duration = Duration::from_secs(3600);

/// Makes a file system at a place and fills it; what was there is lost.
pub async fn fill(fill: &Fill, host: &Host) -> Result<(), Fault> {
    let ids = if fill.unprivileged { Some(host.ids.clone()?) } else { None };
    if fill.keep && !blank(&fill.place).await? {
        return hand_over(&fill.place, ids).await;
    }
    match &fill.place {
        Place::Image(path) | Place::Block(path) => {
            wait_until_free(path).await?;
            make(path, ids).await?;
        }
        Place::Directory(path) => empty(path)?,
        Place::File(path) => {
            return Err(Fault::new(FaultKind::Invalid, format!("{} cannot hold a file system", path.display())));
        }
    }
    let apart = Apart::mount(&fill.place).await?;
    let filled = unpack(&apart, fill, ids).await;
    let ended = apart.end().await;
    filled.and(ended)?;
    sync(fill.place.path())
}

async fn make(path: &Path, ids: Option<Ids>) -> Result<(), Fault> {
    let owner = ids.map_or("0:0".to_owned(), |i| format!("{}:{}", i.users.first, i.groups.first));
    Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "1", "-E", &format!("root_owner={owner}")])
        .arg(path)
        .deadline(LONG)
        .run()
        .await
        .attempt(|| format!("making a file system on {}", path.display()))
        .map(drop)
}

/// Whether nothing was ever written to a place.
async fn blank(place: &Place) -> Result<bool, Fault> {
    let path = place.path();
    let doing = || format!("looking into {}", path.display());
    match place {
        Place::Directory(_) | Place::File(_) => Ok(false),
        Place::Image(_) => {
            let file = File::open(path).attempt(doing)?;
            match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)) {
                Err(rustix::io::Errno::NXIO) => Ok(true),
                Ok(_) => Ok(false),
                Err(error) => Err(std::io::Error::from(error)).attempt(doing),
            }
        }
        Place::Block(_) => {
            let mut start = vec![0; 1 << 20];
            let read = File::open(path).and_then(|f| f.take(1 << 20).read(&mut start)).attempt(doing)?;
            let known = Command::new("blkid").arg("-p").arg(path).ok(&[0, 2]).run().await.attempt(doing)?;
            Ok(known.status == 2 && start[..read].iter().all(|b| *b == 0))
        }
    }
}

/// Gives an empty file system, as a storage makes it, to the guest's root; one with something in it stays as it is.
async fn hand_over(place: &Place, ids: Option<Ids>) -> Result<(), Fault> {
    if matches!(place, Place::File(_)) {
        return Ok(());
    }
    let apart = Apart::mount(place).await?;
    let empty = std::fs::read_dir(apart.root())
        .attempt(|| format!("looking into {}", place.path().display()))
        .map(|entries| entries.flatten().all(|e| e.file_name() == "lost+found"));
    let done = empty.and_then(|empty| if empty { own(&apart.root(), ids) } else { Ok(()) });
    let ended = apart.end().await;
    done.and(ended)
}

/// Removes everything in a directory, and keeps the directory.
fn empty(path: &Path) -> Result<(), Fault> {
    let doing = || format!("emptying {}", path.display());
    for entry in std::fs::read_dir(path).attempt(doing)? {
        let entry = entry.attempt(doing)?;
        if entry.file_type().attempt(doing)?.is_dir() {
            std::fs::remove_dir_all(entry.path()).attempt(doing)?;
        } else {
            std::fs::remove_file(entry.path()).attempt(doing)?;
        }
    }
    Ok(())
}

async fn unpack(apart: &Apart, fill: &Fill, ids: Option<Ids>) -> Result<(), Fault> {
    own(&apart.root(), ids)?;
    let Some(archive) = &fill.archive else { return Ok(()) };
    let doing = || format!("unpacking {} into {}", archive.display(), fill.place.path().display());
    let file = File::open(archive).attempt(doing)?;
    let mut words: Vec<String> = Vec::new();
    if let Some(ids) = ids {
        words.push("lxc-usernsexec".into());
        for (letter, range) in [('u', ids.users), ('g', ids.groups)] {
            words.extend(["-m".into(), format!("{letter}:0:{}:{}", range.first, range.count)]);
        }
        words.push("--".into());
    }
    words.extend(["tar", "--extract", "--file=-", "--preserve-permissions", "--same-owner"].map(String::from));
    words.extend(["--numeric-owner", "--sparse", "--xattrs", "--xattrs-include=*"].map(String::from));
    // Nodes in /dev are LXC's affair, and cannot be made without privileges.
    words.extend(["--anchored", "--exclude=dev/*", "--exclude=./dev/*", "--warning=no-timestamp"].map(String::from));
    words.extend(compression(archive)?.map(String::from));
    words.push(format!("--directory={}", apart.point().display()));
    let (program, rest) = words.split_first().ok_or_else(|| Fault::other("no program to unpack with"))?;
    apart.command(program).args(rest).input_file(file).deadline(LONG).run().await.attempt(doing).map(drop)
}

/// Gives the top directory, and what mkfs put there, to the guest's root.
fn own(root: &Path, ids: Option<Ids>) -> Result<(), Fault> {
    let (user, group) = ids.map_or((0, 0), |i| (i.users.first, i.groups.first));
    for path in [root.to_owned(), root.join("lost+found")] {
        match std::os::unix::fs::lchown(&path, Some(user), Some(group)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).attempt(|| format!("giving {} to the guest's root", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What tar must be told about an archive's compression, since it cannot look ahead on its standard input.
fn compression(archive: &Path) -> Result<Option<&'static str>, Fault> {
    let mut start = [0; 6];
    let mut file = File::open(archive).attempt(|| format!("reading {}", archive.display()))?;
    let read = file.read(&mut start).attempt(|| format!("reading {}", archive.display()))?;
    Ok(match &start[..read] {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("--zstd"),
        [0x1f, 0x8b, ..] => Some("--gzip"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("--xz"),
        [b'B', b'Z', b'h', ..] => Some("--bzip2"),
        _ => None,
    })
}

fn sync(path: &Path) -> Result<(), Fault> {
    let doing = || format!("writing {} to the disk", path.display());
    let file = File::open(path).attempt(doing)?;
    if file.metadata().attempt(doing)?.is_dir() {
        rustix::fs::syncfs(&file).map_err(std::io::Error::from).attempt(doing)
    } else {
        file.sync_all().attempt(doing)
    }
}

/// The loop devices on a file.
async fn loops(path: &Path) -> Result<Vec<String>, Fault> {
    let out = Command::new("losetup").args(["-n", "-O", "NAME", "-j"]).arg(path).run().await;
    let out = out.attempt(|| format!("looking for loop devices on {}", path.display()))?;
    Ok(out.text().split_whitespace().map(str::to_owned).collect())
}

/// Waits until nothing has a file mounted: an unpacking that outlived a killed Reeve ends by itself.
async fn wait_until_free(path: &Path) -> Result<(), Fault> {
    for _ in 0..100 {
        if loops(path).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Fault::new(FaultKind::Busy, format!("{} is mounted somewhere, and cannot be made anew", path.display())))
}

/// Brings the file system of a place to the size of its file or device, while `monitor`'s container runs or not.
pub async fn grow(place: &Place, monitor: Option<u32>) -> Result<(), Fault> {
    let doing = || format!("growing the file system on {}", place.path().display());
    let path = match place {
        Place::Image(path) | Place::Block(path) => path,
        // A directory has no size of its own.
        Place::Directory(_) | Place::File(_) => return Ok(()),
    };
    let Some(monitor) = monitor else {
        Command::new("e2fsck").args(["-f", "-p"]).arg(path).ok(&[0, 1]).deadline(LONG).run().await.attempt(doing)?;
        return Command::new("resize2fs").arg(path).deadline(LONG).run().await.attempt(doing).map(drop);
    };
    let device = match place {
        Place::Image(path) => {
            let device = loops(path).await?.pop().ok_or_else(|| {
                Fault::other(format!("growing {}: the container runs, and has no loop device on it", path.display()))
            })?;
            Command::new("losetup").args(["--set-capacity", &device]).run().await.attempt(doing)?;
            device
        }
        _ => path.display().to_string(),
    };
    let grown = enter_mounts(monitor, "resize2fs").arg(&device).deadline(LONG).run().await;
    grown.map(drop).map_err(|error| {
        let denied = error.to_string().contains("Permission denied");
        let fault = Fault::from(error).context(doing());
        if denied {
            Fault { kind: FaultKind::Denied, ..fault }
                .help("this host does not let a mounted file system grow (CAP_SYS_RESOURCE is missing); the container's next start does it")
        } else {
            fault
        }
    })
}
