//! A transaction: what must hold, and what is then done.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::{Error, MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES, Revision};

/// What a key is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// There is no entry.
    Absent,
    /// There is one, last written at exactly this revision.
    At(Revision),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::At(revision) => write!(f, "at revision {revision}"),
        }
    }
}

/// One thing that must hold before anything is done.
#[derive(Clone, Debug)]
pub struct Check {
    /// The key it is about.
    pub key: Arc<str>,
    /// What the key must be.
    pub expect: Expect,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes an entry.
    Put {
        /// Where.
        key: Arc<str>,
        /// What.
        value: Arc<[u8]>,
    },
    /// Deletes an entry, if there is one.
    Delete {
        /// Where.
        key: Arc<str>,
    },
}

impl Op {
    /// The key it changes.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Checks and operations that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// All of them must hold.
    pub checks: Vec<Check>,
    /// All of them are done; no key is changed twice.
    pub ops: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires a key to be as expected.
    pub fn expect(mut self, key: &str, expect: Expect) -> Self {
        self.checks.push(Check { key: key.into(), expect });
        self
    }

    /// Requires a key to be at exactly this revision.
    pub fn at(self, key: &str, revision: Revision) -> Self {
        self.expect(key, Expect::At(revision))
    }

    /// Requires a key to have no entry.
    pub fn absent(self, key: &str) -> Self {
        self.expect(key, Expect::Absent)
    }

    /// Writes an entry.
    pub fn put(mut self, key: &str, value: Vec<u8>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into() });
        self
    }

    /// Deletes an entry; one that is not there is no error.
    pub fn delete(mut self, key: &str) -> Self {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// Refuses what no engine could do: bad keys, a key changed twice, too much of anything.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.validate_counts()?;
        for check in &self.checks {
            validate_key("check", &check.key)?;
        }
        let mut changed = HashSet::with_capacity(self.ops.len());
        let mut bytes = 0;
        for op in &self.ops {
            bytes += validate_op(op)?;
            if !changed.insert(op.key()) {
                let reason = "the transaction changes it twice";
                return Err(Error::Invalid { action: "change", key: op.key().to_string(), reason });
            }
        }
        if bytes > MAX_TXN_BYTES {
            let what = "the whole transaction in bytes";
            return Err(too_large("commit", self.first_key(), what, bytes, MAX_TXN_BYTES));
        }
        Ok(())
    }

    fn validate_counts(&self) -> Result<(), Error> {
        let counts = [("the number of operations", self.ops.len()), ("the number of checks", self.checks.len())];
        for (what, count) in counts {
            if count > MAX_TXN_OPS {
                return Err(too_large("commit", self.first_key(), what, count, MAX_TXN_OPS));
            }
        }
        Ok(())
    }

    /// The key that names the transaction in a message.
    fn first_key(&self) -> &str {
        let op = self.ops.first().map(|op| &**op.key());
        op.or_else(|| self.checks.first().map(|check| &*check.key)).unwrap_or("")
    }
}

/// Refuses an operation that is too large, and says how many bytes it is otherwise.
fn validate_op(op: &Op) -> Result<usize, Error> {
    match op {
        Op::Put { key, value } => {
            validate_key("put", key)?;
            if value.len() > MAX_VALUE_BYTES {
                return Err(too_large("put", key, "the value in bytes", value.len(), MAX_VALUE_BYTES));
            }
            Ok(key.len() + value.len())
        }
        Op::Delete { key } => {
            validate_key("delete", key)?;
            Ok(key.len())
        }
    }
}

/// Refuses a key that is empty, too long or cannot be shown.
pub(crate) fn validate_key(action: &'static str, key: &str) -> Result<(), Error> {
    if key.len() > MAX_KEY_BYTES {
        return Err(too_large(action, key, "the key in bytes", key.len(), MAX_KEY_BYTES));
    }
    let reason = if key.is_empty() {
        "a key is never empty"
    } else if key.chars().any(char::is_control) {
        "a key has no control characters"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { action, key: key.to_owned(), reason })
}

/// The error for something over its limit, with the key cut to what a person reads.
fn too_large(action: &'static str, key: &str, what: &'static str, size: usize, limit: usize) -> Error {
    let key = key.chars().take(80).collect();
    Error::TooLarge { action, key, what, size, limit }
}
