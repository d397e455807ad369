//! The files beside a container: its configuration, our record of it, and what runs where that differs.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::host::Paths;
use crate::base::{Attempt as _, Fault, FaultKind, Name};
use crate::drivers::container::Record;
use crate::kinds::container::CtSpec;

/// What runs, where that is no longer what is configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningNote {
    /// The monitor that runs it: its process and the moment that started.
    pub monitor: (u32, u64),
    /// What it was started as, and what was changed since.
    pub spec: CtSpec,
}

/// Holds a container's directory, so that only one changes it at a time.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] OwnedFd);

/// Locks a container's directory, which must be there.
pub async fn lock(paths: &Paths, name: &Name) -> Result<Lock, Fault> {
    let dir = paths.dir(name);
    let doing = || format!("locking {}", dir.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(&dir, flags, Mode::empty()).map_err(std::io::Error::from).attempt(doing)?;
    for _ in 0..600 {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock(fd)),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(std::io::Error::from(error)).attempt(doing),
        }
    }
    Err(Fault::new(FaultKind::Busy, format!("container {name} is being changed by another process")))
}

/// A file's text; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<String>, Fault> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).attempt(|| format!("reading {}", path.display())),
    }
}

/// Puts a file in place whole and durably, readable by root alone.
pub fn write(path: &Path, text: &str) -> Result<(), Fault> {
    let doing = || format!("writing {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".reeve-").tempfile_in(dir).attempt(doing)?;
    file.write_all(text.as_bytes()).attempt(doing)?;
    file.as_file().sync_all().attempt(doing)?;
    file.persist(path).map_err(|e| e.error).attempt(doing)?;
    sync_dir(dir)
}

/// Makes what was renamed or removed in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), Fault> {
    let doing = || format!("writing {} to the disk", dir.display());
    std::fs::File::open(dir).attempt(doing)?.sync_all().attempt(doing)
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).attempt(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Our record of a container; an unreadable one is an error, never "not ours".
pub fn record(paths: &Paths, name: &Name) -> Result<Option<Record>, Fault> {
    let path = paths.record(name);
    let Some(text) = read(&path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Fault::other(format!("reading our record of container {name}, {}: {error}", path.display()))
            .help("restore the file, or remove it to make the container unmanaged, and adopt it again")
    })
}

/// Keeps our record of a container.
pub fn put_record(paths: &Paths, name: &Name, record: &Record) -> Result<(), Fault> {
    write(&paths.record(name), &json(record)?)
}

/// What a container was started as, when that was noted for this monitor.
pub fn running(paths: &Paths, name: &Name, monitor: (u32, u64)) -> Option<CtSpec> {
    let text = read(&paths.running(name)).ok()??;
    let note: RunningNote = serde_json::from_str(&text).ok()?;
    (note.monitor == monitor).then_some(note.spec)
}

/// Notes what runs.
pub fn put_running(paths: &Paths, name: &Name, note: &RunningNote) -> Result<(), Fault> {
    write(&paths.running(name), &json(note)?)
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string_pretty(value).map_err(|error| Fault::other(format!("writing JSON: {error}")))
}
