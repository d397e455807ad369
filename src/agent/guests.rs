//! Guests that change by themselves or by another's hand: each is only a hint to look at it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;

use super::Agent;
use crate::base::Name;
use crate::drivers::guest::Glance;
use crate::kinds::{KindName, Ref};

/// How often machines are glanced at.
const TICK: Duration = Duration::from_secs(2);
/// How long a stream that ended is slept over.
const PAUSE: Duration = Duration::from_secs(5);

impl Agent {
    /// Follows machines and containers for as long as it is polled.
    pub async fn follow_guests(&self) -> std::convert::Infallible {
        let (never, _) = tokio::join!(self.follow_machines(), self.follow_containers());
        match never {}
    }

    /// Machines at a glance, every other second: those that look different are looked at.
    async fn follow_machines(&self) -> std::convert::Infallible {
        let mut last: Option<BTreeMap<String, Glance>> = None;
        loop {
            match self.world().vms.glance().await {
                Ok(now) => {
                    if let Some(before) = &last {
                        let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
                        let changed = names.filter(|name| before.get(*name) != now.get(*name));
                        let changed = changed.filter_map(|name| Name::new(name).ok());
                        self.changed(KindName::VirtualMachine, changed);
                    }
                    last = Some(now);
                }
                // Whoever needs the machines says so in their conditions.
                Err(fault) => tracing::debug!(%fault, "the machines cannot be glanced at"),
            }
            self.world().clock.sleep(TICK).await;
        }
    }

    /// Containers, as the runtime tells of them.
    async fn follow_containers(&self) -> std::convert::Infallible {
        loop {
            let mut changed = self.world().cts.watch();
            while let Some(name) = changed.next().await {
                self.changed(KindName::Container, std::iter::once(name));
            }
            self.world().clock.sleep(PAUSE).await;
        }
    }

    fn changed(&self, kind: KindName, names: impl Iterator<Item = Name>) {
        let wanted = self.wanted();
        for reference in names.map(|name| Ref::new(kind, name)) {
            self.touch(kind);
            if wanted.get(&reference).is_some() {
                self.hint(&reference);
            }
        }
    }
}
