//! What a reader gets: entries, listings and changes.

use std::sync::Arc;

/// Counts the commits that changed something, from 1; 0 is the empty store.
pub type Revision = u64;

/// One key with its value and its place in the store's history; a clone shares both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub key: Arc<str>,
    /// What it says.
    pub value: Arc<[u8]>,
    /// The revision that made it.
    pub created: Revision,
    /// The revision that last wrote it.
    pub modified: Revision,
    /// How often it was written since it was made, from 1.
    pub version: u64,
}

/// The entries below a prefix, all read at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// In key order.
    pub entries: Vec<Entry>,
    /// Watch after this one to miss nothing and see nothing twice.
    pub revision: Revision,
}

/// What happened to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was written; this is the entry after it.
    Put(Entry),
    /// It was deleted.
    Delete {
        /// The key that has no entry now.
        key: Arc<str>,
    },
}

impl Event {
    /// The key it happened to.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key } => key,
        }
    }

    /// How much memory it holds on to, roughly, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Put(entry) => entry.key.len() + entry.value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// Everything one commit changed, in the order of its operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The commit's revision.
    pub revision: Revision,
    /// One event for each key it changed.
    pub events: Vec<Event>,
}
