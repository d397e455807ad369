//! A store that was closed, and one that was not, come back as they were.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use reeve::store::{Embedded, Error, Expect, Store, Txn};

use super::disk::TestDisk;
use super::{NEVER, OFTEN, Options, crash_copy, names, open, options, try_open};
use crate::store::{clock, keys, line, text};

#[tokio::test]
async fn everything_comes_back() {
    for often in [OFTEN, NEVER, 0] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), options(often));
        for n in 0..300 {
            store.put(&format!("k/{}", n % 40), format!("{n}").into_bytes()).await.unwrap();
        }
        store.delete("k/7").await.unwrap();
        let before = store.list("").await.unwrap();
        drop(store);
        let store = open(dir.path(), options(often));
        assert_eq!(store.list("").await.unwrap(), before);
        let stale = store.put_if("k/7", vec![], Expect::At(1)).await.unwrap_err();
        assert!(matches!(stale, Error::Conflict { found: Expect::Absent, .. }));
        assert_eq!(store.put("new", vec![]).await.unwrap(), before.revision + 1);
    }
}

#[tokio::test]
async fn it_comes_back_many_times() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..30_u64 {
        let store = open(dir.path(), options(OFTEN));
        assert_eq!(store.list("").await.unwrap().revision, round * 10);
        for n in 0..10 {
            store.put(&format!("k/{n}"), vec![b'x'; 100]).await.unwrap();
        }
    }
    assert!(names(dir.path()).len() <= 4, "{:?}", names(dir.path()));
}

#[tokio::test]
async fn opening_without_writing_changes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), options(NEVER)).put("a", b"1".to_vec()).await.unwrap();
    let before = super::contents(dir.path());
    for _ in 0..3 {
        let store = open(dir.path(), options(NEVER));
        assert_eq!(keys(&store.list("").await.unwrap()), ["a"]);
    }
    assert_eq!(super::contents(dir.path()), before);
}

#[tokio::test]
async fn a_crash_leaves_all_that_was_acknowledged() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path(), options(OFTEN));
    for n in 0..200 {
        store.put(&format!("k/{n}"), format!("{n}").into_bytes()).await.unwrap();
        if n % 10 == 0 {
            let copy = copies.path().join(n.to_string());
            crash_copy(dir.path(), &copy);
            let again = open(&copy, options(OFTEN)).list("").await.unwrap();
            assert_eq!(again, store.list("").await.unwrap());
        }
    }
}

#[tokio::test]
async fn the_log_is_let_go_once_a_snapshot_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(64 * 1024));
    for n in 0..2000 {
        store.put(&format!("k/{}", n % 50), vec![b'x'; 500]).await.unwrap();
    }
    drop(store);
    let size: u64 = names(dir.path()).iter().map(|name| fs::metadata(dir.path().join(name)).unwrap().len()).sum();
    assert!(size < 400 * 1024, "{size} bytes in {:?}", names(dir.path()));
}

#[tokio::test]
async fn a_watch_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(NEVER));
    for n in 0..20 {
        store.put(&format!("k/{n}"), format!("{n}").into_bytes()).await.unwrap();
    }
    drop(store);
    let store = open(dir.path(), options(NEVER));
    let mut watch = store.watch("", 15).await.unwrap();
    store.delete("k/0").await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.extend(watch.next().await.unwrap().unwrap().events.iter().map(line));
    }
    assert_eq!(seen, ["k/15=15", "k/16=16", "k/17=17", "k/18=18", "k/19=19", "-k/0"]);
}

#[tokio::test]
async fn a_watch_from_before_the_snapshot_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(OFTEN));
    for n in 0..200 {
        store.put(&format!("k/{n}"), vec![b'x'; 100]).await.unwrap();
    }
    drop(store);
    let store = open(dir.path(), options(OFTEN));
    let error = store.watch("", 3).await.err().unwrap();
    let Error::Compacted { after: 3, oldest } = error else { panic!("{error}") };
    let mut watch = store.watch("", oldest - 1).await.unwrap();
    if oldest <= 200 {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, oldest);
    }
    assert!(matches!(store.watch("", 201).await, Err(Error::Future { .. })));
}

