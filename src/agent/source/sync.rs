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
use crate::base::{Fault, FaultKind};
use crate::engine::sources::Suspension;
use crate::kinds::{KindName, Ref};

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
    /// Since when and by whom it is suspended, when it is.
    pub suspended: Option<Suspension>,
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
            (state.read, state.told) = (number, Told { done: false, commit, reading, fault, suspended: None });
        });
    }

    /// A source is suspended; nothing was fetched or read.
    pub fn suspended(&self, name: &str, number: u64, suspension: Suspension) {
        self.change(name, |state| {
            state.read = number;
            (state.told.fault, state.told.suspended) = (None, Some(suspension));
        });
    }

    /// A source could not be read.
    pub fn failed(&self, name: &str, number: u64, fault: Fault) {
        self.change(name, |state| {
            state.read = number;
            (state.told.fault, state.told.suspended) = (Some(fault), None);
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

    /// What became of every source, done when it was read for a number.
    fn told(&self, number: u64) -> BTreeMap<String, Told> {
        let told = |(name, state): (&String, &State)| {
            (name.clone(), Told { done: state.read >= number, ..state.told.clone() })
        };
        self.known().iter().map(told).collect()
    }

    /// The source that goes by a name, or the only one that has these words in its name.
    fn find(&self, word: &str) -> Result<String, Fault> {
        let known = self.known();
        if known.contains_key(word) {
            return Ok(word.to_owned());
        }
        let mut fit = known.keys().filter(|name| name.contains(word));
        let why = match (fit.next(), fit.next()) {
            (Some(one), None) => return Ok(one.clone()),
            (None, _) => format!("no source {word} is followed"),
            (Some(one), Some(other)) => format!("{word} may be {one} or {other}"),
        };
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let help = match names.is_empty() {
            true => "the agent follows no source".to_owned(),
            false => format!("the sources are {}", names.join(", ")),
        };
        Err(Fault::new(FaultKind::NotFound, why).help(help))
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
        sources.told(number)
    }

    /// What became of every source when it was read last.
    pub fn told_sources(&self) -> BTreeMap<String, Told> {
        self.0.sources.told(0)
    }

    /// Suspends a source, or has it followed again, also after the agent's next start; says what became of it.
    pub async fn suspend_source(
        &self,
        word: &str,
        suspended: bool,
        who: &str,
        within: Duration,
    ) -> Result<(String, Told), Fault> {
        let sources = &self.0.sources;
        let name = sources.find(word)?;
        let node = Ref::new(KindName::Node, self.world().node.clone());
        self.ledger().suspend(&name, suspended, &node, who).await?;
        let number = sources.ask();
        let read = sources.until(|known| known.get(&name).is_none_or(|state| state.read >= number));
        tokio::select! {
            () = read => {}
            () = self.world().clock.sleep(within) => {}
        }
        let told = sources.told(number).remove(&name).unwrap_or_default();
        Ok((name, told))
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
