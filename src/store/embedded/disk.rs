//! The few things the store does to a disk, in one place so that tests can make them fail.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes and makes durable.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Appends all bytes to the file.
    fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written to the file, and its length, would survive a power cut.
    fn sync(&self, path: &Path, file: &File) -> io::Result<()>;
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, _path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}
