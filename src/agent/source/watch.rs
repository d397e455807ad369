//! Says that a source's files may have changed: by the kernel's notifications, and by looking now and then.
//!
//! A notification is only a hint. After each, the whole tree is looked at again and every directory in it is watched,
//! so a directory that is new, came back or was swapped is watched before its files are read, and a lost notification
//! costs one interval. On a network file system there is nothing but the interval.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::Notify;

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
    told: Option<Told>,
}

/// The kernel's notifications, read by a thread that ends with this.
struct Told {
    inotify: Arc<OwnedFd>,
    news: Arc<Notify>,
}

impl Watch {
    /// Watches a file or a directory, whether it is there or not.
    pub fn new(root: &Path) -> Result<Self, Fault> {
        let told = if tree::is_local(root) {
            Some(Told::new().attempt(|| format!("cannot watch {}", root.display()))?)
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
                if let Err(error) = inotify::add_watch(&*told.inotify, directory, what) {
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

    /// Waits until something is not as in `last`, and then until it is quiet, but not for ever.
    pub async fn changed(&self, last: &Tree, clock: &dyn Clock) {
        let every = if self.told.is_some() { LOCAL } else { REMOTE };
        loop {
            tokio::select! {
                () = self.hint() => self.quiet(clock).await,
                () = clock.sleep(every) => if tree::look(&self.root) != *last { self.quiet(clock).await },
            }
            // What was told of may have been read already.
            if tree::look(&self.root) != *last {
                return;
            }
        }
    }

    async fn quiet(&self, clock: &dyn Clock) {
        let begun = clock.elapsed();
        while clock.elapsed().saturating_sub(begun) < LONGEST {
            let before = tree::look(&self.root).print;
            tokio::select! {
                () = self.hint() => {}
                () = clock.sleep(QUIET) => if tree::look(&self.root).print == before { break },
            }
        }
    }

    /// Waits for notifications; for ever where there are none.
    async fn hint(&self) {
        match &self.told {
            Some(told) => told.news.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Told {
    fn new() -> std::io::Result<Self> {
        let inotify = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
        let news = Arc::new(Notify::new());
        let (theirs, whom) = (inotify.clone(), Arc::downgrade(&news));
        std::thread::Builder::new().name("reeve-watch".into()).spawn(move || listen(&theirs, &whom))?;
        Ok(Self { inotify, news })
    }
}

/// Passes notifications on, all that there are as one, until nobody listens any more.
fn listen(inotify: &OwnedFd, whom: &Weak<Notify>) {
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    while whom.strong_count() > 0 {
        let mut waits = [PollFd::new(inotify, PollFlags::IN)];
        match poll(&mut waits, Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => {
                return tracing::warn!(%error, "notifications of changed files end; they are looked at now and then");
            }
        }
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        while reader.next().is_ok() {}
        if let Some(news) = whom.upgrade() {
            news.notify_one();
        }
    }
}
