//! The store: a small, ordered, versioned map from keys to bytes, where Reeve keeps manifests, status, events, permits,
//! tombstones and the journal.
//!
//! ```text
//! Txn (checks + operations)  --commit-->  one revision, all or nothing  --watch-->  Changes, in order, no gap
//! get / list                 <--  what is there now, and the revision it was read at
//! lease_grant / renew        a named claim that ends by itself when nobody renews it
//! ```
//!
//! Every commit that changes something takes the next revision of the whole store, and every entry remembers the revision
//! that last changed it. That one number carries everything: a check says "this key, at exactly this revision", a list says
//! at which revision it was read, and a watch goes on after it. A reader lists, keeps the revision, and watches after it;
//! when the watch answers [`Error::Compacted`] it lists again.
//!
//! The words mean what they mean in etcd v3 (global revision, compare on mod revision, watch from a revision, leases), so
//! that a cluster engine can stand behind the same trait. Two engines are here: [`Memory`], which forgets, and [`Embedded`],
//! which keeps everything in one directory and survives a crash at any point. Both are held to one contract suite,
//! `tests/store/contract/`. [`keys`] is the only place where keys are spelled, [`records`] says what the values are.

mod entry;
mod error;
mod history;
mod lease;
mod limits;
mod state;
mod txn;
mod watch;

pub mod embedded;
pub mod keys;
pub mod memory;
pub mod records;

use std::time::Duration;

use async_trait::async_trait;

pub use self::embedded::Embedded;
pub use self::entry::{Changes, Entry, Event, Listing, Revision};
pub use self::error::Error;
pub use self::history::HistoryLimits;
pub use self::lease::{Lease, keep};
pub use self::limits::{MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES};
pub use self::memory::Memory;
pub use self::txn::{Check, Expect, Op, Txn};
pub use self::watch::ChangeStream;

/// What every engine does.
#[async_trait]
pub trait Store: Send + Sync {
    /// The entry at a key, or nothing.
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// All entries whose key starts with the prefix, in key order, as they are at one revision.
    ///
    /// The prefix is bytes, not path segments: `a/b` finds `a/bc` too and `a/b/` does not. The empty prefix finds everything.
    async fn list(&self, prefix: &str) -> Result<Listing, Error>;

    /// Does all operations if all checks hold, and none otherwise; answers only when the result is durable.
    ///
    /// The answer is the revision of the change, or the store's current one when there was nothing to change. A failed check is
    /// [`Error::Conflict`]. After [`Error::Io`] nothing has changed for any reader, but a crash before the next successful commit
    /// may still bring the transaction back: its outcome is unknown until then. So is that of a commit whose future was dropped.
    async fn commit(&self, txn: Txn) -> Result<Revision, Error>;

    /// The changes below a prefix that are newer than a revision, first those already made, then each one as it is made.
    ///
    /// One item is everything that one commit changed below the prefix, so a reader that stops can go on after the last
    /// item's revision. A reader that is too slow for the bounded history gets [`Error::Compacted`] and the stream ends.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<ChangeStream, Error>;

    /// Claims a name for a time; fails with [`Error::LeaseHeld`] while another owner's claim lasts.
    ///
    /// The same owner gets a new lease and its old one is lost: a restarted process need not wait for itself. Leases are not
    /// entries: they take no revision and no watch sees them. A time to live is at least one second.
    async fn lease_grant(&self, name: &str, owner: &str, ttl: Duration) -> Result<Lease, Error>;

    /// Starts the lease's time anew; fails with [`Error::LeaseLost`] once it has ended or went to someone else.
    async fn lease_renew(&self, lease: &Lease) -> Result<Lease, Error>;

    /// Gives the lease back; one that was lost already is no error.
    async fn lease_release(&self, lease: &Lease) -> Result<(), Error>;

    /// The lease on a name, if one lasts.
    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, Error>;

    /// Writes an entry, whatever was there.
    async fn put(&self, key: &str, value: Vec<u8>) -> Result<Revision, Error> {
        self.commit(Txn::new().put(key, value)).await
    }

    /// Writes an entry if its key is as expected.
    async fn put_if(&self, key: &str, value: Vec<u8>, expect: Expect) -> Result<Revision, Error> {
        self.commit(Txn::new().expect(key, expect).put(key, value)).await
    }

    /// Deletes an entry; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<Revision, Error> {
        self.commit(Txn::new().delete(key)).await
    }

    /// Deletes an entry if it is at exactly this revision.
    async fn delete_if(&self, key: &str, revision: Revision) -> Result<Revision, Error> {
        self.commit(Txn::new().at(key, revision).delete(key)).await
    }
}
