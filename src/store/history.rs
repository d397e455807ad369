//! The recent changes, kept so that a watch can start in the past; bounded by count and by bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Changes, Event, Revision};

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// The most events.
    pub events: usize,
    /// The most bytes of keys and values in them.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { events: 10_000, bytes: 8 * 1024 * 1024 }
    }
}

/// The changes from `oldest` to the newest, with no gap between them.
#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    changes: VecDeque<Arc<Changes>>,
    oldest: Revision,
    events: usize,
    bytes: usize,
}

impl History {
    /// An empty history whose first change will be the one after `revision`.
    pub(crate) fn after(revision: Revision, limits: HistoryLimits) -> Self {
        Self { limits, changes: VecDeque::new(), oldest: revision + 1, events: 0, bytes: 0 }
    }

    /// The oldest revision a reader can still see; one past the newest when nothing is kept.
    pub(crate) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Adds the next change and lets go of the oldest ones that no longer fit; the newest one always stays.
    pub(crate) fn push(&mut self, changes: Changes) {
        self.events += changes.events.len();
        self.bytes += weight(&changes);
        self.changes.push_back(Arc::new(changes));
        while self.changes.len() > 1 && (self.events > self.limits.events || self.bytes > self.limits.bytes) {
            if let Some(gone) = self.changes.pop_front() {
                self.events -= gone.events.len();
                self.bytes -= weight(&gone);
                self.oldest += 1;
            }
        }
    }

    /// Up to `most` changes after a revision, or nothing when some of them are gone.
    pub(crate) fn read(&self, after: Revision, most: usize) -> Option<Vec<Arc<Changes>>> {
        let skip = usize::try_from((after + 1).checked_sub(self.oldest)?).ok()?;
        Some(self.changes.iter().skip(skip).take(most).cloned().collect())
    }
}

fn weight(changes: &Changes) -> usize {
    changes.events.iter().map(Event::weight).sum()
}
