//! Writes an empty qcow2 file without starting a program.
//!
//! `qemu-img create` takes most of its 10 ms to start; a volume with its mark, both durable, must be made in about
//! that time. An empty image is four things, in clusters of 64 KiB: the header, a table with one entry that points to
//! a block of reference counts, that block with a 1 for every cluster in use, and a first-level table of zeroes. The
//! layout is QEMU's `docs/interop/qcow2.txt`; `qemu-img check` and `qemu-img compare` prove it in the tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const CLUSTER: u64 = 1 << 16;
/// Bytes of guest data that one first-level entry reaches: a cluster of 8-byte entries, a cluster each.
const REACH: u64 = CLUSTER / 8 * CLUSTER;
/// The largest first-level table QEMU takes, in bytes.
const L1_LIMIT: u64 = 32 << 20;

/// The largest volume that can be written this way.
pub const MAX_SIZE: u64 = L1_LIMIT / 8 * REACH;

/// Writes an empty image of `size` bytes, at most [`MAX_SIZE`], into a fresh file.
pub fn write_empty(file: &File, size: u64) -> io::Result<()> {
    let entries = size.div_ceil(REACH).max(1);
    let table_clusters = (entries * 8).div_ceil(CLUSTER);
    let clusters = 3 + table_clusters;
    file.write_all_at(&header(size, entries), 0)?;
    file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
    let counts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.write_all_at(&counts, 2 * CLUSTER)?;
    file.set_len(clusters * CLUSTER)
}

fn header(size: u64, entries: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(120);
    let mut be32 = |n: u64| bytes.extend_from_slice(&(n as u32).to_be_bytes());
    be32(0x5146_49fb); // "QFI\xfb"
    be32(3); // version
    be32(0); // backing file: none
    be32(0);
    be32(0);
    be32(16); // cluster size, 2^16
    be32(size >> 32);
    be32(size & 0xffff_ffff);
    be32(0); // encryption: none
    be32(entries);
    be32(0); // first-level table
    be32(3 * CLUSTER);
    be32(0); // table of reference counts
    be32(CLUSTER);
    be32(1); // its clusters
    be32(0); // snapshots: none
    be32(0);
    be32(0);
    for _ in 0..6 {
        be32(0); // features: incompatible, compatible, autoclear
    }
    be32(4); // reference counts of 2^4 bits
    be32(112); // length of this header
    be32(0); // compression: zlib
    be32(0);
    be32(0); // end of the extensions
    be32(0);
    bytes
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn qemu_takes_what_is_written_for_its_own() {
        let dir = tempfile::tempdir().unwrap();
        for size in [512, 1 << 20, REACH, REACH + 512, 10 << 30, 5 << 40, 100 << 40] {
            let (ours, theirs) = (dir.path().join("ours.qcow2"), dir.path().join("theirs.qcow2"));
            write_empty(&File::create(&ours).unwrap(), size).unwrap();
            for (args, path) in [
                (vec!["check", "-q", "-f", "qcow2"], &ours),
                (vec!["create", "-q", "-f", "qcow2", "-o", &format!("size={size}")], &theirs),
            ] {
                let done = Command::new("qemu-img").args(&args).arg(path).output().unwrap();
                assert!(done.status.success(), "{size} {args:?} {}", String::from_utf8_lossy(&done.stderr));
            }
            let info = |path| {
                let out = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).output().unwrap();
                let mut info: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
                for key in ["filename", "actual-size"] {
                    info.as_object_mut().unwrap().remove(key);
                }
                info
            };
            assert_eq!(info(&ours), info(&theirs), "{size}");
        }
    }

    #[test]
    fn what_is_written_can_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.qcow2");
        write_empty(&File::create(&path).unwrap(), 3 << 30).unwrap();
        for command in ["write -P 7 2G 1M", "read -P 7 2G 1M", "read -P 0 0 1M", "discard 2G 1M"] {
            let done = Command::new("qemu-io").args(["-f", "qcow2", "-c", command]).arg(&path).output().unwrap();
            assert!(done.status.success() && !String::from_utf8_lossy(&done.stdout).contains("failed"), "{command}");
        }
        for args in [&["resize", "-q", "-f", "qcow2"][..], &["check", "-q", "-f", "qcow2"]] {
            let mut command = Command::new("qemu-img");
            command.args(args).arg(&path);
            if args[0] == "resize" {
                command.arg("6T");
            }
            assert!(command.output().unwrap().status.success(), "{args:?}");
        }
    }
}
