//! A store in front of which the process dies: at the commit it is told to, before it or after it, everything stops.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use reeve::store::{ChangeStream, Entry, Error, Lease, Listing, Revision, Store, Txn};
use tokio::sync::Notify;

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// At which commit, from 1.
    pub commit: u32,
    /// Whether that commit is durable.
    pub after: bool,
}

/// The store, and the death that waits in it.
pub struct Fragile {
    inner: Arc<dyn Store>,
    next: Mutex<Option<Death>>,
    /// Told when the process is dead.
    pub dead: Notify,
}

impl Fragile {
    /// A store that dies nowhere.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, next: Mutex::default(), dead: Notify::new() }
    }

    /// The same store for a process that starts anew.
    pub fn anew(&self) -> Self {
        Self::new(self.inner.clone())
    }

    /// Dies there; counts from now on.
    pub fn die(&self, death: Option<Death>) {
        *self.next.lock().unwrap() = death;
    }

    /// Whether this commit is the last, and durable.
    fn last(&self) -> Option<bool> {
        let mut next = self.next.lock().unwrap();
        let death = next.as_mut()?;
        death.commit = death.commit.saturating_sub(1);
        (death.commit == 0).then_some(death.after)
    }
}

#[async_trait]
impl Store for Fragile {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        if let Some(durable) = self.last() {
            if durable {
                self.inner.commit(txn).await?;
            }
            self.dead.notify_one();
            std::future::pending::<()>().await;
            return Err(Error::Closed);
        }
        self.inner.commit(txn).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<ChangeStream, Error> {
        self.inner.watch(prefix, after).await
    }

    async fn lease_grant(&self, name: &str, owner: &str, ttl: Duration) -> Result<Lease, Error> {
        self.inner.lease_grant(name, owner, ttl).await
    }

    async fn lease_renew(&self, lease: &Lease) -> Result<Lease, Error> {
        self.inner.lease_renew(lease).await
    }

    async fn lease_release(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.lease_release(lease).await
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, Error> {
        self.inner.lease_get(name).await
    }
}
