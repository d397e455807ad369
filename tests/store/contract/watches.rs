//! Watches: in order, no gap, nothing twice, and a word when that cannot be kept.

use std::time::Duration;

use futures::StreamExt;
use reeve::store::{ChangeStream, Error, HistoryLimits, Revision, Store, Txn};
use tokio::time::timeout;

use super::Factory;
use crate::store::line;

const SMALL: HistoryLimits = HistoryLimits { events: 10, bytes: 1 << 20 };

/// The next item as its revision and lines.
async fn next(watch: &mut ChangeStream) -> (Revision, Vec<String>) {
    let changes = timeout(Duration::from_secs(20), watch.next()).await.unwrap().unwrap().unwrap();
    (changes.revision, changes.events.iter().map(line).collect())
}

async fn silent(watch: &mut ChangeStream) -> bool {
    timeout(Duration::from_millis(50), watch.next()).await.is_err()
}

async fn put_numbers(store: &dyn Store, numbers: std::ops::Range<u32>) {
    for n in numbers {
        store.put(&format!("k/{n}"), format!("{n}").into_bytes()).await.unwrap();
    }
}

pub(super) async fn a_watch_sees_what_comes(factory: &impl Factory) {
    let bench = factory.empty();
    let mut watch = bench.store.watch("", 0).await.unwrap();
    bench.store.put("a", b"1".to_vec()).await.unwrap();
    assert_eq!(next(&mut watch).await, (1, vec!["a=1".to_owned()]));
    bench.store.put("a", b"2".to_vec()).await.unwrap();
    assert_eq!(next(&mut watch).await, (2, vec!["a=2".to_owned()]));
    assert!(silent(&mut watch).await);
}

pub(super) async fn a_watch_sees_what_was(factory: &impl Factory) {
    let bench = factory.empty();
    put_numbers(&*bench.store, 0..5).await;
    let mut watch = bench.store.watch("k/", 2).await.unwrap();
    for n in 2..5 {
        assert_eq!(next(&mut watch).await, (n + 1, vec![format!("k/{n}={n}")]));
    }
    assert!(silent(&mut watch).await);
}

pub(super) async fn a_watch_after_the_list_misses_nothing(factory: &impl Factory) {
    let bench = factory.empty();
    let store = bench.store.clone();
    let writer = tokio::spawn(async move { put_numbers(&*store, 0..300).await });
    while bench.store.list("").await.unwrap().revision < 50 {
        tokio::task::yield_now().await;
    }
    let listing = bench.store.list("k/").await.unwrap();
    let mut watch = bench.store.watch("k/", listing.revision).await.unwrap();
    for n in listing.entries.len()..300 {
        assert_eq!(next(&mut watch).await.1, [format!("k/{n}={n}")]);
    }
    writer.await.unwrap();
    assert!(silent(&mut watch).await);
}

pub(super) async fn a_watch_sees_only_its_prefix(factory: &impl Factory) {
    let bench = factory.empty();
    let mut watch = bench.store.watch("a/b/", 0).await.unwrap();
    for key in ["a/bc", "a/b", "a/b/1", "a", "a/b/2"] {
        bench.store.put(key, b"x".to_vec()).await.unwrap();
    }
    assert_eq!(next(&mut watch).await, (3, vec!["a/b/1=x".to_owned()]));
    assert_eq!(next(&mut watch).await, (5, vec!["a/b/2=x".to_owned()]));
    assert!(silent(&mut watch).await);
}

pub(super) async fn a_commit_is_one_item(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("b", b"0".to_vec()).await.unwrap();
    let mut watch = bench.store.watch("", 1).await.unwrap();
    bench.store.commit(Txn::new().put("c", b"1".to_vec()).delete("b").put("a", b"2".to_vec())).await.unwrap();
    assert_eq!(next(&mut watch).await, (2, vec!["c=1".to_owned(), "-b".to_owned(), "a=2".to_owned()]));
}

pub(super) async fn a_commit_is_cut_to_the_prefix(factory: &impl Factory) {
    let bench = factory.empty();
    let mut watch = bench.store.watch("a/", 0).await.unwrap();
    bench.store.commit(Txn::new().put("a/1", b"1".to_vec()).put("b/1", b"2".to_vec())).await.unwrap();
    assert_eq!(next(&mut watch).await, (1, vec!["a/1=1".to_owned()]));
}

pub(super) async fn a_watch_goes_on_where_another_stopped(factory: &impl Factory) {
    let bench = factory.empty();
    put_numbers(&*bench.store, 0..20).await;
    let mut seen = Vec::new();
    let mut last = 0;
    while seen.len() < 20 {
        let mut watch = bench.store.watch("", last).await.unwrap();
        for _ in 0..3.min(20 - seen.len()) {
            let (revision, lines) = next(&mut watch).await;
            last = revision;
            seen.extend(lines);
        }
    }
    assert_eq!(seen, (0..20).map(|n| format!("k/{n}={n}")).collect::<Vec<_>>());
}

pub(super) async fn deletes_are_seen(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("a", b"1".to_vec()).await.unwrap();
    bench.store.delete("a").await.unwrap();
    bench.store.delete("a").await.unwrap();
    bench.store.put("a", b"2".to_vec()).await.unwrap();
    let mut watch = bench.store.watch("", 1).await.unwrap();
    assert_eq!(next(&mut watch).await, (2, vec!["-a".to_owned()]));
    assert_eq!(next(&mut watch).await, (3, vec!["a=2".to_owned()]));
}

