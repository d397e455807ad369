//! The calls of LVM's programs, as argument vectors; names were checked before and none starts with '-'.

use std::path::Path;

use crate::base::Fault;
use crate::base::FaultKind as Kind;
use crate::base::exec::{Command, Output};
use crate::drivers::storage::pool::{Saying, explain};
use crate::drivers::storage::qemu_img::allowance;

const SAYINGS: &[Saying] = &[
    // A group whose device does not answer is also "not found": that must not be taken for absent.
    ("input/output error", Kind::Unavailable, "see `dmesg` and `pvs`; a device of the group does not answer"),
    ("couldn't find device", Kind::Unavailable, "see `pvs`; a device of the group is missing"),
    ("is missing", Kind::Unavailable, "see `pvs`; a device of the group is missing"),
    ("error reading device", Kind::Unavailable, "see `dmesg` and `pvs`; a device of the group does not answer"),
    ("failed to find", Kind::NotFound, ""),
    ("not found", Kind::NotFound, ""),
    ("already exists", Kind::Exists, ""),
    ("insufficient free space", Kind::NoSpace, "free space in the volume group, or add devices to it"),
    ("insufficient suitable", Kind::NoSpace, "free space in the volume group, or add devices to it"),
    (" in use", Kind::Busy, "a guest has it open; stop the guest first"),
    ("is used by", Kind::Busy, "a guest has it open; stop the guest first"),
    ("waiting for lock", Kind::Busy, "another LVM command is under way"),
    ("permission denied", Kind::Denied, "run Reeve as root"),
    ("device-mapper driver", Kind::Unavailable, "load the device mapper: `modprobe dm_mod`"),
    ("mapper/control", Kind::Unavailable, "load the device mapper: `modprobe dm_mod`"),
];

/// Runs one of LVM's programs.
pub async fn lvm<T: AsRef<std::ffi::OsStr>>(program: &str, args: impl IntoIterator<Item = T>) -> Result<Output, Fault> {
    Command::new(program).args(args).run().await.map_err(|e| explain(e, SAYINGS))
}

/// The JSON of a report, with exact numbers of bytes.
pub async fn report(program: &str, fields: &str, group: &str) -> Result<Vec<u8>, Fault> {
    let args = ["--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields, group];
    lvm(program, args).await.map(|out| out.stdout)
}

/// Fills a stretch of a device with zeroes, by the device's own means where it has them.
pub async fn zero(device: &Path, from: u64, length: u64) -> Result<(), Fault> {
    let command = Command::new("blkdiscard").args(["-f", "-z", "-o", &from.to_string(), "-l", &length.to_string()]);
    let done = command.arg(device).deadline(allowance(length)).run().await;
    done.map(drop).map_err(|e| explain(e, SAYINGS))
}
