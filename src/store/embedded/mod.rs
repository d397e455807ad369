//! The store that keeps: one directory, no service, and after a crash at any point exactly what was acknowledged.
//!
//! ```text
//! commit --> queue --> the writer thread:  draft a batch against the state         (state.rs)
//!                                          append it to the log as one frame       (log.rs, frame.rs, codec.rs)
//!                                          one fdatasync for the whole batch
//!                                          apply it to the state, answer every caller
//! get list watch --> the state, in memory; they never wait for the disk
//! ```
//!
//! Everything is in memory and the directory is how it comes back: a `snapshot` of one revision and the `log-N` files with
//! what was done after it. When the log has grown as large as the snapshot, the writer begins the next log file and another
//! thread writes a new snapshot beside the old one, renames it into place and deletes the log files it covers (snapshot.rs).
//! `recover.rs` reads it all back, for the one writer and, without the lock, for any reader (view.rs). No byte of a file is ever changed after it was written, so a file that cannot be read whole
//! is refused and left as it is. `specs/store.md` has the formats and says how to read them by hand.

mod checkpoint;
mod codec;
mod disk;
mod frame;
mod holder;
mod log;
mod open;
mod recover;
mod snapshot;
mod view;
mod writer;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

pub use self::disk::{Disk, RealDisk};
pub use self::holder::Holder;
pub use self::open::Options;
pub use self::view::View;
use self::writer::Request;
use super::state::{Shared, Wanted};
use super::watch::{ChangeStream, follow};
use super::{Entry, Error, Lease, Listing, Revision, Store, Txn};
use crate::base::clock::Clock;

/// The format of the files this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// A store in a directory; dropping it finishes what was asked and gives the directory free.
pub struct Embedded {
    shared: Arc<Shared>,
    grown: watch::Receiver<()>,
    clock: Arc<dyn Clock>,
    /// Both are there until the drop.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Hands a request to the writer and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(writer::Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(request(reply)).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(Err(_)) = self.writer.take().map(JoinHandle::join) {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.shared.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        Ok(self.shared.read().list(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        txn.validate()?;
        self.ask(|reply| Request::Commit { txn, reply }).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<ChangeStream, Error> {
        follow(&self.shared, self.grown.clone(), prefix, after)
    }

    async fn lease_grant(&self, name: &str, owner: &str, ttl: Duration) -> Result<Lease, Error> {
        let wanted = Wanted { name: name.to_owned(), owner: owner.to_owned(), ttl };
        self.ask(|reply| Request::Grant { wanted, reply }).await
    }

    async fn lease_renew(&self, lease: &Lease) -> Result<Lease, Error> {
        let lease = lease.clone();
        self.ask(|reply| Request::Renew { lease, reply }).await
    }

    async fn lease_release(&self, lease: &Lease) -> Result<(), Error> {
        let lease = lease.clone();
        self.ask(|reply| Request::Release { lease, reply }).await
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, Error> {
        Ok(self.shared.lease(name, self.clock.now()))
    }
}
