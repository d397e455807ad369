//! A disk that fails: the commit says so, readers do not notice, and it goes on when the disk does.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use proptest::prelude::*;
use reeve::store::{Embedded, Error, Expect, Store};

use super::disk::{Fault, TestDisk};
use super::{NEVER, Options, crash_copy, names, open, options};
use crate::store::{keys, text};

fn failing(dir: &std::path::Path, snapshot_after_bytes: u64) -> (Arc<TestDisk>, Embedded) {
    let disk = TestDisk::new();
    let store = open(dir, Options { disk: disk.clone(), ..options(snapshot_after_bytes) });
    (disk, store)
}

#[tokio::test]
async fn a_full_disk_is_said_and_passes() {
    for fault in [Fault::Full, Fault::HalfFits, Fault::SyncFails] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, store) = failing(dir.path(), NEVER);
        store.put("a", b"1".to_vec()).await.unwrap();
        disk.set(fault);
        for _ in 0..3 {
            let error = store.put("a", b"2".to_vec()).await.unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error}");
            assert_eq!(error.is_disk_full(), fault != Fault::SyncFails);
            assert!(error.retry_helps());
            let entry = store.get("a").await.unwrap().unwrap();
            assert_eq!((text(&entry), store.list("").await.unwrap().revision), ("1", 1));
        }
        // Reading and what needs no disk go on.
        assert!(matches!(store.watch("", 0).await.unwrap().next().await, Some(Ok(_))));
        assert!(matches!(store.put_if("a", vec![], Expect::Absent).await, Err(Error::Conflict { .. })));
        disk.set(Fault::Nothing);
        assert_eq!(store.put("a", b"3".to_vec()).await.unwrap(), 2);
        drop(store);
        let store = open(dir.path(), options(NEVER));
        let entry = store.get("a").await.unwrap().unwrap();
        assert_eq!((text(&entry), entry.version), ("3", 2), "{fault:?}");
    }
}

#[tokio::test]
async fn the_error_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = failing(dir.path(), NEVER);
    disk.set(Fault::Full);
    let error = store.put("a", vec![]).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", dir.path().join("log-00000001").display()));
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn a_crash_while_the_disk_fails_loses_nothing_acknowledged() {
    for fault in [Fault::Full, Fault::HalfFits, Fault::SyncFails, Fault::NewLogFull] {
        let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (disk, store) = failing(dir.path(), NEVER);
        for round in 0..5 {
            store.put(&format!("ok/{round}"), vec![]).await.unwrap();
            if fault == Fault::NewLogFull {
                disk.set(Fault::SyncFails);
                store.put("lost", vec![]).await.unwrap_err();
            }
            disk.set(fault);
            store.put("lost", vec![]).await.unwrap_err();
            let copy = copies.path().join(round.to_string());
            crash_copy(dir.path(), &copy);
            disk.set(Fault::Nothing);
            let again = open(&copy, options(NEVER)).list("ok/").await.unwrap();
            assert_eq!(again.entries.len(), round + 1, "{fault:?}");
        }
        drop(store);
        let listing = open(dir.path(), options(NEVER)).list("").await.unwrap();
        assert_eq!((listing.entries.len(), listing.revision), (5, 5), "{fault:?}");
    }
}

