//! Reads a store that another process may be writing: without its lock, and without changing a byte.
//!
//! ```text
//! stamp of the directory --> recover (snapshot, then the logs up to the last whole record) --> a state that stands still
//!          ^                            |
//!          +-- it changed meanwhile ----+  a snapshot was put in place, or a log it covers was deleted: read again
//! ```
//! A reader sees all that was acknowledged before it began, and may see a commit that its writer is just about to be told
//! of. Damage is told from a writer at work by looking again: what is broken and stands still is damaged.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::recover::recover;
use crate::base::clock::Clock;
use crate::store::state::{Shared, State};
use crate::store::watch::{ChangeStream, follow};
use crate::store::{Entry, Error, HistoryLimits, Lease, Listing, Revision, Store, Txn};

/// How often a directory that keeps changing is read again.
const TRIES: u32 = 400;
/// How long a reader waits before it looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// A store as it was at one moment; nothing can be written to it.
pub struct View {
    dir: PathBuf,
    shared: Arc<Shared>,
    grown: watch::Receiver<()>,
    clock: Arc<dyn Clock>,
}

impl View {
    /// Reads the store in a directory as it is now; one that is not there yet is empty. Blocks while it reads.
    pub fn open(dir: &Path, history: HistoryLimits, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let state = if dir.is_dir() { read(dir, history)? } else { State::empty(history) };
        // The sender is gone, so a watch ends after what was.
        let (_, grown) = watch::channel(());
        Ok(Self { dir: dir.to_owned(), shared: Shared::new(state), grown, clock })
    }

    fn refuse<T>(&self) -> Result<T, Error> {
        Err(Error::ReadOnly { path: self.dir.clone() })
    }
}

fn read(dir: &Path, history: HistoryLimits) -> Result<State, Error> {
    let mut last: Option<String> = None;
    let mut tries = 0;
    loop {
        let before = stamp(dir)?;
        let error = match recover(dir, history) {
            Ok(recovered) => return Ok(recovered.state),
            Err(error) => error,
        };
        tries += 1;
        let still = stamp(dir)? == before;
        let words = error.to_string();
        if tries >= TRIES || (still && last.as_deref() == Some(words.as_str())) {
            return Err(error);
        }
        last = still.then_some(words);
        std::thread::sleep(PAUSE);
    }
}

/// The files of the directory with what tells them from earlier ones: name, identity and length.
fn stamp(dir: &Path) -> Result<Vec<(String, u64, u64)>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| Error::io("read", dir, error))? {
        let entry = entry.map_err(|error| Error::io("read", dir, error))?;
        // A file that is gone by now is not there.
        let Ok(meta) = entry.metadata() else { continue };
        files.push((entry.file_name().to_string_lossy().into_owned(), meta.ino(), meta.len()));
    }
    files.sort_unstable();
    Ok(files)
}

#[async_trait]
impl Store for View {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.shared.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        Ok(self.shared.read().list(prefix))
    }

    async fn commit(&self, _txn: Txn) -> Result<Revision, Error> {
        self.refuse()
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<ChangeStream, Error> {
        follow(&self.shared, self.grown.clone(), prefix, after)
    }

    async fn lease_grant(&self, _name: &str, _owner: &str, _ttl: Duration) -> Result<Lease, Error> {
        self.refuse()
    }

    async fn lease_renew(&self, _lease: &Lease) -> Result<Lease, Error> {
        self.refuse()
    }

    async fn lease_release(&self, _lease: &Lease) -> Result<(), Error> {
        self.refuse()
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, Error> {
        Ok(self.shared.lease(name, self.clock.now()))
    }
}
