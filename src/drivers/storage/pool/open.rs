//! Whether a process of this node has a block device open, where the volume manager itself does not count.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::base::{Attempt as _, Fault, FaultKind};

/// Fails with `Busy` when a process has the device open; a device that is not there is not open.
pub fn not_open(device: &Path) -> Result<(), Fault> {
    let number = match std::fs::metadata(device) {
        Ok(seen) if seen.file_type().is_block_device() => seen.rdev(),
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Fault::from(e).context(format!("cannot look at {}", device.display()))),
    };
    let processes = std::fs::read_dir("/proc").attempt(|| "cannot look at the processes")?.flatten();
    for process in processes.filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())) {
        // A process that ended meanwhile has nothing open.
        let files = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let open = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|seen| seen.file_type().is_block_device() && seen.rdev() == number)
        };
        if files.map(|file| file.path()).any(|path| open(&path)) {
            let pid = process.file_name();
            let message = format!("{} is in use by the process {}", device.display(), pid.to_string_lossy());
            return Err(Fault::new(FaultKind::Busy, message).help("stop the guest that has it open first"));
        }
    }
    Ok(())
}
