//! Device nodes for guests: made beside the container with the guest's owners, shown in the guest by a bind mount.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, Uid, makedev};

use super::host::Ids;
use crate::base::{Attempt as _, Fault, FaultKind};
use crate::kinds::container::Device;

/// A device's number on this host.
fn number(path: &Path) -> Option<(FileType, u32, u32)> {
    let metadata = std::fs::metadata(path).ok()?;
    let kind = if metadata.file_type().is_char_device() {
        FileType::CharacterDevice
    } else if metadata.file_type().is_block_device() {
        FileType::BlockDevice
    } else {
        return None;
    };
    Some((kind, rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev())))
}

/// The cgroup rule that lets a guest use the device at `path` of this host.
pub fn rule(path: &Path) -> Option<String> {
    let (kind, major, minor) = number(path)?;
    let letter = if kind == FileType::CharacterDevice { 'c' } else { 'b' };
    Some(format!("{letter} {major}:{minor} rwm"))
}

/// Makes the node of a device at `node`, or makes it anew where it is not as it shall be.
pub fn make(node: &Path, device: &Device, ids: Option<Ids>) -> Result<(), Fault> {
    let path = Path::new(device.path.as_deref().unwrap_or_default());
    let Some((kind, major, minor)) = number(path) else {
        let message = format!("{} is no device of this host", path.display());
        return Err(
            Fault::new(FaultKind::NotFound, message).help("load its driver, or take the device out of the manifest")
        );
    };
    let doing = || format!("making the device node {}", node.display());
    if let Some(dir) = node.parent() {
        std::fs::create_dir_all(dir).attempt(doing)?;
    }
    match std::fs::remove_file(node) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).attempt(doing),
        _ => {}
    }
    let mode = u32::from_str_radix(&device.mode(), 8).unwrap_or(0o660);
    let io = |e: rustix::io::Errno| std::io::Error::from(e);
    rustix::fs::mknodat(CWD, node, kind, Mode::from_raw_mode(mode), makedev(major, minor))
        .map_err(io)
        .attempt(doing)?;
    rustix::fs::chmod(node, Mode::from_raw_mode(mode)).map_err(io).attempt(doing)?;
    let shift = |range: Option<super::host::Range>, id: u32| range.map_or(id, |r| r.first.saturating_add(id));
    let owner = Uid::from_raw(shift(ids.map(|i| i.users), device.uid()));
    let group = Gid::from_raw(shift(ids.map(|i| i.groups), device.gid()));
    rustix::fs::chown(node, Some(owner), Some(group)).map_err(io).attempt(doing)
}
