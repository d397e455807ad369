//! What a store holds, and how a batch of requests becomes steps that change it.
//!
//! ```text
//! requests --Draft (checks against state + what the batch did so far)--> steps --(log, durable)--> State::apply
//! ```
//!
//! Drafting changes nothing, so a batch whose steps could not be made durable is simply dropped. Both engines use this.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jiff::Timestamp;

use super::history::History;
use super::txn::validate_key;
use super::{Changes, Entry, Error, Event, Expect, HistoryLimits, Lease, Listing, Op, Revision, Txn, lease};

/// One decided change, as the log keeps it.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Change { revision: Revision, ops: Vec<Op> },
    LeaseSet(Lease),
    LeaseDrop { name: String },
}

/// Everything a store knows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) entries: BTreeMap<Arc<str>, Entry>,
    pub(crate) revision: Revision,
    pub(crate) leases: BTreeMap<String, Lease>,
    /// The token of the next lease.
    pub(crate) next_token: u64,
    pub(crate) history: History,
}

impl State {
    /// The empty store.
    pub(crate) fn empty(limits: HistoryLimits) -> Self {
        let history = History::after(0, limits);
        Self { entries: BTreeMap::new(), revision: 0, leases: BTreeMap::new(), next_token: 1, history }
    }

    /// The entries below a prefix.
    pub(crate) fn list(&self, prefix: &str) -> Listing {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let below = self.entries.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        Listing { entries: below.map(|(_, entry)| entry.clone()).collect(), revision: self.revision }
    }

    /// Makes a decided step so.
    pub(crate) fn apply(&mut self, step: Step) {
        match step {
            Step::Change { revision, ops } => {
                let events = ops.into_iter().map(|op| self.apply_op(op, revision)).collect();
                self.revision = revision;
                self.history.push(Changes { revision, events });
            }
            Step::LeaseSet(lease) => {
                self.next_token = self.next_token.max(lease.token + 1);
                self.leases.insert(lease.name.clone(), lease);
            }
            Step::LeaseDrop { name } => {
                self.leases.remove(&name);
            }
        }
    }

    fn apply_op(&mut self, op: Op, revision: Revision) -> Event {
        match op {
            Op::Put { key, value } => {
                let old = self.entries.get_key_value(&key);
                // The map's own key is shared by all versions of the entry.
                let key = old.map_or(key, |(known, _)| known.clone());
                let (created, version) = old.map_or((revision, 1), |(_, old)| (old.created, old.version + 1));
                let entry = Entry { key: key.clone(), value, created, modified: revision, version };
                self.entries.insert(key, entry.clone());
                Event::Put(entry)
            }
            Op::Delete { key } => {
                self.entries.remove(&key);
                Event::Delete { key }
            }
        }
    }
}

/// What a batch is about to do, seen by its own later requests and by nobody else.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) steps: Vec<Step>,
    revision: Revision,
    next_token: u64,
    /// For each key changed so far, the revision it is now at, or nothing once deleted.
    touched: HashMap<Arc<str>, Option<Revision>>,
    leases: HashMap<String, Option<Lease>>,
}

impl Draft {
    /// A draft that starts from the state as it is.
    pub(crate) fn of(state: &State) -> Self {
        let (revision, next_token) = (state.revision, state.next_token);
        Self { steps: Vec::new(), revision, next_token, touched: HashMap::new(), leases: HashMap::new() }
    }

    /// Decides a transaction and says its revision.
    pub(crate) fn commit(&mut self, state: &State, txn: Txn) -> Result<Revision, Error> {
        for check in &txn.checks {
            let found = self.modified(state, &check.key).map_or(Expect::Absent, Expect::At);
            if found != check.expect {
                return Err(Error::Conflict { key: check.key.to_string(), expected: check.expect, found });
            }
        }
        let changes = |op: &Op| matches!(op, Op::Put { .. }) || self.modified(state, op.key()).is_some();
        let ops: Vec<Op> = txn.ops.into_iter().filter(changes).collect();
        if ops.is_empty() {
            return Ok(self.revision);
        }
        let revision = self.revision + 1;
        for op in &ops {
            let now = matches!(op, Op::Put { .. }).then_some(revision);
            self.touched.insert(op.key().clone(), now);
        }
        self.revision = revision;
        self.steps.push(Step::Change { revision, ops });
        Ok(revision)
    }

    fn modified(&self, state: &State, key: &str) -> Option<Revision> {
        match self.touched.get(key) {
            Some(modified) => *modified,
            None => state.entries.get(key).map(|entry| entry.modified),
        }
    }

    /// Decides the grant of a lease.
    pub(crate) fn grant(&mut self, state: &State, wanted: &Wanted, now: Timestamp) -> Result<Lease, Error> {
        validate_key("lease", &wanted.name)?;
        let Wanted { name, owner, ttl } = wanted.clone();
        let expires = lease::expiry(&name, ttl, now)?;
        let wanted = Lease { name, owner, token: self.next_token, ttl, expires };
        let lease = lease::grant(self.lease(state, &wanted.name.clone()), wanted, now)?;
        self.next_token += 1;
        self.set_lease(lease.clone());
        Ok(lease)
    }

    /// Decides the renewal of a lease.
    pub(crate) fn renew(&mut self, state: &State, lease: &Lease, now: Timestamp) -> Result<Lease, Error> {
        let renewed = lease::renew(self.lease(state, &lease.name), lease, now)?;
        self.set_lease(renewed.clone());
        Ok(renewed)
    }

    /// Decides the release of a lease.
    pub(crate) fn release(&mut self, state: &State, lease: &Lease) {
        if self.lease(state, &lease.name).is_some_and(|held| held.token == lease.token) {
            self.leases.insert(lease.name.clone(), None);
            self.steps.push(Step::LeaseDrop { name: lease.name.clone() });
        }
    }

    fn lease<'a>(&'a self, state: &'a State, name: &str) -> Option<&'a Lease> {
        match self.leases.get(name) {
            Some(lease) => lease.as_ref(),
            None => state.leases.get(name),
        }
    }

    fn set_lease(&mut self, lease: Lease) {
        self.leases.insert(lease.name.clone(), Some(lease.clone()));
        self.steps.push(Step::LeaseSet(lease));
    }
}

/// What the caller of a grant asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) ttl: Duration,
}

/// The state as readers, watchers and the one writer share it; the lock is held for memory work only, never for the disk.
#[derive(Debug)]
pub(crate) struct Shared(RwLock<State>);

impl Shared {
    /// Puts a state where it can be shared.
    pub(crate) fn new(state: State) -> Arc<Self> {
        Arc::new(Self(RwLock::new(state)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry at a key.
    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.read().entries.get(key).cloned()
    }

    /// The lease on a name that lasts now.
    pub(crate) fn lease(&self, name: &str, now: Timestamp) -> Option<Lease> {
        self.read().leases.get(name).filter(|lease| lease.lasts_at(now)).cloned()
    }
}
