//! When the log has grown enough: a new snapshot, written by a thread of its own while commits go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::disk::Disk;
use super::log::{self, Log};
use super::open::{Options, remove_leftovers};
use super::snapshot::{self, Image};
use crate::store::Error;
use crate::store::state::State;

/// Watches the log grow, and the snapshot being written.
#[derive(Debug)]
pub(super) struct Checkpoints {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// The least growth that is worth a snapshot.
    least: u64,
    /// How many bytes of log are not in a snapshot that is written or being written.
    grown: u64,
    /// At how many the next snapshot is due.
    due: u64,
    running: Option<Running>,
}

/// A snapshot being written, and how many bytes of log it covers.
#[derive(Debug)]
struct Running {
    thread: JoinHandle<Result<u64, Error>>,
    covers: u64,
}

impl Checkpoints {
    /// Starts from what was found in the directory.
    pub(super) fn new(dir: &Path, options: &Options, snapshot_bytes: u64, log_bytes: u64) -> Self {
        let least = options.snapshot_after_bytes;
        let (dir, disk) = (dir.to_owned(), options.disk.clone());
        Self { dir, disk, least, grown: log_bytes, due: least.max(snapshot_bytes), running: None }
    }

    /// Counts what was appended and begins a snapshot when one is due; a failure costs only the log's length.
    pub(super) fn after_append(&mut self, bytes: u64, log: &mut Log, state: &State) {
        self.grown += bytes;
        self.collect(false);
        if self.grown < self.due || self.running.is_some() {
            return;
        }
        let first = log.number();
        if let Err(error) = log.begin_next(state.revision).and_then(|()| self.start(Image::of(state, first + 1))) {
            tracing::warn!(%error, "no snapshot of the store was begun; the log keeps growing");
            self.due = self.grown + self.least;
        }
    }

    fn start(&mut self, image: Image) -> Result<(), Error> {
        let (dir, disk) = (self.dir.clone(), self.disk.clone());
        let thread = thread::Builder::new()
            .name("store-snapshot".to_owned())
            .spawn(move || write(&dir, &*disk, &image))
            .map_err(|error| Error::io("start to write a snapshot in", &self.dir, error))?;
        self.running = Some(Running { thread, covers: std::mem::take(&mut self.grown) });
        Ok(())
    }

    /// Takes the result of the snapshot being written, if it is ready or may be waited for.
    pub(super) fn collect(&mut self, wait: bool) {
        let Some(Running { thread, covers }) = self.running.take_if(|running| wait || running.thread.is_finished())
        else {
            return;
        };
        match thread.join() {
            Ok(Ok(size)) => self.due = self.least.max(size),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the snapshot of the store was not written; the log keeps growing");
                self.failed(covers);
            }
            Err(_) => {
                tracing::error!("the thread that writes the store's snapshot panicked; the log keeps growing");
                self.failed(covers);
            }
        }
    }

    fn failed(&mut self, covers: u64) {
        self.grown += covers;
        self.due = self.grown + self.least;
    }
}

/// Writes the snapshot, then deletes the log files it covers.
fn write(dir: &Path, disk: &dyn Disk, image: &Image) -> Result<u64, Error> {
    let size = snapshot::write(dir, disk, image)?;
    let covered = (1..image.next_log).rev().map(|number| log::path_of(dir, number));
    let covered: Vec<PathBuf> = covered.take_while(|path| path.exists()).collect();
    remove_leftovers(&covered);
    Ok(size)
}
