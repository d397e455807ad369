//! The loops that turn the agent: take keys and work on them, follow the store, ask for everything now and then.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};

use super::Agent;
use super::queue::Verdict;
use super::wanted::Wanted;
use super::work::{WHO, work};
use crate::base::{Disruption, Fault};
use crate::engine::overrides::records;
use crate::engine::recover::Unfinished;
use crate::kinds::Ref;
use crate::store::{Error, Revision, keys};

/// How long the store's trouble is slept over.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether more is kept of what happened than shall be.
const TIDYING: Duration = Duration::from_secs(60);

impl Agent {
    /// Runs until it is told to stop and the steps that have begun are finished.
    pub async fn run(&self) -> Result<(), Fault> {
        let revision = self.begin().await?;
        let around = async {
            tokio::select! {
                biased;
                never = self.follow(revision) => match never {},
                never = self.follow_overrides() => match never {},
                never = self.resync() => match never {},
                never = self.follow_turns() => match never {},
                never = self.tidy() => match never {},
            }
        };
        tokio::select! {
            biased;
            () = self.turn() => Ok(()),
            never = around => match never {},
        }
    }

    /// Reads what is wanted and what a crash left, and asks for all of it.
    async fn begin(&self) -> Result<Revision, Fault> {
        let revision = self.read_all().await?;
        self.order_starts().await?;
        let unfinished = Unfinished::read(self.ledger()).await?;
        {
            let mut notes = self.notes();
            notes.deleting.extend(unfinished.deletes.iter().map(|d| d.reference.clone()));
            notes.leftovers.extend(unfinished.resources());
        }
        let told: Vec<Ref> = self.ledger().statuses().await?.into_iter().map(|(reference, _)| reference).collect();
        let left = unfinished.deletes.iter().map(|d| d.reference.clone()).chain(unfinished.resources());
        let wanted: Vec<Ref> = self.wanted().all().collect();
        left.chain(wanted).chain(told).for_each(|reference| self.hint(&reference));
        self.0.counters.is_ready();
        Ok(revision)
    }

    /// Takes keys from the queue and works on them, until it is told to stop.
    async fn turn(&self) {
        let clock = &self.world().clock;
        let mut busy = FuturesUnordered::new();
        loop {
            self.0.counters.turned();
            let now = clock.elapsed();
            while !self.stopping()
                && let Some(job) = self.pop(now)
            {
                busy.push(async move {
                    let begun = clock.elapsed();
                    let verdict = AssertUnwindSafe(work(self, &job)).catch_unwind().await;
                    self.counters().took(clock.elapsed().saturating_sub(begun));
                    (job.key, verdict.unwrap_or_else(|_| self.broke()))
                });
            }
            if self.stopping() && busy.is_empty() {
                return;
            }
            let wake = if self.stopping() { None } else { self.queue().wake(now) };
            let nap = async {
                match wake {
                    Some(at) => clock.sleep(at.saturating_sub(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((key, verdict)) = busy.next(), if !busy.is_empty() => {
                    self.queue().finish(&key, clock.elapsed(), verdict);
                }
                () = self.0.news.notified() => {}
                () = nap => {}
            }
        }
    }

    fn pop(&self, now: super::queue::Moment) -> Option<super::queue::Job<Ref>> {
        self.queue().pop(now)
    }

    fn broke(&self) -> Verdict {
        self.counters().panicked();
        tracing::error!("the work on a resource broke off; this is a mistake in Reeve, please report it");
        Verdict::Retry
    }

    /// Reads every manifest, and asks for each that is not as it was.
    async fn read_all(&self) -> Result<Revision, Fault> {
        let listing = self.ledger().store().list(&keys::manifests()).await?;
        let overrides = records(&self.ledger().store().list(&keys::overrides()).await?.entries);
        let (mut new, faults) = Wanted::of(&listing);
        new.set.overridden(overrides, self.ledger().now());
        faults.iter().for_each(|fault| tracing::error!(%fault, "an accepted manifest is left alone"));
        let old = self.wanted();
        let changed: BTreeSet<Ref> = new.differs(&old).into_iter().chain(old.differs(&new)).collect();
        self.put_wanted(new);
        self.ask_for(&changed);
        Ok(listing.revision)
    }

    pub(super) fn ask_for(&self, changed: &BTreeSet<Ref>) {
        let wanted = self.wanted();
        for reference in changed {
            self.touch(reference);
        }
        for reference in changed {
            self.urge(reference);
            wanted.users(reference).iter().for_each(|user| self.hint(user));
        }
    }

    /// Follows the accepted manifests as they change.
    async fn follow(&self, mut after: Revision) -> std::convert::Infallible {
        loop {
            let fault = match self.follow_on(&mut after).await {
                Ok(()) => continue,
                Err(Error::Compacted { .. } | Error::Future { .. }) => match self.read_all().await {
                    Ok(revision) => {
                        after = revision;
                        continue;
                    }
                    Err(fault) => fault,
                },
                Err(error) => error.into(),
            };
            tracing::error!(%fault, "the manifests cannot be followed");
            self.world().clock.sleep(PAUSE).await;
        }
    }

    async fn follow_on(&self, after: &mut Revision) -> Result<(), Error> {
        let mut stream = self.ledger().store().watch(&keys::manifests(), *after).await?;
        while let Some(changes) = stream.next().await {
            let changes = changes?;
            let (wanted, changed, faults) = self.wanted().after(&changes);
            faults.iter().for_each(|fault| tracing::error!(%fault, "a manifest is left as it was"));
            self.put_wanted(wanted);
            *after = changes.revision;
            self.ask_for(&changed);
        }
        Err(Error::Closed)
    }

    /// Lets go of events that are old or too many.
    async fn tidy(&self) -> std::convert::Infallible {
        loop {
            if let Err(fault) = self.ledger().trim_events(self.0.settings.retention).await {
                tracing::error!(%fault, "old events stay");
            }
            self.world().clock.sleep(TIDYING).await;
        }
    }

    /// Asks for everything now and then, and when a window opens.
    async fn resync(&self) -> std::convert::Infallible {
        loop {
            let clock = &self.world().clock;
            let opens = self.0.settings.windows.next(Disruption::None, clock.now());
            let until = opens.map(|at| at.duration_since(clock.now())).and_then(|d| Duration::try_from(d).ok());
            clock.sleep(until.unwrap_or(Duration::MAX).min(self.0.settings.resync)).await;
            tracing::debug!(who = WHO, "looking at everything");
            self.look_at_all();
        }
    }
}
