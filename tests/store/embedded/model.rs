//! Random commits, restarts and crashes, compared step by step with a map.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use reeve::store::{Check, Embedded, Error, Event, Expect, Op, Store, Txn};

use super::{crash_copy, open, options};

/// What is known of a key: value, created, modified, version.
type Known = (Vec<u8>, u64, u64, u64);

#[derive(Clone, Debug)]
enum Act {
    /// Keys with what to expect of them (absent, as it is, stale), and keys with a value or a delete.
    Commit(Vec<(u8, u8)>, BTreeMap<u8, Option<Vec<u8>>>),
    List(u8),
    Reopen,
    Crash,
}

/// A few keys that are prefixes of each other.
fn key(number: u8) -> String {
    ["a", "a/", "a/b", "a/b/c", "a/bc", "b", "b/a", "ä"][usize::from(number % 8)].to_owned()
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let value = proptest::collection::vec(any::<u8>(), 0..200);
    let checks = proptest::collection::vec((0..8_u8, 0..4_u8), 0..3);
    let ops = proptest::collection::btree_map(0..8_u8, proptest::option::weighted(0.75, value), 0..4);
    let act = prop_oneof![
        12 => (checks, ops).prop_map(|(checks, ops)| Act::Commit(checks, ops)),
        3 => (0..10_u8).prop_map(Act::List),
        1 => Just(Act::Reopen),
        1 => Just(Act::Crash),
    ];
    proptest::collection::vec(act, 1..80)
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Known>,
    revision: u64,
}

impl Model {
    fn expectation(&self, number: u8, how: u8) -> Expect {
        match (how, self.entries.get(&key(number))) {
            // Mostly what is so.
            (0 | 1, None) | (2, _) => Expect::Absent,
            (0 | 1, Some((_, _, modified, _))) => Expect::At(*modified),
            (_, _) => Expect::At(self.revision / 2),
        }
    }

    fn holds(&self, check: &Check) -> bool {
        let found = self.entries.get(&*check.key).map_or(Expect::Absent, |known| Expect::At(known.2));
        found == check.expect
    }

    /// Does a transaction as the contract says, and returns its events.
    fn commit(&mut self, txn: &Txn) -> Result<Vec<(String, Option<Known>)>, String> {
        if let Some(failed) = txn.checks.iter().find(|check| !self.holds(check)) {
            return Err(failed.key.to_string());
        }
        let next = self.revision + 1;
        let mut events = Vec::new();
        for op in &txn.ops {
            match op {
                Op::Put { key, value } => {
                    let (created, version) =
                        self.entries.get(&**key).map_or((next, 0), |(_, created, _, version)| (*created, *version));
                    let known = (value.to_vec(), created, next, version + 1);
                    self.entries.insert(key.to_string(), known.clone());
                    events.push((key.to_string(), Some(known)));
                }
                Op::Delete { key } if self.entries.remove(&**key).is_some() => events.push((key.to_string(), None)),
                Op::Delete { .. } => {}
            }
        }
        self.revision += u64::from(!events.is_empty());
        Ok(events)
    }
}

fn known(entry: &reeve::store::Entry) -> Known {
    (entry.value.to_vec(), entry.created, entry.modified, entry.version)
}

async fn compare(store: &Embedded, model: &Model, prefix: &str) {
    let listing = store.list(prefix).await.unwrap();
    let found: Vec<_> = listing.entries.iter().map(|entry| (entry.key.to_string(), known(entry))).collect();
    let expected = model.entries.iter().filter(|(key, _)| key.starts_with(prefix));
    assert_eq!(found, expected.map(|(key, known)| (key.clone(), known.clone())).collect::<Vec<_>>());
    assert_eq!(listing.revision, model.revision);
}

/// Commits to both and compares the answers and the events.
async fn commit(store: &Embedded, model: &mut Model, checks: &[(u8, u8)], ops: BTreeMap<u8, Option<Vec<u8>>>) {
    let checks = checks.iter().map(|(number, how)| (key(*number), model.expectation(*number, *how)));
    let txn = checks.fold(Txn::new(), |txn, (key, expect)| txn.expect(&key, expect));
    let txn = ops.into_iter().fold(txn, |txn, (number, value)| match value {
        Some(value) => txn.put(&key(number), value),
        None => txn.delete(&key(number)),
    });
    let mut watch = store.watch("", model.revision).await.unwrap();
    match (model.commit(&txn), store.commit(txn).await) {
        (Ok(events), Ok(revision)) => {
            assert_eq!(revision, model.revision);
            let seen = watch.next().now_or_never().map(|changes| changes.unwrap().unwrap().events).unwrap_or_default();
            let seen = seen.into_iter().map(|event| match event {
                Event::Put(entry) => (entry.key.to_string(), Some(known(&entry))),
                Event::Delete { key } => (key.to_string(), None),
            });
            assert_eq!(seen.collect::<Vec<_>>(), events);
        }
        (Err(failed), Err(Error::Conflict { key, .. })) => assert_eq!(key, failed),
        (expected, found) => panic!("expected {expected:?}, found {found:?}"),
    }
}

async fn run(acts: Vec<Act>) {
    let root = tempfile::tempdir().unwrap();
    let mut dir = root.path().join("0");
    let mut store = open(&dir, options(700));
    let mut model = Model::default();
    for (n, act) in acts.into_iter().enumerate() {
        match act {
            Act::Commit(checks, ops) => commit(&store, &mut model, &checks, ops).await,
            Act::List(8) => compare(&store, &model, "").await,
            Act::List(9) => compare(&store, &model, "a/b/").await,
            Act::List(number) => compare(&store, &model, &key(number)).await,
            Act::Reopen => {
                drop(store);
                store = open(&dir, options(700));
            }
            Act::Crash => {
                let next = root.path().join((n + 1).to_string());
                crash_copy(&dir, &next);
                dir = next;
                store = open(&dir, options(700));
            }
        }
    }
    drop(store);
    compare(&open(&dir, options(700)), &model, "").await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_map_does(acts in acts()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(acts));
    }
}
