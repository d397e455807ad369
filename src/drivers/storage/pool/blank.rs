//! Proves that a device is empty before it is formatted, and keeps others from it meanwhile.
//!
//! Empty means: nobody has it open or mounted, and its first and last 4 MiB are zeroes. Every file system, partition
//! table, volume manager and RAID keeps its header there, so this needs no list of signatures that could be too short.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::{Attempt as _, Fault, FaultKind};
use crate::drivers::storage::offload::Offload;

/// How long reading their ends may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How much of either end must be zero.
const END: u64 = 4 << 20;

/// Devices that were proven empty, locked until this is dropped.
#[derive(Debug)]
pub struct Blank {
    // An open file holds the lock.
    _locks: Vec<File>,
}

impl Blank {
    /// Proves that all of `devices` are empty.
    pub async fn prove(devices: &[String]) -> Result<Self, Fault> {
        let paths: Vec<PathBuf> = devices.iter().map(PathBuf::from).collect();
        let work = move || paths.iter().map(|p| prove(p)).collect::<Result<Vec<File>, Fault>>();
        let locks = Offload::new(DEADLINE).run("cannot tell whether its devices are empty", work).await?;
        Ok(Self { _locks: locks })
    }
}

/// Why a device of a manifest cannot be one, or `None` when it can.
pub fn bad_device(device: &str) -> Option<String> {
    let bad = !device.starts_with('/') || device.chars().any(char::is_control) || device.contains("/../");
    bad.then(|| format!("the device {device:?} is no absolute path"))
}

fn prove(path: &Path) -> Result<File, Fault> {
    let doing = || format!("cannot look at the device {}", path.display());
    let lock = File::open(path).attempt(doing)?;
    let full = |why: &str| {
        Fault::new(FaultKind::Exists, format!("the device {} is not formatted: {why}", path.display()))
            .help("make sure that nothing on it is needed, and clear it by hand: `wipefs -a DEVICE`, then write zeroes over its first and last 4 MiB")
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(Fault { kind: FaultKind::Busy, ..full("it is locked") }),
        Err(std::fs::TryLockError::Error(error)) => return Err(Fault::from(error).context(doing())),
    }
    // On a block device this fails while it is mounted or part of something.
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or_default();
    let device = lock.metadata().attempt(doing)?.file_type().is_block_device();
    let opened = OpenOptions::new().read(true).custom_flags(if device { exclusive } else { 0 }).open(path);
    let mut file = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => return Err(full("it is in use")),
        other => other.attempt(doing)?,
    };
    let length = file.seek(SeekFrom::End(0)).attempt(doing)?;
    if length < 2 * END {
        return Err(full("it is smaller than 8 MiB"));
    }
    for start in [0, length - END] {
        file.seek(SeekFrom::Start(start)).attempt(doing)?;
        let mut piece = vec![0; 1 << 20];
        for _ in 0..END >> 20 {
            file.read_exact(&mut piece).attempt(doing)?;
            if piece.iter().any(|b| *b != 0) {
                return Err(full("something is on it"));
            }
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[tokio::test]
    async fn only_zeroes_at_both_ends_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let name = [path.to_str().unwrap().to_owned()];
        let file = File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        drop(Blank::prove(&name).await.unwrap());
        for at in [0, 1024, 65_600, (4 << 20) - 1, (60 << 20) + 5, (64 << 20) - 1] {
            file.write_all_at(&[1], at).unwrap();
            let fault = Blank::prove(&name).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Exists, "{at}: {fault}");
            file.write_all_at(&[0], at).unwrap();
        }
        let held = Blank::prove(&name).await.unwrap();
        assert_eq!(Blank::prove(&name).await.unwrap_err().kind, FaultKind::Busy);
        drop(held);
        file.set_len(1 << 20).unwrap();
        assert!(Blank::prove(&name).await.is_err());
        assert_eq!(Blank::prove(&["/no such".to_owned()]).await.unwrap_err().kind, FaultKind::NotFound);
    }
}
