//! An empty file system on a volume that a container will mount.

use std::path::Path;

use crate::base::Fault;
use crate::base::exec::Command;

/// Puts an empty ext4 on a file or block device that is known to be empty.
pub async fn make(path: &Path) -> Result<(), Fault> {
    let command = Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard"]);
    command.arg(path).run().await?;
    Ok(())
}
