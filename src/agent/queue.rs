//! The keyed queue: what is to be looked at, when, and how much of it at once.
//!
//! ```text
//! enqueue / urge --> waiting, one entry a key, at its earliest time --pop--> running --finish--> waiting again, or out
//! ```
//!
//! A key that waits already is not queued twice, and one that runs is queued again for when it ends, so that nothing
//! asked for while it ran is missed. A failure delays the key, each time twice as long. A key runs in lanes (its
//! hypervisor, its storages), and each lane takes only so many at once; one that runs for long keeps its lanes and
//! gives back its share of the whole, so that what hangs in one lane stops no other.
//!
//! It is plain data without a clock and without tasks: the caller says what time it is and does the work. Chance comes
//! from one seed. So a test can play any history, and play it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A time, as the clock's `elapsed` tells it.
pub type Moment = Duration;

/// What is shared by keys that could hang together, such as one storage.
pub type Lane = String;

/// How much may run at once, and how long a failed key waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many keys run at once, those that take long not counted.
    pub total: usize,
    /// How many keys run at once in one lane, however long they take.
    pub lane: usize,
    /// After this time a running key no longer counts towards the total.
    pub patience: Duration,
    /// How long a key waits after its first failure.
    pub first: Duration,
    /// The longest a key waits after a failure.
    pub longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { total: 8, lane: 4, patience: seconds(10), first: seconds(1), longest: seconds(300) }
    }
}

/// How a key's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is left to do until something asks for it.
    Done,
    /// It shall be looked at again after this time.
    After(Duration),
    /// It failed, and is tried again after a growing time.
    Retry,
}

/// A key to work on now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job<K> {
    /// The key.
    pub key: K,
    /// When it was last asked for: what was read before that is not news enough.
    pub since: Moment,
    /// How often in a row it has failed.
    pub failures: u32,
}

/// When to run a key, and since when something wants it.
#[derive(Debug, Clone)]
struct Request {
    at: Moment,
    since: Moment,
    lanes: Vec<Lane>,
    pace: Pace,
}

/// What may move a request to an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Whatever asks for the key.
    Hint,
    /// Only something urgent, because the key failed.
    Held,
    /// It is urgent itself.
    Urgent,
}

#[derive(Debug, Clone)]
struct Running {
    started: Moment,
    lanes: Vec<Lane>,
    again: Option<Request>,
}

/// The queue.
#[derive(Debug, Clone)]
pub struct Queue<K> {
    limits: Limits,
    chance: fastrand::Rng,
    /// What waits, with its number in `order`.
    waiting: BTreeMap<K, (Request, u64)>,
    order: BTreeSet<(Moment, u64, K)>,
    running: BTreeMap<K, Running>,
    lanes: BTreeMap<Lane, usize>,
    /// What somebody else works on: it waits until it is released.
    held: BTreeSet<K>,
    failures: BTreeMap<K, u32>,
    number: u64,
}

