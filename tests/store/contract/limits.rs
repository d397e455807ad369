//! How large things may be, and what is said when they are larger.

use reeve::store::{Error, MAX_KEY_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES, Txn};

use super::Factory;

const MEBIBYTE: usize = 1024 * 1024;

pub(super) async fn four_mebibytes_fit(factory: &impl Factory) {
    let bench = factory.empty();
    for fill in [1, 2, 3] {
        bench.store.put("large", vec![fill; 4 * MEBIBYTE]).await.unwrap();
        assert_eq!(&*bench.store.get("large").await.unwrap().unwrap().value, vec![fill; 4 * MEBIBYTE]);
    }
}

pub(super) async fn the_largest_value_fits(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.put("large", vec![7; MAX_VALUE_BYTES]).await.unwrap();
    assert_eq!(bench.store.get("large").await.unwrap().unwrap().value.len(), MAX_VALUE_BYTES);
}

pub(super) async fn a_larger_value_is_refused(factory: &impl Factory) {
    let bench = factory.empty();
    let error = bench.store.put("large", vec![0; MAX_VALUE_BYTES + 1]).await.unwrap_err();
    let words = "cannot put \"large\": the value in bytes is 8388609, and the limit is 8388608";
    assert_eq!(error.to_string(), words);
    assert_eq!(bench.store.get("large").await.unwrap(), None);
}

pub(super) async fn a_larger_transaction_is_refused(factory: &impl Factory) {
    let bench = factory.empty();
    let parts = |size| (0..4).fold(Txn::new(), |txn, n| txn.put(&format!("{n}"), vec![0; size]));
    let error = bench.store.commit(parts(4 * MEBIBYTE)).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: "the whole transaction in bytes", .. }), "{error}");
    bench.store.commit(parts(4 * MEBIBYTE - 1)).await.unwrap();
}

pub(super) async fn too_many_operations_are_refused(factory: &impl Factory) {
    let bench = factory.empty();
    let of = |count| (0..count).fold(Txn::new(), |txn, n| txn.put(&format!("{n}"), vec![]));
    let error = bench.store.commit(of(MAX_TXN_OPS + 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot commit \"0\": the number of operations is 129, and the limit is 128");
    bench.store.commit(of(MAX_TXN_OPS)).await.unwrap();
}

pub(super) async fn a_long_key_is_refused(factory: &impl Factory) {
    let bench = factory.empty();
    let key = "k".repeat(MAX_KEY_BYTES + 1);
    for result in [bench.store.put(&key, vec![]).await, bench.store.delete(&key).await] {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::TooLarge { what: "the key in bytes", .. }), "{error}");
        assert!(error.to_string().len() < 200);
    }
}

pub(super) async fn a_bad_key_is_refused(factory: &impl Factory) {
    let bench = factory.empty();
    for key in ["", "a\0b", "a\nb", "\u{7f}"] {
        assert!(matches!(bench.store.put(key, vec![]).await, Err(Error::Invalid { .. })), "{key:?}");
        assert!(matches!(bench.store.commit(Txn::new().absent(key)).await, Err(Error::Invalid { .. })), "{key:?}");
    }
    assert_eq!(bench.store.list("").await.unwrap().revision, 0);
}