#[tokio::test]
async fn what_a_failed_batch_left_behind_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = failing(dir.path(), NEVER);
    store.put("a", vec![]).await.unwrap();
    let first = dir.path().join("log-00000001");
    let whole = std::fs::read(&first).unwrap();
    disk.set(Fault::SyncFails);
    store.put("lost", vec![]).await.unwrap_err();
    disk.set(Fault::Nothing);
    store.put("b", vec![]).await.unwrap();
    drop(store);
    // As if the failed batch could not be cut off: the whole frame of another store's second commit.
    let other = tempfile::tempdir().unwrap();
    let store = open(other.path(), options(NEVER));
    store.put("a", vec![]).await.unwrap();
    store.put("lost", vec![]).await.unwrap();
    let longer = std::fs::read(other.path().join("log-00000001")).unwrap();
    assert_eq!(longer[..whole.len()], whole);
    std::fs::write(&first, longer).unwrap();
    assert_eq!(keys(&open(dir.path(), options(NEVER)).list("").await.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn a_snapshot_that_fails_costs_nothing_but_space() {
    for fault in [Fault::SnapshotFull, Fault::NewLogFull] {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (disk, store) = failing(dir.path(), 1024);
        disk.set(fault);
        let mut written = 0;
        for n in 0..100 {
            // A new log that cannot begin also refuses commits, until it can.
            written += usize::from(store.put(&format!("k/{n}"), vec![b'x'; 100]).await.is_ok());
        }
        assert!(written == 100 || fault == Fault::NewLogFull, "{written}");
        assert!(!names(dir.path()).contains(&"snapshot".to_owned()));
        crash_copy(dir.path(), copy.path());
        assert_eq!(open(copy.path(), options(NEVER)).list("k/").await.unwrap().entries.len(), written);
        disk.set(Fault::Nothing);
        for n in 0..100 {
            store.put(&format!("l/{n}"), vec![b'x'; 100]).await.unwrap();
        }
        drop(store);
        assert!(names(dir.path()).contains(&"snapshot".to_owned()));
        assert_eq!(open(dir.path(), options(NEVER)).list("").await.unwrap().entries.len(), written + 100);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_failed_batch_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = failing(dir.path(), NEVER);
    let store = Arc::new(store);
    disk.slow_down(Duration::from_millis(2));
    disk.set(Fault::SyncFails);
    let commits = (0..50).map(|n| {
        let store = store.clone();
        async move { store.put(&format!("k/{n}"), vec![]).await }
    });
    let results = futures::future::join_all(commits).await;
    assert!(results.iter().all(|result| matches!(result, Err(Error::Io { .. }))));
    assert_eq!(store.list("").await.unwrap().revision, 0);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Put(u8),
    Break(u8),
    Reopen,
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..8_u8).prop_map(Act::Put),
        3 => (0..6_u8).prop_map(Act::Break),
        1 => Just(Act::Reopen),
        1 => Just(Act::Crash),
    ];
    proptest::collection::vec(act, 1..60)
}

fn fault(number: u8) -> Fault {
    use Fault::{Full, HalfFits, NewLogFull, Nothing, SnapshotFull, SyncFails};
    [Nothing, Full, HalfFits, SyncFails, SnapshotFull, NewLogFull][usize::from(number)]
}

/// Runs the acts; after each one the store holds what was acknowledged, or that and the one commit whose outcome is unknown.
async fn run(acts: Vec<Act>) {
    let root = tempfile::tempdir().unwrap();
    let mut dir = root.path().join("0");
    let disk = TestDisk::new();
    let with_disk = || Options { disk: disk.clone(), ..options(512) };
    let mut store = open(&dir, with_disk());
    let mut known = std::collections::BTreeMap::new();
    for (n, act) in acts.into_iter().enumerate() {
        match act {
            Act::Put(key) => {
                let value = format!("{n} {}", "x".repeat(50));
                if store.put(&format!("k/{key}"), value.clone().into_bytes()).await.is_ok() {
                    known.insert(format!("k/{key}"), value);
                }
            }
            Act::Break(number) => disk.set(fault(number)),
            Act::Reopen | Act::Crash => {
                disk.set(Fault::Nothing);
                // A successful commit settles what was unknown.
                store.put("settled", vec![]).await.unwrap();
                known.insert("settled".to_owned(), String::new());
                if matches!(act, Act::Crash) {
                    let next = root.path().join((n + 1).to_string());
                    crash_copy(&dir, &next);
                    dir = next;
                }
                drop(store);
                store = open(&dir, with_disk());
            }
        }
        let listing = store.list("").await.unwrap();
        let found: Vec<_> =
            listing.entries.iter().map(|entry| (entry.key.to_string(), text(entry).to_owned())).collect();
        assert_eq!(found, known.clone().into_iter().collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn faults_in_any_order_lose_nothing(acts in acts()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(acts));
    }
}
