//! The store that forgets: everything in memory, for tests and for runs that keep nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::state::{Draft, Shared, State, Wanted};
use super::watch::{ChangeStream, follow};
use super::{Entry, Error, HistoryLimits, Lease, Listing, Revision, Store, Txn};
use crate::base::clock::Clock;

/// A store in memory.
pub struct Memory {
    shared: Arc<Shared>,
    grown: watch::Sender<()>,
    clock: Arc<dyn Clock>,
}

impl Memory {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>, history: HistoryLimits) -> Self {
        Self { shared: Shared::new(State::empty(history)), grown: watch::Sender::new(()), clock }
    }

    /// Drafts one request and makes it so.
    fn run<T>(&self, request: impl FnOnce(&mut Draft, &State) -> Result<T, Error>) -> Result<T, Error> {
        let mut state = self.shared.write();
        let mut draft = Draft::of(&state);
        let answer = request(&mut draft, &state)?;
        for step in draft.steps {
            state.apply(step);
        }
        drop(state);
        self.grown.send_replace(());
        Ok(answer)
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.shared.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        Ok(self.shared.read().list(prefix))
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        txn.validate()?;
        self.run(|draft, state| draft.commit(state, txn))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<ChangeStream, Error> {
        follow(&self.shared, self.grown.subscribe(), prefix, after)
    }

    async fn lease_grant(&self, name: &str, owner: &str, ttl: Duration) -> Result<Lease, Error> {
        let wanted = Wanted { name: name.to_owned(), owner: owner.to_owned(), ttl };
        self.run(|draft, state| draft.grant(state, &wanted, self.clock.now()))
    }

    async fn lease_renew(&self, lease: &Lease) -> Result<Lease, Error> {
        self.run(|draft, state| draft.renew(state, lease, self.clock.now()))
    }

    async fn lease_release(&self, lease: &Lease) -> Result<(), Error> {
        self.run(|draft, state| {
            draft.release(state, lease);
            Ok(())
        })
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, Error> {
        Ok(self.shared.lease(name, self.clock.now()))
    }
}
