//! Several keys at once.

use reeve::store::{Error, Expect, Txn};

use super::Factory;
use crate::store::{keys, text};

pub(super) async fn a_transaction_has_one_revision(factory: &impl Factory) {
    let bench = factory.empty();
    let txn = Txn::new().put("a", b"1".to_vec()).put("b", b"2".to_vec()).put("c", b"3".to_vec());
    let revision = bench.store.commit(txn).await.unwrap();
    let listing = bench.store.list("").await.unwrap();
    assert_eq!((keys(&listing), listing.revision), (vec!["a", "b", "c"], revision));
    assert!(listing.entries.iter().all(|entry| entry.modified == revision));
}

pub(super) async fn a_failed_check_does_nothing_at_all(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("kept", b"1".to_vec()).await.unwrap();
    let before = bench.store.list("").await.unwrap();
    let txn = Txn::new().absent("kept").put("a", b"1".to_vec()).delete("kept").put("b", b"2".to_vec());
    let error = bench.store.commit(txn).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { key, .. } if key == "kept"));
    assert_eq!(bench.store.list("").await.unwrap(), before);
}

pub(super) async fn every_check_must_hold(factory: &impl Factory) {
    let bench = factory.empty();
    let a = bench.store.put("a", b"1".to_vec()).await.unwrap();
    let b = bench.store.put("b", b"1".to_vec()).await.unwrap();
    let txn = |a, b| Txn::new().at("a", a).at("b", b).absent("c").put("c", b"1".to_vec());
    for (a, b, named) in [(a, b + 1, "b"), (a + 1, b, "a")] {
        let error = bench.store.commit(txn(a, b)).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { key, .. } if key == named));
    }
    bench.store.commit(txn(a, b)).await.unwrap();
    let error = bench.store.commit(txn(a, b)).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { key, .. } if key == "c"));
}

pub(super) async fn a_check_may_be_on_a_key_that_is_not_changed(factory: &impl Factory) {
    let bench = factory.empty();
    let guard = bench.store.put("permits/vm/a", b"node-1".to_vec()).await.unwrap();
    bench.store.commit(Txn::new().at("permits/vm/a", guard).put("status/vm/a", b"on".to_vec())).await.unwrap();
    bench.store.put("permits/vm/a", b"node-2".to_vec()).await.unwrap();
    let late = Txn::new().at("permits/vm/a", guard).put("status/vm/a", b"off".to_vec());
    assert!(matches!(bench.store.commit(late).await, Err(Error::Conflict { .. })));
    assert_eq!(text(&bench.store.get("status/vm/a").await.unwrap().unwrap()), "on");
}

pub(super) async fn a_transaction_moves_an_entry(factory: &impl Factory) {
    let bench = factory.empty();
    let from = bench.store.put("from", b"1".to_vec()).await.unwrap();
    let txn = Txn::new().at("from", from).absent("to").delete("from").put("to", b"1".to_vec());
    bench.store.commit(txn.clone()).await.unwrap();
    assert_eq!(keys(&bench.store.list("").await.unwrap()), ["to"]);
    assert!(matches!(bench.store.commit(txn).await, Err(Error::Conflict { found: Expect::Absent, .. })));
}

pub(super) async fn checks_alone_change_nothing(factory: &impl Factory) {
    let bench = factory.empty();
    let revision = bench.store.put("a", b"1".to_vec()).await.unwrap();
    assert_eq!(bench.store.commit(Txn::new().at("a", revision).absent("b")).await.unwrap(), revision);
    assert!(bench.store.commit(Txn::new().absent("a")).await.is_err());
    assert_eq!(bench.store.list("").await.unwrap().revision, revision);
}

pub(super) async fn an_empty_transaction_changes_nothing(factory: &impl Factory) {
    let bench = factory.empty();
    assert_eq!(bench.store.commit(Txn::new()).await.unwrap(), 0);
}

pub(super) async fn only_real_deletes_count(factory: &impl Factory) {
    let bench = factory.empty();
    let first = bench.store.put("a", b"1".to_vec()).await.unwrap();
    let second = bench.store.commit(Txn::new().delete("a").delete("b")).await.unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(bench.store.commit(Txn::new().delete("a").delete("b")).await.unwrap(), second);
}

pub(super) async fn a_key_is_not_changed_twice(factory: &impl Factory) {
    let bench = factory.empty();
    for txn in [Txn::new().put("a", b"1".to_vec()).put("a", b"2".to_vec()), Txn::new().put("a", vec![]).delete("a")] {
        let error = bench.store.commit(txn).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot change \"a\": the transaction changes it twice");
    }
    assert_eq!(bench.store.list("").await.unwrap().revision, 0);
}

pub(super) async fn a_failed_transaction_takes_no_revision(factory: &impl Factory) {
    let bench = factory.empty();
    let first = bench.store.put("a", b"1".to_vec()).await.unwrap();
    bench.store.commit(Txn::new().absent("a").put("b", b"1".to_vec())).await.unwrap_err();
    assert_eq!(bench.store.put("c", b"1".to_vec()).await.unwrap(), first + 1);
}
