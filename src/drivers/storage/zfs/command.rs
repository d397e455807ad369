//! The calls of `zfs` and `zpool`, as argument vectors.
//!
//! Every dataset that is named starts with the pool's name, so none can be taken for an option.

use crate::base::exec::{Command, Output};
use crate::base::{Fault, FaultKind};
use crate::drivers::storage::pool::{Saying, explain};

const SAYINGS: &[Saying] = &[
    ("does not exist", FaultKind::NotFound, ""),
    ("no such pool", FaultKind::NotFound, ""),
    ("already exists", FaultKind::Exists, ""),
    ("dependent clones", FaultKind::Busy, "delete the volumes that were cloned from it first"),
    ("is busy", FaultKind::Busy, "a guest has it open; stop the guest first"),
    ("umount failed", FaultKind::Busy, "a guest has it open; stop the guest first"),
    ("out of space", FaultKind::NoSpace, "free space in the pool, or add devices to it"),
    ("no space left", FaultKind::NoSpace, "free space in the pool, or add devices to it"),
    ("permission denied", FaultKind::Denied, "run Reeve as root"),
    ("currently suspended", FaultKind::Unavailable, "see `zpool status`; the pool's devices do not answer"),
    ("modprobe zfs", FaultKind::Unavailable, "load ZFS: `modprobe zfs`"),
    ("daemon is running", FaultKind::Unavailable, "start the ZFS daemon"),
    ("bad property value", FaultKind::Invalid, ""),
    ("too long", FaultKind::Invalid, ""),
    ("must be power of 2", FaultKind::Invalid, ""),
];

/// Runs `zfs`.
pub async fn zfs<T: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = T>) -> Result<Output, Fault> {
    Command::new("zfs").args(args).run().await.map_err(|e| explain(e, SAYINGS))
}

/// Runs `zpool`.
pub async fn zpool<T: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = T>) -> Result<Output, Fault> {
    Command::new("zpool").args(args).run().await.map_err(|e| explain(e, SAYINGS))
}

/// Turns "it is not mounted" into success.
pub async fn unmount(dataset: &str) -> Result<(), Fault> {
    match zfs(["unmount", dataset]).await {
        Err(fault) if fault.message.contains("not currently mounted") => Ok(()),
        other => other.map(drop),
    }
}
