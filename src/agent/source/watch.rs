//! Says that a source's files may have changed: by the kernel's notifications, and by looking now and then.
//!
//! A notification is only a hint. After each, the whole tree is looked at again and every directory in it is watched,
//! so a directory that is new, came back or was swapped is watched before its files are read, and a lost notification
//! costs one interval. On a network file system there is nothing but the interval.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::tree::{self, Tree};
use crate::base::{Attempt as _, Clock, Fault};

/// How often local files are looked at although nothing was said.
const LOCAL: Duration = Duration::from_secs(60);
/// How often files on another host are looked at.
const REMOTE: Duration = Duration::from_secs(2);
/// How long nothing may happen before the files are read.
const QUIET: Duration = Duration::from_millis(100);
/// How long they are waited for at most while something happens all the time.
const LONGEST: Duration = Duration::from_secs(2);

/// The notifications of one source.
pub struct Watch {
    root: PathBuf,
    told: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    /// Watches a file or a directory, whether it is there or not.
    pub fn new(root: &Path) -> Result<Self, Fault> {
        let told = if tree::is_local(root) {
            let doing = || format!("cannot watch {}", root.display());
            let open = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(std::io::Error::from);
            Some(AsyncFd::new(open.attempt(doing)?).attempt(doing)?)
        } else {
            None
        };
        Ok(Self { root: root.to_owned(), told })
    }

    /// Looks at the files as they are now, and watches every directory of theirs from now on.
    pub fn look(&self) -> Tree {
        loop {
            let tree = tree::look(&self.root);
            let Some(told) = &self.told else { return tree };
            let what = WatchFlags::CLOSE_WRITE
                | WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVE_SELF;
            for directory in &tree.directories {
                if let Err(error) = inotify::add_watch(told.get_ref(), directory, what) {
                    // It is looked at now and then; a limit of the kernel's shows in the log.
                    tracing::warn!(directory = %directory.display(), %error, "it cannot be watched");
                }
            }
            // What was made between the look and the watch is seen by one more look.
            if tree::look(&self.root) == tree {
                return tree;
            }
        }
    }

    /// Waits until something may have changed since `last`, and then until it is quiet, but not for ever.
    pub async fn changed(&mut self, last: &Tree, clock: &dyn Clock) {
        let every = if self.told.is_some() { LOCAL } else { REMOTE };
        loop {
            tokio::select! {
                () = self.hint() => break,
                () = clock.sleep(every) => if tree::look(&self.root) != *last { break },
            }
        }
        let begun = clock.elapsed();
        while clock.elapsed().saturating_sub(begun) < LONGEST {
            let before = tree::look(&self.root).print;
            tokio::select! {
                () = self.hint() => {}
                () = clock.sleep(QUIET) => if tree::look(&self.root).print == before { break },
            }
        }
    }

    /// Waits for a notification, and takes all there are; for ever where there are none.
    async fn hint(&mut self) {
        let Some(told) = &mut self.told else { return std::future::pending().await };
        let Ok(mut ready) = told.readable_mut().await else { return std::future::pending().await };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(ready.get_inner(), &mut buffer);
        while reader.next().is_ok() {}
        ready.clear_ready();
    }
}
