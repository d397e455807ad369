//! One lock a volume name, held by whoever changes that volume, in this process or another.
//!
//! The lock is `flock` on a file named after the volume, which is removed again by its holder; whoever gets the lock of
//! a file that was removed meanwhile tries again.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::base::{Attempt as _, Fault};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    // Closing the file releases the lock.
    _file: File,
}

impl Lock {
    /// Takes the lock of `name` in `dir`; `None` when somebody has it.
    pub fn take(dir: &Path, name: &str) -> Result<Option<Self>, Fault> {
        let path = dir.join(name);
        loop {
            let Some(file) = open(dir, &path)? else { return Ok(None) };
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Some(Self { path, _file: file })),
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(Fault::from(error).context(format!("cannot lock {}", path.display())));
                }
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock file left behind is empty, harmless, and used again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The lock file; `None` while an SMB server still has one that was removed under the same name.
fn open(dir: &Path, path: &Path) -> Result<Option<File>, Fault> {
    let open = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let missing = |error: &Error| error.kind() == ErrorKind::NotFound;
    let opened = match open() {
        Err(error) if missing(&error) => match std::fs::create_dir(dir) {
            Ok(()) => open(),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match open() {
                Err(error) if missing(&error) => return Ok(None),
                other => other,
            },
            Err(error) => Err(error),
        },
        other => other,
    };
    opened.map(Some).attempt(|| format!("cannot open the lock file {}", path.display()))
}

/// Whether the file that is open is still the one at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_left() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("locks");
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = loop {
                            if let Some(lock) = Lock::take(&dir, "x y").unwrap() {
                                break lock;
                            }
                            std::thread::yield_now();
                        };
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }
}
