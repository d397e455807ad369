//! Prefixes and their edges.

use reeve::store::{Store, Txn};

use super::{Bench, Factory};
use crate::store::keys;

async fn filled(factory: &impl Factory, wanted: &[&str]) -> Bench {
    let bench = factory.empty();
    for key in wanted {
        bench.store.put(key, key.as_bytes().to_vec()).await.unwrap();
    }
    bench
}

async fn found(store: &dyn Store, prefix: &str) -> Vec<String> {
    keys(&store.list(prefix).await.unwrap()).into_iter().map(str::to_owned).collect()
}

pub(super) async fn a_list_is_in_key_order(factory: &impl Factory) {
    let bench = filled(factory, &["b", "a/10", "a/9", "a", "ä", "a/", "A", "a0", "a."]).await;
    assert_eq!(found(&*bench.store, "").await, ["A", "a", "a.", "a/", "a/10", "a/9", "a0", "b", "ä"]);
}

pub(super) async fn a_prefix_is_bytes(factory: &impl Factory) {
    let bench = filled(factory, &["a/b", "a/bc", "a/b/c", "a/c", "a"]).await;
    assert_eq!(found(&*bench.store, "a/b").await, ["a/b", "a/b/c", "a/bc"]);
}

pub(super) async fn a_trailing_slash_leaves_neighbours_out(factory: &impl Factory) {
    let bench = filled(factory, &["a/b", "a/bc", "a/bc/d", "a/b/c", "a/b/", "a/b0"]).await;
    assert_eq!(found(&*bench.store, "a/b/").await, ["a/b/", "a/b/c"]);
}

pub(super) async fn the_empty_prefix_finds_all(factory: &impl Factory) {
    let bench = filled(factory, &["a", "b/c", "\u{10FFFF}"]).await;
    assert_eq!(found(&*bench.store, "").await.len(), 3);
}

pub(super) async fn a_prefix_may_be_a_whole_key(factory: &impl Factory) {
    let bench = filled(factory, &["a", "b"]).await;
    assert_eq!(found(&*bench.store, "a").await, ["a"]);
}

pub(super) async fn a_prefix_that_finds_nothing_has_a_revision(factory: &impl Factory) {
    let bench = filled(factory, &["a", "b"]).await;
    for prefix in ["c", "a/", "0", "aa"] {
        let listing = bench.store.list(prefix).await.unwrap();
        assert_eq!((listing.entries.len(), listing.revision), (0, 2), "{prefix}");
    }
}

pub(super) async fn a_prefix_of_the_last_characters(factory: &impl Factory) {
    let bench = filled(factory, &["a", "\u{10FFFF}", "\u{10FFFF}\u{10FFFF}", "\u{10FFFE}"]).await;
    assert_eq!(found(&*bench.store, "\u{10FFFF}").await, ["\u{10FFFF}", "\u{10FFFF}\u{10FFFF}"]);
}

pub(super) async fn a_list_is_of_one_moment(factory: &impl Factory) {
    let bench = factory.empty();
    let store = bench.store.clone();
    let writer = tokio::spawn(async move {
        for n in 0..200 {
            let value = format!("{n}").into_bytes();
            let txn = (0..8).fold(Txn::new(), |txn, key| txn.put(&format!("k/{key}"), value.clone()));
            store.commit(txn).await.unwrap();
        }
    });
    while !writer.is_finished() {
        let listing = bench.store.list("k/").await.unwrap();
        assert!(matches!(listing.entries.len(), 0 | 8));
        assert!(listing.entries.iter().all(|entry| entry.modified == listing.revision), "{listing:?}");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
