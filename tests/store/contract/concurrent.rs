//! Many at once.

use std::collections::BTreeSet;

use reeve::store::{Error, Expect, Store, Txn};

use super::Factory;
use crate::store::text;

pub(super) async fn a_thousand_writers(factory: &impl Factory) {
    let bench = factory.empty();
    let writers: Vec<_> = (0..1000)
        .map(|n| {
            let store = bench.store.clone();
            tokio::spawn(async move { store.put(&format!("w/{n}"), format!("{n}").into_bytes()).await.unwrap() })
        })
        .collect();
    let mut revisions = BTreeSet::new();
    for writer in writers {
        revisions.insert(writer.await.unwrap());
    }
    assert_eq!(revisions, (1..=1000).collect());
    let listing = bench.store.list("w/").await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision), (1000, 1000));
    assert!(listing.entries.iter().all(|entry| entry.key.strip_prefix("w/") == Some(text(entry))));
}

/// Adds one to a counter, again and again until nobody came between.
async fn increment(store: &dyn Store) {
    loop {
        let current = store.get("counter").await.unwrap().unwrap();
        let more = (text(&current).parse::<u32>().unwrap() + 1).to_string().into_bytes();
        match store.put_if("counter", more, Expect::At(current.modified)).await {
            Ok(_) => return,
            Err(Error::Conflict { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) async fn a_thousand_increments(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("counter", b"0".to_vec()).await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|_| {
            let store = bench.store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    increment(&*store).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let counter = bench.store.get("counter").await.unwrap().unwrap();
    assert_eq!((text(&counter), counter.version), ("1000", 1001));
}

pub(super) async fn one_of_many_wins(factory: &impl Factory) {
    let bench = factory.empty();
    let writers: Vec<_> = (0..200)
        .map(|n| {
            let store = bench.store.clone();
            tokio::spawn(async move {
                store.put_if("seat", format!("{n}").into_bytes(), Expect::Absent).await.is_ok().then_some(n)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        winners.extend(writer.await.unwrap());
    }
    let seat = bench.store.get("seat").await.unwrap().unwrap();
    assert_eq!((text(&seat), seat.version), (winners[0].to_string().as_str(), 1));
    assert_eq!(winners.len(), 1);
}

pub(super) async fn readers_see_whole_transactions(factory: &impl Factory) {
    let bench = factory.empty();
    let store = bench.store.clone();
    let writer = tokio::spawn(async move {
        for n in 0..200_u32 {
            let (put, gone) = if n % 2 == 0 { ("even", "odd") } else { ("odd", "even") };
            store.commit(Txn::new().put(put, vec![]).delete(gone)).await.unwrap();
        }
    });
    while !writer.is_finished() {
        let listing = bench.store.list("").await.unwrap();
        assert_eq!(listing.entries.len(), usize::from(listing.revision > 0));
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}