#[tokio::test]
async fn leases_come_back() {
    for often in [NEVER, 0] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), options(often));
        let ttl = Duration::from_millis(30_001);
        let kept = store.lease_grant("kept", "node-1", ttl).await.unwrap();
        let gone = store.lease_grant("gone", "node-1", ttl).await.unwrap();
        store.lease_release(&gone).await.unwrap();
        store.put("a", vec![]).await.unwrap();
        drop(store);
        let store = open(dir.path(), options(often));
        assert_eq!(store.lease_get("kept").await.unwrap().as_ref(), Some(&kept));
        assert_eq!(store.lease_get("gone").await.unwrap(), None);
        assert!(matches!(store.lease_grant("kept", "node-2", ttl).await, Err(Error::LeaseHeld { .. })));
        assert!(store.lease_grant("gone", "node-2", ttl).await.unwrap().token > gone.token);
        store.lease_renew(&kept).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_opener_is_told_where_and_who() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let store = open(&dir, options(NEVER));
    let error = try_open(&dir, options(NEVER)).err().unwrap();
    let words = format!("cannot open the store in {}: it is in use by process {}", dir.display(), std::process::id());
    let said = error.to_string();
    assert!(said.starts_with(&words) && said.ends_with("since 2026-01-01 00:00:00 UTC"), "{said}");
    let program = std::env::args().next().unwrap();
    assert!(said.contains(program.rsplit('/').next().unwrap()), "{said}");
    store.put("a", vec![]).await.unwrap();
    drop(store);
    open(&dir, options(NEVER));
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b/store");
    let store = open(&dir, options(0));
    store.put("a", vec![]).await.unwrap();
    drop(store);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.clone()), 0o700);
    for name in names(&dir) {
        assert_eq!(mode(dir.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_directory_is_said() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = try_open(&file.path().join("store"), options(NEVER)).err().unwrap();
    assert_eq!(error.to_string(), format!("cannot create {}", file.path().join("store").display()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_wait_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = TestDisk::new();
    let store = Arc::new(open(dir.path(), Options { disk: disk.clone(), ..options(NEVER) }));
    disk.slow_down(Duration::from_millis(5));
    let before = disk.syncs.load(Ordering::SeqCst);
    let writers: Vec<_> = (0..1000)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put(&format!("k/{n}"), vec![]).await.unwrap() })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    assert!(syncs < 100, "{syncs} syncs for 1000 commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_batch_each_transaction_stands_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = TestDisk::new();
    let store = Arc::new(open(dir.path(), Options { disk: disk.clone(), ..options(NEVER) }));
    disk.slow_down(Duration::from_millis(100));
    let busy = tokio::spawn({
        let store = store.clone();
        async move { store.put("busy", vec![]).await }
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    // All of these wait for the first sync and are then one batch.
    let commits = (0..10).map(|n| {
        let store = store.clone();
        let (seat, value) = (format!("seat/{}", n % 2), format!("{n}").into_bytes());
        async move { store.commit(Txn::new().absent(&seat).put(&seat, value).put(&format!("by/{n}"), vec![])).await }
    });
    let results = futures::future::join_all(commits).await;
    busy.await.unwrap().unwrap();
    let winners: Vec<usize> = (0..10).filter(|n| results[*n].is_ok()).collect();
    assert_eq!(winners, [0, 1]);
    assert!(results[2..].iter().all(|result| matches!(result, Err(Error::Conflict { .. }))));
    assert_eq!(keys(&store.list("by/").await.unwrap()), ["by/0", "by/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_wait_for_no_sync_and_see_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = TestDisk::new();
    let store = Arc::new(open(dir.path(), Options { disk: disk.clone(), ..options(NEVER) }));
    store.put("a", b"old".to_vec()).await.unwrap();
    disk.slow_down(Duration::from_millis(500));
    let writer = tokio::spawn({
        let store = store.clone();
        async move { store.put("a", b"new".to_vec()).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    let seen = store.get("a").await.unwrap().unwrap();
    let listed = store.list("").await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    assert_eq!((text(&seen), listed.revision), ("old", 1));
    writer.await.unwrap().unwrap();
    assert_eq!(text(&store.get("a").await.unwrap().unwrap()), "new");
}

#[tokio::test]
async fn a_dropped_store_refuses_nothing_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), options(NEVER)));
    let commit = tokio::spawn({
        let store = store.clone();
        async move { store.put("a", vec![]).await }
    });
    tokio::task::yield_now().await;
    drop(store);
    commit.await.unwrap().unwrap();
    assert!(Embedded::open(dir.path(), options(NEVER), clock()).unwrap().get("a").await.unwrap().is_some());
}