pub(super) async fn what_failed_is_not_seen(factory: &impl Factory) {
    let bench = factory.empty();
    let mut watch = bench.store.watch("", 0).await.unwrap();
    bench.store.put("a", b"1".to_vec()).await.unwrap();
    bench.store.commit(Txn::new().absent("a").put("b", b"1".to_vec())).await.unwrap_err();
    bench.store.put("c", b"1".to_vec()).await.unwrap();
    assert_eq!(next(&mut watch).await.1, ["a=1"]);
    assert_eq!(next(&mut watch).await.1, ["c=1"]);
}

pub(super) async fn a_watch_of_now_waits(factory: &impl Factory) {
    let bench = factory.empty();
    put_numbers(&*bench.store, 0..3).await;
    let mut watch = bench.store.watch("", 3).await.unwrap();
    assert!(silent(&mut watch).await);
    put_numbers(&*bench.store, 3..4).await;
    assert_eq!(next(&mut watch).await.0, 4);
}

pub(super) async fn too_far_back_is_compacted(factory: &impl Factory) {
    let bench = factory.with_history(SMALL);
    put_numbers(&*bench.store, 0..50).await;
    let error = bench.store.watch("", 5).await.err().unwrap();
    let Error::Compacted { after: 5, oldest } = error else { panic!("{error}") };
    assert!(oldest > 6 && oldest <= 50, "{oldest}");
    let mut watch = bench.store.watch("", oldest - 1).await.unwrap();
    assert_eq!(next(&mut watch).await.0, oldest);
    assert!(matches!(bench.store.watch("", oldest - 2).await, Err(Error::Compacted { .. })));
}

pub(super) async fn the_oldest_is_still_there(factory: &impl Factory) {
    let bench = factory.with_history(SMALL);
    put_numbers(&*bench.store, 0..10).await;
    let mut watch = bench.store.watch("", 0).await.unwrap();
    for n in 0..10 {
        assert_eq!(next(&mut watch).await.0, n + 1);
    }
}

pub(super) async fn too_many_bytes_are_compacted_too(factory: &impl Factory) {
    let bench = factory.with_history(HistoryLimits { events: 1000, bytes: 10_000 });
    for n in 0..20 {
        bench.store.put(&format!("k/{n}"), vec![b'x'; 1000]).await.unwrap();
    }
    assert!(matches!(bench.store.watch("", 0).await, Err(Error::Compacted { oldest: 12, .. })));
}

pub(super) async fn a_slow_watcher_is_told(factory: &impl Factory) {
    let bench = factory.with_history(SMALL);
    let mut watch = bench.store.watch("", 0).await.unwrap();
    put_numbers(&*bench.store, 0..1).await;
    assert_eq!(next(&mut watch).await.0, 1);
    put_numbers(&*bench.store, 1..50).await;
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Compacted { after: 1, .. }), "{error}");
    assert!(watch.next().await.is_none());
}

pub(super) async fn a_revision_of_the_future_is_refused(factory: &impl Factory) {
    let bench = factory.empty();
    put_numbers(&*bench.store, 0..3).await;
    for after in [4, 1000, u64::MAX] {
        let error = bench.store.watch("", after).await.err().unwrap();
        assert!(matches!(error, Error::Future { current: 3, .. }), "{error}");
    }
}

pub(super) async fn a_dropped_store_ends_its_watches(factory: &impl Factory) {
    let mut bench = factory.empty();
    let mut watch = bench.store.watch("", 0).await.unwrap();
    put_numbers(&*bench.store, 0..2).await;
    bench.store = factory.empty().store;
    assert_eq!(next(&mut watch).await.0, 1);
    assert_eq!(next(&mut watch).await.0, 2);
    assert!(timeout(Duration::from_secs(20), watch.next()).await.unwrap().is_none());
}

pub(super) async fn writers_in_parallel_are_seen_in_order(factory: &impl Factory) {
    let bench = factory.empty();
    let mut watch = bench.store.watch("", 0).await.unwrap();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let store = bench.store.clone();
            tokio::spawn(async move {
                for n in 0..25 {
                    store.put(&format!("w/{writer}"), format!("{n}").into_bytes()).await.unwrap();
                }
            })
        })
        .collect();
    let mut seen = [0; 16];
    for revision in 1..=400 {
        let (at, lines) = next(&mut watch).await;
        assert_eq!(at, revision);
        let (key, value) = lines[0].split_once('=').unwrap();
        let writer: usize = key.strip_prefix("w/").unwrap().parse().unwrap();
        assert_eq!(value.parse::<i32>().unwrap(), seen[writer], "writer {writer} is out of order");
        seen[writer] += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(silent(&mut watch).await);
}

pub(super) async fn many_watchers_see_the_same(factory: &impl Factory) {
    let bench = factory.empty();
    let mut watchers = Vec::new();
    for _ in 0..50 {
        let mut watch = bench.store.watch("k/", 0).await.unwrap();
        watchers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..100 {
                seen.extend(next(&mut watch).await.1);
            }
            seen
        }));
    }
    put_numbers(&*bench.store, 0..100).await;
    let expected: Vec<String> = (0..100).map(|n| format!("k/{n}={n}")).collect();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), expected);
    }
}
