//! What the agent counts, for whoever measures it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts since the agent began.
#[derive(Debug, Default)]
pub struct Counters {
    ready: AtomicBool,
    looked: AtomicU64,
    changed: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    readings: AtomicU64,
    turns: AtomicU64,
    micros: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// How often a resource was looked at.
    pub looked: u64,
    /// How often one was changed.
    pub changed: u64,
    /// How often the work on one failed.
    pub failed: u64,
    /// How often the work on one broke in a way that is a mistake of Reeve's own.
    pub panicked: u64,
    /// How often a source was read.
    pub readings: u64,
    /// How long all looks took together, in microseconds.
    pub micros: u64,
}

impl Counters {
    /// The counts now.
    pub fn read(&self) -> Counted {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            looked: get(&self.looked),
            changed: get(&self.changed),
            failed: get(&self.failed),
            panicked: get(&self.panicked),
            readings: get(&self.readings),
            micros: get(&self.micros),
        }
    }

    pub(super) fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn is_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    pub(super) fn looked(&self) {
        self.looked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn took(&self, time: std::time::Duration) {
        self.micros.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn changed(&self) {
        self.changed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn panicked(&self) {
        self.panicked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn turned(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn source_read(&self) {
        self.readings.fetch_add(1, Ordering::Relaxed);
    }
}
