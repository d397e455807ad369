//! Guests that change by themselves or by another's hand: each is only a hint to look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};

use super::Agent;
use crate::base::Name;
use crate::drivers::guest::{Glance, News};
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

/// How many machines may be looked at alone at once, and how long it takes until one more may.
const FEW: usize = 8;
const ONE_MORE: Duration = Duration::from_millis(25);

/// How many looks at single machines may still be made, so that a storm of events costs no more than a glance.
struct Credit {
    left: usize,
    since: Duration,
}

impl Credit {
    fn spend(&mut self, count: usize, now: Duration) -> bool {
        let gained = now.saturating_sub(self.since).as_millis() / ONE_MORE.as_millis();
        if gained > 0 {
            let gained = usize::try_from(gained).unwrap_or(FEW);
            (self.left, self.since) = (self.left.saturating_add(gained).min(FEW), now);
        }
        let enough = count <= self.left;
        if enough {
            self.left -= count;
        }
        enough
    }
}

/// The names of the machines that are told of; nothing when one is not known by name.
fn names(news: &[News], known: Option<&BTreeMap<String, Glance>>) -> Option<Vec<Name>> {
    let told: Option<BTreeSet<_>> = news
        .iter()
        .map(|one| match one {
            News::Of(uuid) => Some(*uuid),
            News::OfMany => None,
        })
        .collect();
    let mut told = told.filter(|told| told.len() <= FEW)?;
    let names =
        known?.iter().filter(|(_, glance)| told.remove(&glance.uuid)).filter_map(|(name, _)| Name::new(name).ok());
    let names = names.collect();
    told.is_empty().then_some(names)
}

impl Agent {
    /// Follows machines and containers for as long as it is polled.
    pub async fn follow_guests(&self) -> std::convert::Infallible {
        let (never, _) = tokio::join!(self.follow_machines(), self.follow_containers());
        match never {}
    }

    /// Machines at a glance, every other second and when the hypervisor tells of many changes: those that look different
    /// are looked at. A few that are told of by name are looked at themselves, at once. What was told is not looked into,
    /// so that nothing depends on its being complete.
    async fn follow_machines(&self) -> std::convert::Infallible {
        let mut last: Option<BTreeMap<String, Glance>> = None;
        let (vms, clock) = (&self.world().vms, &self.world().clock);
        let mut news = vms.news();
        let mut took = Duration::ZERO;
        let mut credit = Credit { left: FEW, since: clock.elapsed() };
        loop {
            let begun = clock.elapsed();
            let mut again = false;
            let seen = {
                let glance = vms.glance();
                tokio::pin!(glance);
                loop {
                    tokio::select! {
                        seen = &mut glance => break seen,
                        Some(first) = news.next() => again |= !self.hear(first, &mut news, last.as_ref(), &mut credit),
                    }
                }
            };
            match seen {
                Ok(now) => {
                    let before = last.replace(now);
                    self.compare(before, last.as_ref(), &mut credit);
                }
                // Whoever needs the machines says so in their conditions.
                Err(fault) => tracing::debug!(%fault, "the machines cannot be glanced at"),
            }
            took = clock.elapsed().saturating_sub(begun).max(took / 2);
            while !again {
                let left = TICK.saturating_sub(clock.elapsed().saturating_sub(begun)).max(COLLECT.0);
                tokio::select! {
                    () = clock.sleep(left) => break,
                    Some(first) = news.next() => again = !self.hear(first, &mut news, last.as_ref(), &mut credit),
                }
            }
            if again {
                clock.sleep(collect(took)).await;
                while news.next().now_or_never().flatten().is_some() {}
            }
        }
    }

    /// Takes all that is told now; false when it is too much, or of too many, to be looked at one by one.
    fn hear(
        &self,
        first: News,
        news: &mut BoxStream<'static, News>,
        last: Option<&BTreeMap<String, Glance>>,
        credit: &mut Credit,
    ) -> bool {
        let mut all = vec![first];
        while let Some(more) = news.next().now_or_never().flatten() {
            all.push(more);
        }
        let few = names(&all, last).filter(|names| credit.spend(names.len(), self.world().clock.elapsed()));
        let heard = few.is_some();
        self.told(few.unwrap_or_default());
        heard
    }

    /// Has those looked at that look different.
    fn compare(
        &self,
        before: Option<BTreeMap<String, Glance>>,
        now: Option<&BTreeMap<String, Glance>>,
        credit: &mut Credit,
    ) {
        let (Some(before), Some(now)) = (before, now) else { return };
        let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
        let changed = names.filter(|name| before.get(*name) != now.get(*name));
        let changed: Vec<Name> = changed.filter_map(|name| Name::new(name).ok()).collect();
        match credit.spend(changed.len(), self.world().clock.elapsed()) {
            true => self.told(changed),
            false => self.changed(KindName::VirtualMachine, changed.into_iter()),
        }
    }

    /// Has each of these machines looked at, alone.
    fn told(&self, names: Vec<Name>) {
        let wanted = self.wanted();
        let references = names.into_iter().map(|name| Ref::new(KindName::VirtualMachine, name));
        let references: Vec<Ref> = references.filter(|reference| wanted.get(reference).is_some()).collect();
        self.notes().told.extend(references.iter().cloned());
        references.iter().for_each(|reference| self.hint(reference));
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
            self.touch(&reference);
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

    #[test]
    fn a_few_are_looked_at_alone_and_a_storm_is_not() {
        let mut credit = Credit { left: FEW, since: Duration::ZERO };
        assert!(credit.spend(1, Duration::ZERO) && credit.spend(FEW - 1, Duration::from_millis(1)));
        assert!(!credit.spend(1, Duration::from_millis(24)), "there is none left");
        assert!(credit.spend(1, Duration::from_millis(26)) && !credit.spend(1, Duration::from_millis(27)));
        assert!(!credit.spend(FEW + 1, Duration::from_secs(60)), "never more than a few");
        assert!(credit.spend(FEW, Duration::from_secs(60)));
    }

    #[test]
    fn only_who_is_known_by_name_is_looked_at_alone() {
        use crate::drivers::guest::{Power, Stop};
        let uuid = uuid::Uuid::from_u128;
        let glance = |n| Glance { uuid: uuid(n), power: Power::Stopped, stop: Some(Stop::Never), version: 0 };
        let known = BTreeMap::from([("a".to_owned(), glance(1)), ("b".to_owned(), glance(2))]);
        let told =
            |news: &[News]| names(news, Some(&known)).map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(told(&[News::Of(uuid(2)), News::Of(uuid(2))]), Some(vec!["b".to_owned()]));
        assert_eq!(
            told(&[News::Of(uuid(2)), News::Of(uuid(3))]),
            None::<Vec<String>>,
            "a new one is found by a glance"
        );
        assert_eq!(told(&[News::OfMany]), None);
        assert_eq!(names(&[News::Of(uuid(1))], None), None);
    }
}
