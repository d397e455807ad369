//! A disk that fails, counts or is slow when told to.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use reeve::store::embedded::Disk;

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Fault {
    Nothing = 0,
    /// Nothing more fits.
    Full,
    /// Half of the bytes fit.
    HalfFits,
    /// Everything is written and then cannot be made durable.
    SyncFails,
    /// Only snapshots fail.
    SnapshotFull,
    /// Only the beginning of a new log file fails.
    NewLogFull,
}

#[derive(Debug, Default)]
pub(super) struct TestDisk {
    fault: AtomicU64,
    pub(super) syncs: AtomicUsize,
    sync_millis: AtomicU64,
}

impl TestDisk {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn set(&self, fault: Fault) {
        self.fault.store(fault as u64, Ordering::SeqCst);
    }

    pub(super) fn slow_down(&self, sync: Duration) {
        self.sync_millis.store(sync.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    fn has(&self, fault: Fault, path: &Path) -> bool {
        let name = path.file_name().unwrap().to_str().unwrap();
        let concerned = match fault {
            Fault::SnapshotFull => name.starts_with("snapshot"),
            Fault::NewLogFull => name.starts_with("log-") && name.ends_with(".new"),
            _ => true,
        };
        concerned && self.fault.load(Ordering::SeqCst) == fault as u64
    }
}

impl Disk for TestDisk {
    fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if self.has(Fault::HalfFits, path) {
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if [Fault::Full, Fault::SnapshotFull, Fault::NewLogFull].iter().any(|fault| self.has(*fault, path)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all(bytes)
    }

    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(self.sync_millis.load(Ordering::SeqCst)));
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.has(Fault::SyncFails, path) {
            return Err(io::Error::other("the device is gone"));
        }
        file.sync_data()
    }
}
