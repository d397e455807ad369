//! One key at a time.

use reeve::store::{Error, Expect, MAX_KEY_BYTES};

use super::Factory;
use crate::store::text;

pub(super) async fn a_new_store_is_empty(factory: &impl Factory) {
    let bench = factory.empty();
    assert_eq!(bench.store.get("a").await.unwrap(), None);
    let listing = bench.store.list("").await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision), (0, 0));
}

pub(super) async fn a_put_can_be_read(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("a/b", b"one".to_vec()).await.unwrap();
    let entry = bench.store.get("a/b").await.unwrap().unwrap();
    assert_eq!((&*entry.key, text(&entry)), ("a/b", "one"));
    assert_eq!(bench.store.get("a").await.unwrap(), None);
    assert_eq!(bench.store.get("a/b/").await.unwrap(), None);
}

pub(super) async fn a_put_says_created_modified_and_version(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("other", b"".to_vec()).await.unwrap();
    let revision = bench.store.put("a", b"one".to_vec()).await.unwrap();
    let entry = bench.store.get("a").await.unwrap().unwrap();
    assert_eq!((entry.created, entry.modified, entry.version), (revision, revision, 1));
}

pub(super) async fn a_second_put_keeps_created(factory: &impl Factory) {
    let bench = factory.empty();
    let first = bench.store.put("a", b"one".to_vec()).await.unwrap();
    bench.store.put("b", b"x".to_vec()).await.unwrap();
    let second = bench.store.put("a", b"two".to_vec()).await.unwrap();
    assert!(second > first);
    let entry = bench.store.get("a").await.unwrap().unwrap();
    assert_eq!((text(&entry), entry.created, entry.modified, entry.version), ("two", first, second, 2));
}

pub(super) async fn a_deleted_entry_is_gone(factory: &impl Factory) {
    let bench = factory.empty();
    let put = bench.store.put("a", b"one".to_vec()).await.unwrap();
    let delete = bench.store.delete("a").await.unwrap();
    assert_eq!(delete, put + 1);
    assert_eq!(bench.store.get("a").await.unwrap(), None);
    assert!(bench.store.list("").await.unwrap().entries.is_empty());
}

pub(super) async fn a_key_made_again_starts_anew(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("a", b"one".to_vec()).await.unwrap();
    bench.store.put("a", b"two".to_vec()).await.unwrap();
    bench.store.delete("a").await.unwrap();
    let revision = bench.store.put("a", b"three".to_vec()).await.unwrap();
    let entry = bench.store.get("a").await.unwrap().unwrap();
    assert_eq!((entry.created, entry.modified, entry.version), (revision, revision, 1));
}

pub(super) async fn deleting_nothing_changes_nothing(factory: &impl Factory) {
    let bench = factory.empty();
    let put = bench.store.put("a", b"one".to_vec()).await.unwrap();
    assert_eq!(bench.store.delete("b").await.unwrap(), put);
    assert_eq!(bench.store.list("").await.unwrap().revision, put);
}

pub(super) async fn the_same_value_again_is_a_change(factory: &impl Factory) {
    let bench = factory.empty();
    let first = bench.store.put("a", b"one".to_vec()).await.unwrap();
    let second = bench.store.put("a", b"one".to_vec()).await.unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(bench.store.get("a").await.unwrap().unwrap().version, 2);
}

pub(super) async fn an_empty_value_is_a_value(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("a", Vec::new()).await.unwrap();
    assert!(bench.store.get("a").await.unwrap().unwrap().value.is_empty());
}

pub(super) async fn values_are_any_bytes(factory: &impl Factory) {
    let bench = factory.empty();
    let value: Vec<u8> = (0..=255).chain(*b"\0RVfr\xff\xfe").collect();
    bench.store.put("a", value.clone()).await.unwrap();
    assert_eq!(&*bench.store.get("a").await.unwrap().unwrap().value, value.as_slice());
}

pub(super) async fn keys_are_any_text(factory: &impl Factory) {
    let bench = factory.empty();
    let long = "x".repeat(MAX_KEY_BYTES);
    for key in ["/", "//", "a b", "ä/日本", "a%2F", "..", "\u{10FFFF}", &long] {
        bench.store.put(key, key.as_bytes().to_vec()).await.unwrap();
        let entry = bench.store.get(key).await.unwrap().unwrap();
        assert_eq!((&*entry.key, text(&entry)), (key, key));
    }
    assert_eq!(bench.store.list("").await.unwrap().entries.len(), 8);
}

pub(super) async fn put_if_absent_makes_only_once(factory: &impl Factory) {
    let bench = factory.empty();
    let made = bench.store.put_if("a", b"one".to_vec(), Expect::Absent).await.unwrap();
    let error = bench.store.put_if("a", b"two".to_vec(), Expect::Absent).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { key, expected: Expect::Absent, found: Expect::At(at) }
        if key == "a" && *at == made));
    assert_eq!(text(&bench.store.get("a").await.unwrap().unwrap()), "one");
    bench.store.delete("a").await.unwrap();
    bench.store.put_if("a", b"three".to_vec(), Expect::Absent).await.unwrap();
}

pub(super) async fn put_if_at_needs_the_exact_revision(factory: &impl Factory) {
    let bench = factory.empty();
    let first = bench.store.put("a", b"one".to_vec()).await.unwrap();
    let second = bench.store.put_if("a", b"two".to_vec(), Expect::At(first)).await.unwrap();
    for stale in [0, first, second + 1, u64::MAX] {
        let error = bench.store.put_if("a", b"three".to_vec(), Expect::At(stale)).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { found: Expect::At(at), .. } if at == second));
    }
    bench.store.put("b", b"x".to_vec()).await.unwrap();
    bench.store.put_if("a", b"three".to_vec(), Expect::At(second)).await.unwrap();
}

pub(super) async fn put_if_at_refuses_an_absent_key(factory: &impl Factory) {
    let bench = factory.empty();
    let error = bench.store.put_if("a", b"one".to_vec(), Expect::At(1)).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { found: Expect::Absent, .. }));
    assert_eq!(bench.store.get("a").await.unwrap(), None);
}

pub(super) async fn delete_if_needs_the_exact_revision(factory: &impl Factory) {
    let bench = factory.empty();
    let first = bench.store.put("a", b"one".to_vec()).await.unwrap();
    let second = bench.store.put("a", b"two".to_vec()).await.unwrap();
    let error = bench.store.delete_if("a", first).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { expected: Expect::At(_), found: Expect::At(at), .. } if at == second));
    assert!(bench.store.get("a").await.unwrap().is_some());
    bench.store.delete_if("a", second).await.unwrap();
    assert_eq!(bench.store.get("a").await.unwrap(), None);
}

pub(super) async fn delete_if_refuses_an_absent_key(factory: &impl Factory) {
    let bench = factory.empty();
    let error = bench.store.delete_if("a", 1).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { found: Expect::Absent, .. }));
}

pub(super) async fn a_conflict_says_what_and_how(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("manifests/vm/a", b"one".to_vec()).await.unwrap();
    let error = bench.store.put_if("manifests/vm/a", b"two".to_vec(), Expect::Absent).await.unwrap_err();
    let words = "manifests/vm/a has changed: the transaction expects it absent, and it is at revision 1";
    assert_eq!(error.to_string(), words);
    assert!(!error.retry_helps());
}
