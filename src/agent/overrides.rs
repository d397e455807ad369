//! Follows overrides: one that is set, taken back or over has its resource looked at, and what is over is cleared.

use std::time::Duration;

use futures::StreamExt as _;

use super::Agent;
use super::run::PAUSE;
use super::work::WHO;
use crate::base::Fault;
use crate::engine::overrides::records;
use crate::store::{Error, keys};

/// How long the end of an override is slept towards at once, in case the date is changed meanwhile.
const STRIDE: Duration = Duration::from_secs(30);

impl Agent {
    /// Follows them for as long as it is polled.
    pub(super) async fn follow_overrides(&self) -> std::convert::Infallible {
        loop {
            if let Err(fault) = self.until_overridden().await {
                tracing::error!(%fault, "overrides cannot be followed");
                self.world().clock.sleep(PAUSE).await;
            }
        }
    }

    /// Takes in what is overridden now, and waits until that changes.
    async fn until_overridden(&self) -> Result<(), Fault> {
        for (resource, fields) in self.ledger().end_overrides(WHO).await? {
            tracing::info!(%resource, fields = fields.join(", "), "overrides are over");
        }
        let store = self.ledger().store();
        let listing = store.list(&keys::overrides()).await?;
        let mut changes = store.watch(&keys::overrides(), listing.revision).await?;
        let now = self.ledger().now();
        if let Some((wanted, changed)) = self.wanted().overridden(records(&listing.entries), now) {
            self.put_wanted(wanted);
            self.ask_for(&changed);
        }
        loop {
            let left = self.wanted().set.next_over().map(|at| at.duration_since(self.ledger().now()));
            let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            let nap = async {
                match left {
                    Some(left) => self.world().clock.sleep(left.min(STRIDE)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => {
                    return change.unwrap_or(Err(Error::Closed)).map(drop).map_err(Fault::from);
                }
                () = nap => {}
            }
        }
    }
}