impl<K: Ord + Clone> Queue<K> {
    /// An empty queue whose delays come from `seed`.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            chance: fastrand::Rng::with_seed(seed),
            waiting: BTreeMap::new(),
            order: BTreeSet::new(),
            running: BTreeMap::new(),
            lanes: BTreeMap::new(),
            held: BTreeSet::new(),
            failures: BTreeMap::new(),
            number: 0,
        }
    }

    /// Asks for a key at `at`; one that waits because it failed goes on waiting.
    pub fn enqueue(&mut self, key: K, lanes: Vec<Lane>, now: Moment, at: Moment) {
        self.ask(key, Request { at, since: now, lanes, pace: Pace::Hint });
    }

    /// Asks for a key now, as when its manifest has changed: earlier failures are forgotten.
    pub fn urge(&mut self, key: K, lanes: Vec<Lane>, now: Moment) {
        self.failures.remove(&key);
        self.ask(key, Request { at: now, since: now, lanes, pace: Pace::Urgent });
    }

    fn ask(&mut self, key: K, request: Request) {
        if let Some(running) = self.running.get_mut(&key) {
            running.again = Some(merged(running.again.take(), request));
            return;
        }
        let earlier = self.waiting.remove(&key).map(|(earlier, number)| {
            self.order.remove(&(earlier.at, number, key.clone()));
            earlier
        });
        let request = merged(earlier, request);
        self.number += 1;
        self.order.insert((request.at, self.number, key.clone()));
        self.waiting.insert(key, (request, self.number));
    }

    /// The next key to work on, if one is due and its lanes have room.
    pub fn pop(&mut self, now: Moment) -> Option<Job<K>> {
        if self.fresh(now).count() >= self.limits.total {
            return None;
        }
        let due = self.order.iter().take_while(|(at, ..)| *at <= now);
        let place = due.map(|(_, _, key)| key).find(|key| self.has_room(key))?.clone();
        let (request, number) = self.waiting.remove(&place)?;
        self.order.remove(&(request.at, number, place.clone()));
        for lane in &request.lanes {
            *self.lanes.entry(lane.clone()).or_default() += 1;
        }
        let job = Job { since: request.since, failures: self.failures(&place), key: place.clone() };
        self.running.insert(place, Running { started: now, lanes: request.lanes, again: None });
        Some(job)
    }

    fn has_room(&self, key: &K) -> bool {
        let full = |lane: &Lane| self.lanes.get(lane).is_some_and(|n| *n >= self.limits.lane);
        !self.held.contains(key) && self.waiting.get(key).is_some_and(|(request, _)| !request.lanes.iter().any(full))
    }

    /// Keeps keys from running until they are released, all or none; false when one is kept so already.
    pub fn hold(&mut self, keys: &BTreeSet<K>) -> bool {
        let free = self.held.is_disjoint(keys);
        if free {
            self.held.extend(keys.iter().cloned());
        }
        free
    }

    /// Lets keys run again.
    pub fn release(&mut self, keys: &BTreeSet<K>) {
        self.held.retain(|key| !keys.contains(key));
    }

    /// When each running key that counts towards the total will have taken long.
    fn fresh(&self, now: Moment) -> impl Iterator<Item = Moment> + '_ {
        self.running.values().map(|r| r.started.saturating_add(self.limits.patience)).filter(move |until| *until > now)
    }

    /// Says how a running key ended.
    pub fn finish(&mut self, key: &K, now: Moment, verdict: Verdict) {
        let Some(Running { lanes, again, .. }) = self.running.remove(key) else { return };
        for lane in &lanes {
            if let Some(count) = self.lanes.get_mut(lane) {
                *count -= 1;
            }
        }
        self.lanes.retain(|_, count| *count > 0);
        let next = match verdict {
            Verdict::Done | Verdict::After(_) => {
                self.failures.remove(key);
                let after = |delay| Request { at: now + delay, since: now, lanes, pace: Pace::Hint };
                if let Verdict::After(delay) = verdict { Some(after(delay)) } else { None }
            }
            Verdict::Retry => {
                let at = now + self.delay(key);
                Some(Request { at, since: now, lanes, pace: Pace::Held })
            }
        };
        if let Some(request) = next {
            self.ask(key.clone(), request);
        }
        if let Some(request) = again {
            self.ask(key.clone(), request);
        }
    }

    /// How long a key waits that has failed once more.
    fn delay(&mut self, key: &K) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        *failures = failures.saturating_add(1);
        let factor = 1_u32.checked_shl(*failures - 1).unwrap_or(u32::MAX);
        let whole = self.limits.first.saturating_mul(factor).min(self.limits.longest);
        whole.mul_f64(0.5 + 0.5 * self.chance.f64())
    }

    /// How often in a row a key has failed.
    pub fn failures(&self, key: &K) -> u32 {
        self.failures.get(key).copied().unwrap_or(0)
    }

    /// The next moment after `now` at which `pop` may give more although nothing ended and nothing was asked for.
    pub fn wake(&self, now: Moment) -> Option<Moment> {
        let mut later = self.order.iter().map(|(at, ..)| *at).skip_while(|at| *at <= now);
        let due = self.order.first().is_some_and(|(at, ..)| *at <= now);
        let slow = if due { self.fresh(now).min() } else { None };
        later.next().into_iter().chain(slow).min()
    }

    /// How many keys wait, and how many run.
    pub fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.running.len())
    }

    /// Whether a key runs now.
    pub fn is_running(&self, key: &K) -> bool {
        self.running.contains_key(key)
    }
}

/// One request that serves two: the earlier time counts, unless the key is held by a failure.
fn merged(earlier: Option<Request>, new: Request) -> Request {
    let Some(old) = earlier else { return new };
    let (at, pace) = match (old.pace, new.pace) {
        (Pace::Held, Pace::Hint) => (old.at, Pace::Held),
        (Pace::Hint, Pace::Held) => (new.at, Pace::Held),
        (Pace::Urgent, _) | (_, Pace::Urgent) => (old.at.min(new.at), Pace::Urgent),
        (same, _) => (old.at.min(new.at), same),
    };
    Request { at, since: old.since.max(new.since), lanes: new.lanes, pace }
}

#[cfg(test)]
mod tests;
