//! Readers without the lock, while a writer appends and puts snapshots in place: each sees one moment, and none fails.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::StreamExt as _;
use reeve::store::embedded::View;
use reeve::store::{Error, HistoryLimits, Store, Txn};

use super::{NEVER, OFTEN, contents, names, open, options};
use crate::store::{clock, keys, text};

fn look(dir: &Path) -> Result<View, Error> {
    View::open(dir, HistoryLimits { events: 1000, bytes: 1 << 20 }, clock())
}

/// What every view must hold: both halves of each commit, and all that was acknowledged before it began.
async fn check(view: &View, acknowledged: u64, before: u64) -> u64 {
    let all = view.list("").await.unwrap();
    assert!(all.revision >= acknowledged.max(before), "{} after {acknowledged} and {before}", all.revision);
    let value = |key: &str| all.entries.iter().find(|e| &*e.key == key).map(|e| text(e).trim().to_owned());
    for n in 0..7 {
        assert_eq!(value(&format!("first/{n}")), value(&format!("second/{n}")), "half a commit at {}", all.revision);
    }
    all.revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_fails_while_a_writer_appends_and_compacts() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), options(OFTEN)));
    let (done, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn({
        let (store, done, acknowledged) = (store.clone(), done.clone(), acknowledged.clone());
        async move {
            let mut n = 0_u64;
            while !done.load(Ordering::SeqCst) {
                let value = format!("{n}{}", " ".repeat((n % 300) as usize)).into_bytes();
                let pair = Txn::new().put(&format!("first/{}", n % 7), value.clone());
                let revision = store.commit(pair.put(&format!("second/{}", n % 7), value)).await.unwrap();
                acknowledged.store(revision, Ordering::SeqCst);
                n += 1;
            }
        }
    });
    let mut before = 0;
    for _ in 0..3000 {
        let (told, dir) = (acknowledged.load(Ordering::SeqCst), dir.path().to_owned());
        let view = tokio::task::spawn_blocking(move || look(&dir)).await.unwrap().unwrap();
        before = check(&view, told, before).await;
    }
    done.store(true, Ordering::SeqCst);
    writer.await.unwrap();
    assert!(before > 100, "the writer made only {before} commits meanwhile");
}

#[tokio::test]
async fn a_reader_leaves_no_trace_and_writes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    assert!(look(&dir).unwrap().list("").await.unwrap().entries.is_empty());
    assert!(!dir.exists(), "a reader made the directory");
    let store = open(&dir, options(OFTEN));
    for n in 0..100 {
        store.put(&format!("k/{n}"), vec![b'x'; 50]).await.unwrap();
    }
    drop(store);
    let (files, listed) = (contents(&dir), names(&dir));
    let view = look(&dir).unwrap();
    assert_eq!(view.list("k/").await.unwrap().entries.len(), 100);
    assert_eq!(view.get("k/7").await.unwrap().unwrap().value.len(), 50);
    assert!(matches!(view.put("k/7", vec![]).await, Err(Error::ReadOnly { .. })));
    assert!(matches!(view.lease_grant("a", "b", std::time::Duration::from_secs(9)).await, Err(Error::ReadOnly { .. })));
    assert_eq!((contents(&dir), names(&dir)), (files, listed));
}

#[tokio::test]
async fn a_batch_that_is_being_written_is_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(NEVER));
    store.put("a", b"1".to_vec()).await.unwrap();
    let log = dir.path().join("log-00000001");
    let short = fs::read(&log).unwrap();
    store.put("b", b"2".to_vec()).await.unwrap();
    drop(store);
    let whole = fs::read(&log).unwrap();
    for cut in short.len()..whole.len() {
        fs::write(&log, &whole[..cut]).unwrap();
        let seen = look(dir.path()).unwrap().list("").await.unwrap();
        assert!(keys(&seen) == ["a"] || keys(&seen) == ["a", "b"], "{:?} at {cut}", keys(&seen));
    }
}

#[tokio::test]
async fn what_is_damaged_and_stands_still_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(NEVER));
    for n in 0..5 {
        store.put(&format!("k/{n}"), vec![b'x'; 50]).await.unwrap();
    }
    drop(store);
    let log = dir.path().join("log-00000001");
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&log, bytes).unwrap();
    assert!(matches!(look(dir.path()), Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn a_watch_of_a_view_ends_with_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(NEVER));
    for n in 0..5 {
        store.put(&format!("k/{n}"), vec![]).await.unwrap();
    }
    let view = look(dir.path()).unwrap();
    store.put("later", vec![]).await.unwrap();
    let seen: Vec<_> = view.watch("", 3).await.unwrap().collect().await;
    assert_eq!(seen.into_iter().map(|c| c.unwrap().revision).collect::<Vec<_>>(), [4, 5]);
}
