//! What happened, as it is kept: noted with what is written anyway, and let go of when it is old or too much.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::records::{Ledger, chain, put};
use crate::base::Fault;
use crate::kinds::Ref;
use crate::store::records::{EventRecord, Record as _};
use crate::store::{Entry, Op, keys};

/// One resource has no more than this part of all that is kept, so that one that fails again and again hides no other.
const PART: usize = 10;

/// How much of what happened is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many.
    pub keep: usize,
    /// And none that is older.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep: 10_000, age: Duration::from_secs(90 * 24 * 3600) }
    }
}

impl Retention {
    /// The keys of those that are not kept, of all events, oldest first.
    fn outdated<'a>(&self, all: &'a [Entry], now: Timestamp) -> Vec<&'a str> {
        let since = SignedDuration::try_from(self.age).ok().and_then(|age| now.checked_sub(age).ok());
        let since = keys::events_at(since.unwrap_or(Timestamp::MIN));
        let most = (self.keep / PART).max(1);
        if all.len() <= most && all.first().is_none_or(|oldest| *oldest.key >= *since) {
            return Vec::new();
        }
        let mut of: HashMap<String, usize> = HashMap::new();
        let mut kept = 0;
        let mut dropped = |entry: &&Entry| {
            let count = of.entry(resource(entry)).or_default();
            *count += 1;
            let stays = *count <= most && kept < self.keep && *entry.key >= *since;
            kept += usize::from(stays);
            !stays
        };
        all.iter().rev().filter(|entry| dropped(entry)).map(|entry| &*entry.key).collect()
    }
}

/// To what it happened; what cannot be read counts together.
fn resource(entry: &Entry) -> String {
    #[derive(Deserialize)]
    struct Only {
        resource: String,
    }
    serde_json::from_slice::<Only>(&entry.value).map(|only| only.resource).unwrap_or_default()
}

impl Ledger {
    /// Notes that something happened.
    pub async fn event(
        &self,
        resource: &Ref,
        who: &str,
        what: &str,
        why: &str,
        plan: Option<&str>,
    ) -> Result<(), Fault> {
        self.event_later(resource, who, what, why, plan)?;
        self.settle().await
    }

    /// Notes that something happened, with the next write.
    pub fn event_later(
        &self,
        resource: &Ref,
        who: &str,
        what: &str,
        why: &str,
        plan: Option<&str>,
    ) -> Result<(), Fault> {
        let at = self.now();
        let mut record = EventRecord::new(at, &resource.to_string(), who, what, why);
        record.plan_hash = plan.map(str::to_owned);
        self.add_later(put(&keys::event(at, uuid::Uuid::new_v4()), &record)?);
        Ok(())
    }

    /// Every event that is kept, oldest first.
    pub async fn events(&self) -> Result<Vec<EventRecord>, Fault> {
        let entries = self.store().list(&keys::events()).await?.entries;
        entries.iter().map(|e| EventRecord::read(e).map_err(|e| Fault::other(chain(&e)))).collect()
    }

    /// Lets go of the events that are not to be kept; how many those were.
    pub async fn trim_events(&self, retention: Retention) -> Result<usize, Fault> {
        let all = self.store().list(&keys::events()).await?.entries;
        let gone = retention.outdated(&all, self.now());
        self.write(gone.iter().map(|key| Op::Delete { key: (*key).into() }).collect()).await?;
        Ok(gone.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(of: &[(&str, i64)]) -> Vec<Entry> {
        let entry = |(resource, second): &(&str, i64)| {
            let at = Timestamp::from_second(*second).unwrap();
            let record = EventRecord::new(at, resource, "who", "what", "why");
            let key = keys::event(at, uuid::Uuid::nil()).into();
            let value = record.write().unwrap().into();
            Entry { key, value, created: 1, modified: 1, version: 1 }
        };
        of.iter().map(entry).collect()
    }

    fn seconds(gone: &[&str]) -> Vec<u64> {
        gone.iter().map(|key| key.split('/').nth(1).unwrap().parse::<u64>().unwrap() / 1_000_000).collect()
    }

    #[test]
    fn the_newest_stay_none_too_old_and_no_resource_has_more_than_its_part() {
        let now = Timestamp::from_second(1_000).unwrap();
        let retention = |keep, age| Retention { keep, age: Duration::from_secs(age) };
        let some = all(&[("vm/a", 100), ("vm/b", 500), ("vm/b", 600), ("vm/b", 700), ("vm/a", 900)]);
        assert_eq!(seconds(&retention(1_000, 10_000).outdated(&some, now)), [0; 0]);
        assert_eq!(seconds(&retention(1_000, 450).outdated(&some, now)), [500, 100]);
        assert_eq!(seconds(&retention(20, 10_000).outdated(&some, now)), [500], "vm/b has three, and may have two");
        assert_eq!(seconds(&retention(1, 10_000).outdated(&some, now)), [700, 600, 500, 100]);
        assert_eq!(seconds(&retention(1_000, 1).outdated(&some, now)).len(), 5);
    }
}
