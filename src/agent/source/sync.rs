//! Reading every source now, and waiting until that is done.
//!
//! Who asks raises a number. Each source's followers take the number before they begin: a fetch or a reading counts for
//! the number it began with, so that nobody is told of one that began before it was asked for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Reading;
use crate::agent::Agent;
use crate::base::Fault;

/// What became of a source when it was read last.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Whether it was read since it was asked for.
    pub done: bool,
    /// The commit in force, of a source that has any.
    pub commit: Option<String>,
    /// What the reading came to.
    pub reading: Option<Reading>,
    /// Why it could not be fetched or read.
    pub fault: Option<Fault>,
}

/// What is known of the sources.
#[derive(Debug)]
pub struct Sources {
    asked: watch::Sender<u64>,
    known: Mutex<BTreeMap<String, State>>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    fetched: u64,
    read: u64,
    refused: Option<Fault>,
    told: Told,
}

impl Default for Sources {
    fn default() -> Self {
        Self { asked: watch::Sender::new(0), known: Mutex::default(), news: Notify::new() }
    }
}

impl Sources {
    /// Tells when everything is asked for again; the number at this moment counts as heard.
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Asks for everything, and gives the number of it.
    pub fn ask(&self) -> u64 {
        let mut number = 0;
        self.asked.send_modify(|last| {
            *last += 1;
            number = *last;
        });
        number
    }

    /// A source is followed from now on.
    pub fn add(&self, name: &str) {
        self.known().entry(name.to_owned()).or_default();
    }

    /// A repository was fetched, or could not be.
    pub fn fetched(&self, name: &str, number: u64, fault: Option<Fault>) {
        self.change(name, |state| (state.fetched, state.refused) = (number, fault));
    }

    /// A source was read.
    pub fn read(&self, name: &str, number: u64, commit: Option<String>, reading: &Reading) {
        self.change(name, |state| {
            let (reading, fault) = (Some(reading.clone()), state.refused.clone());
            (state.read, state.told) = (number, Told { done: false, commit, reading, fault });
        });
    }

    /// A source could not be read.
    pub fn failed(&self, name: &str, number: u64, fault: Fault) {
        self.change(name, |state| {
            state.read = number;
            state.told.fault = Some(fault);
        });
    }

    /// Waits until a source was fetched for a number.
    pub async fn until_fetched(&self, name: &str, number: u64) {
        self.until(|known| known.get(name).is_none_or(|state| state.fetched >= number)).await;
    }

    /// Waits until every source was read for a number.
    async fn until_read(&self, number: u64) {
        self.until(|known| known.values().all(|state| state.read >= number)).await;
    }

    async fn until(&self, holds: impl Fn(&BTreeMap<String, State>) -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on no news is missed.
            news.as_mut().enable();
            if holds(&self.known()) {
                return;
            }
            news.await;
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut State)) {
        change(self.known().entry(name.to_owned()).or_default());
        self.news.notify_waiters();
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    /// Fetches and reads every source now, looks at everything, and says what became of each source within a time.
    pub async fn sync_sources(&self, within: Duration) -> BTreeMap<String, Told> {
        let number = self.sync();
        let sources = &self.0.sources;
        tokio::select! {
            () = sources.until_read(number) => {}
            () = self.world().clock.sleep(within) => {}
        }
        let told = |(name, state): (&String, &State)| {
            (name.clone(), Told { done: state.read >= number, ..state.told.clone() })
        };
        sources.known().iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_reading_counts_for_the_number_it_began_with() {
        let sources = Sources::default();
        sources.add("a");
        sources.add("b");
        let mut heard = sources.asked();
        assert!(sources.until_read(0).now_or_never().is_some());
        let number = sources.ask();
        assert!(heard.has_changed().is_ok_and(|changed| changed));
        assert_eq!(*heard.borrow_and_update(), number);
        sources.read("a", number, None, &Reading::default());
        sources.read("b", number - 1, None, &Reading::default());
        assert!(sources.until_read(number).now_or_never().is_none(), "b began before it was asked for");
        sources.failed("b", number, Fault::other("gone"));
        assert!(sources.until_read(number).now_or_never().is_some(), "who fails was asked too");
    }

    #[tokio::test]
    async fn who_waits_hears_of_it() {
        let sources = Sources::default();
        sources.add("a");
        let number = sources.ask();
        let later = async { sources.fetched("a", number, None) };
        tokio::join!(sources.until_fetched("a", number), later);
    }
}
