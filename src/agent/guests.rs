//! Guests that change by themselves or by another's hand: each is only a hint to look at it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};

use super::Agent;
use crate::base::Name;
use crate::drivers::guest::Glance;
use crate::kinds::{KindName, Ref};

/// How often machines are glanced at although nothing was told of them.
const TICK: Duration = Duration::from_secs(2);
/// How long what is told is collected before machines are glanced at, and how many times longer than the last glance took.
const COLLECT: (Duration, u32) = (Duration::from_millis(10), 4);
/// How long a stream that ended is slept over.
const PAUSE: Duration = Duration::from_secs(5);

/// How long to collect after glances that took so long; no longer than without any news, however long the hypervisor hung.
fn collect(took: Duration) -> Duration {
    took.saturating_mul(COLLECT.1).clamp(COLLECT.0, TICK)
}

impl Agent {
    /// Follows machines and containers for as long as it is polled.
    pub async fn follow_guests(&self) -> std::convert::Infallible {
        let (never, _) = tokio::join!(self.follow_machines(), self.follow_containers());
        match never {}
    }

    /// Machines at a glance, when the hypervisor tells of a change and every other second: those that look different are
    /// looked at. What was told is not looked into, so that nothing depends on its being complete.
    async fn follow_machines(&self) -> std::convert::Infallible {
        let mut last: Option<BTreeMap<String, Glance>> = None;
        let (vms, clock) = (&self.world().vms, &self.world().clock);
        let mut news = vms.news();
        let mut took = Duration::ZERO;
        loop {
            let begun = clock.elapsed();
            match vms.glance().await {
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
            took = clock.elapsed().saturating_sub(begun).max(took / 2);
            tokio::select! {
                () = clock.sleep(TICK) => {}
                Some(()) = news.next() => {
                    clock.sleep(collect(took)).await;
                    while news.next().now_or_never().flatten().is_some() {}
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypervisor_that_hung_makes_nobody_wait_for_news() {
        assert_eq!(collect(Duration::ZERO), COLLECT.0);
        assert_eq!(collect(Duration::from_millis(50)), Duration::from_millis(200));
        assert_eq!(collect(Duration::from_secs(60)), TICK);
        assert_eq!(collect(Duration::MAX), TICK);
    }
}
