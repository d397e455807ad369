//! What can go wrong, in words that say what was attempted on which key or file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::embedded::Holder;
use super::{Expect, Revision};

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum Error {
    /// A check of a transaction did not hold, so nothing of it was done.
    #[error("{key} has changed: the transaction expects it {expected}, and it is {found}")]
    Conflict { key: String, expected: Expect, found: Expect },

    /// The history no longer reaches back that far: list again and watch after the listing's revision.
    #[error("cannot watch after revision {after}: the oldest change still known is {oldest}")]
    Compacted { after: Revision, oldest: Revision },

    /// The revision was never reached, as when the store was put back from an older copy: list again.
    #[error("cannot watch after revision {after}: the store is only at revision {current}")]
    Future { after: Revision, current: Revision },

    /// The request can never be done as it stands.
    #[error("cannot {action} {key:?}: {reason}")]
    Invalid { action: &'static str, key: String, reason: &'static str },

    /// Something is larger than the store takes.
    #[error("cannot {action} {key:?}: {what} is {size}, and the limit is {limit}")]
    TooLarge { action: &'static str, key: String, what: &'static str, size: usize, limit: usize },

    /// Another owner holds the lease.
    #[error("cannot lease {name} to {wanted_by}: {owner} holds it until {until}")]
    LeaseHeld { name: String, wanted_by: String, owner: String, until: Timestamp },

    /// The lease has ended, or went to another owner.
    #[error("{owner} no longer holds the lease {name}")]
    LeaseLost { name: String, owner: String },

    /// Another process has the store open.
    #[error("cannot open the store in {}: it is in use{}", path.display(), holder_words(holder.as_deref()))]
    Locked { path: PathBuf, holder: Option<Box<Holder>> },

    /// The store was opened for reading only.
    #[error("cannot write to the store in {}: it was opened for reading only", path.display())]
    ReadOnly { path: PathBuf },

    /// A file was written by a newer Reeve.
    #[error("cannot open the store: {} has format {found}, and this version reads up to {supported}", path.display())]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },

    /// A file is damaged; nothing was written to it.
    #[error("cannot open the store: {} is damaged at byte {offset}: {detail}", path.display())]
    Corrupt { path: PathBuf, offset: u64, detail: String },

    /// The operating system refused; a full disk is one of these.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },

    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Wraps what the operating system said about an action on a path.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// Whether the same request may succeed later with nothing else done.
    pub fn retry_helps(&self) -> bool {
        matches!(self, Self::LeaseHeld { .. } | Self::Locked { .. } | Self::Io { .. })
    }

    /// Whether the disk is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// The end of the sentence about a locked store.
fn holder_words(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}
