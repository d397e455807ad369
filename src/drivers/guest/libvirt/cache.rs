//! Domains as they were read, until something says that they changed.
//!
//! Every change that is told or made moves a clock of our own, and the domain's time is that of its last change. What
//! was read before that time is not kept, and what is kept needs no reading.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::survey::Seen;

/// What was read, by domain.
#[derive(Default)]
pub struct Cache {
    inner: Mutex<Inner>,
    clock: AtomicU64,
}

#[derive(Default)]
struct Inner {
    domains: HashMap<Uuid, (Option<u32>, Seen)>,
    /// When each domain changed last.
    touched: HashMap<Uuid, u64>,
    all_touched: u64,
    /// When everything was let go of, although nothing was said to have changed.
    dropped: u64,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The time.
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// Something changed about this domain.
    pub fn forget(&self, uuid: Uuid) {
        let now = self.tick();
        let mut inner = self.lock();
        inner.domains.remove(&uuid);
        inner.touched.insert(uuid, now);
    }

    /// Anything may have changed.
    pub fn forget_all(&self) {
        let now = self.tick();
        *self.lock() = Inner { all_touched: now, ..Inner::default() };
    }

    /// Lets go of everything, although nothing is known to have changed: versions stay.
    pub fn drop_all(&self) {
        let now = self.tick();
        let mut inner = self.lock();
        inner.domains.clear();
        inner.dropped = now;
    }

    /// When each of these domains changed last, as far as that was told.
    pub fn versions(&self, domains: impl Iterator<Item = Uuid>) -> Vec<u64> {
        let inner = self.lock();
        domains.map(|uuid| inner.touched.get(&uuid).copied().unwrap_or(0).max(inner.all_touched)).collect()
    }

    /// What was read of a domain, unless it changed or was started or stopped since.
    pub fn get(&self, uuid: Uuid, id: Option<u32>) -> Option<Seen> {
        self.lock().domains.get(&uuid).filter(|(known, _)| *known == id).map(|(_, seen)| seen.clone())
    }

    /// Keeps what was read of a domain that has this number while it runs, unless it changed after `since`.
    pub fn put(&self, id: Option<u32>, seen: Seen, since: u64) {
        let mut inner = self.lock();
        let uuid = seen.0.uuid;
        if inner.all_touched.max(inner.dropped) <= since && inner.touched.get(&uuid).is_none_or(|at| *at <= since) {
            inner.domains.insert(uuid, (id, seen));
        }
    }

    /// Lets go of domains that were not there at the time `since`.
    pub fn keep_only(&self, there: &HashSet<Uuid>, since: u64) {
        let mut inner = self.lock();
        inner.domains.retain(|uuid, _| there.contains(uuid));
        inner.touched.retain(|uuid, at| there.contains(uuid) || *at > since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stays_until_its_domain_or_all_changed() {
        let cache = Cache::default();
        let domains = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let versions = || cache.versions(domains.into_iter());
        cache.forget_all();
        let first = versions();
        assert_eq!(versions(), first);
        cache.forget(domains[0]);
        let second = versions();
        assert!(second[0] > first[0] && second[1] == first[1]);
        cache.forget_all();
        let third = versions();
        assert!(third[0] > second[0] && third[1] > second[1]);
    }

    #[test]
    fn what_is_let_go_of_is_read_again_and_looks_the_same() {
        let cache = Cache::default();
        let domain = Uuid::from_u128(1);
        cache.forget(domain);
        let before = cache.versions([domain].into_iter());
        cache.drop_all();
        assert_eq!(cache.versions([domain].into_iter()), before);
    }

    #[test]
    fn a_change_during_a_look_is_not_lost_with_a_domain_that_was_not_there_yet() {
        let cache = Cache::default();
        let domain = Uuid::from_u128(1);
        let before = cache.versions([domain].into_iter());
        let since = cache.now();
        cache.forget(domain);
        cache.keep_only(&HashSet::new(), since);
        assert_ne!(cache.versions([domain].into_iter()), before);
        cache.keep_only(&HashSet::new(), cache.now());
        assert_eq!(cache.versions([domain].into_iter()), before);
    }
}
