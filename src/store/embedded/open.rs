//! Opens a store's directory: takes its lock, reads it back, and starts the writer.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::watch;

use super::Embedded;
use super::checkpoint::Checkpoints;
use super::disk::{Disk, RealDisk};
use super::holder::Holder;
use super::log::{Header, Log, sync_dir};
use super::recover::{Recovered, Tail, recover};
use super::writer::Writer;
use crate::base::clock::Clock;
use crate::store::state::Shared;
use crate::store::{Error, HistoryLimits};

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far back a watch can start.
    pub history: HistoryLimits,
    /// A snapshot is written when the log is larger than this and than the last snapshot.
    pub snapshot_after_bytes: u64,
    /// What writes and syncs.
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: HistoryLimits::default(), snapshot_after_bytes: 4 * 1024 * 1024, disk: Arc::new(RealDisk) }
    }
}

impl Embedded {
    /// Opens the store in a directory, which is made if there is none; blocks while it reads.
    pub fn open(dir: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        make_dir(dir)?;
        let lock = lock(dir, &*clock)?;
        let recovered = recover(dir, options.history)?;
        remove_leftovers(&recovered.leftovers);
        let log = open_log(dir, &options, &recovered)?;
        let Recovered { state, snapshot_bytes, log_bytes, .. } = recovered;
        let checkpoints = Checkpoints::new(dir, &options, snapshot_bytes, log_bytes);
        let shared = Shared::new(state);
        let (grown, watched) = watch::channel(());
        let (requests, queue) = mpsc::channel();
        let writer = Writer::new(shared.clone(), clock.clone(), log, checkpoints, grown);
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                writer.run(&queue);
                unlock(&lock);
            })
            .map_err(|error| Error::io("start the writer of the store in", dir, error))?;
        Ok(Self { shared, grown: watched, clock, requests: Some(requests), writer: Some(writer) })
    }
}

/// Makes the directory, readable for its owner only, and its name durable.
fn make_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Error::io("create", dir, error))?;
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

/// Takes the directory for this process; the lock goes when the file is closed, whatever ends the process.
fn lock(dir: &Path, clock: &dyn Clock) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = file.map_err(|error| Error::io("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = Holder::read(&mut file).map(Box::new);
            return Err(Error::Locked { path: dir.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, error)),
    }
    if let Err(error) = Holder::this(clock.now()).note(&mut file) {
        tracing::debug!(%error, path = %path.display(), "the lock does not name its holder");
    }
    Ok(file)
}

/// Gives the directory free at once, even while a program that is just being started still has a copy of the open file.
fn unlock(lock: &File) {
    if let Err(error) = lock.unlock() {
        tracing::debug!(%error, "the lock of the store goes when its file is closed");
    }
}

/// Goes on with the log, or begins it in a new store.
fn open_log(dir: &Path, options: &Options, recovered: &Recovered) -> Result<Log, Error> {
    let disk = options.disk.clone();
    match recovered.tail {
        Some(Tail { number, length, torn }) => Log::resume(dir, disk, number, length, torn),
        None => Log::create(dir, disk, Header { number: 1, revision: 0, previous: 0 }),
    }
}

/// Deletes files that no longer count; one that stays does no harm.
pub(super) fn remove_leftovers(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, path = %path.display(), "cannot delete a file that the store no longer needs");
        }
    }
}
