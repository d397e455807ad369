//! Leases, by a clock that stands still.

use std::time::Duration;

use reeve::store::{Error, keep};

use super::Factory;

const TTL: Duration = Duration::from_secs(30);

pub(super) async fn a_lease_is_held_by_one(factory: &impl Factory) {
    let bench = factory.empty();
    let lease = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    assert_eq!((lease.name.as_str(), lease.owner.as_str(), lease.ttl), ("leader", "node-1", TTL));
    let error = bench.store.lease_grant("leader", "node-2", TTL).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot lease leader to node-2: node-1 holds it until 2026-01-01T00:00:30Z");
    assert!(error.retry_helps());
    assert_eq!(bench.store.lease_get("leader").await.unwrap(), Some(lease));
    bench.store.lease_grant("other", "node-2", TTL).await.unwrap();
}

pub(super) async fn a_lease_ends_by_itself(factory: &impl Factory) {
    let bench = factory.empty();
    bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    bench.clock.advance(TTL - Duration::from_millis(1));
    assert!(bench.store.lease_get("leader").await.unwrap().is_some());
    assert!(bench.store.lease_grant("leader", "node-2", TTL).await.is_err());
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.store.lease_get("leader").await.unwrap(), None);
    bench.store.lease_grant("leader", "node-2", TTL).await.unwrap();
}

pub(super) async fn a_renewed_lease_lasts(factory: &impl Factory) {
    let bench = factory.empty();
    let mut lease = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    for _ in 0..5 {
        bench.clock.advance(Duration::from_secs(20));
        let renewed = bench.store.lease_renew(&lease).await.unwrap();
        assert_eq!(renewed.token, lease.token);
        assert!(renewed.expires > lease.expires);
        lease = renewed;
    }
    assert_eq!(bench.store.lease_get("leader").await.unwrap(), Some(lease));
}

pub(super) async fn an_ended_lease_is_not_renewed(factory: &impl Factory) {
    let bench = factory.empty();
    let lease = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    bench.clock.advance(TTL);
    let error = bench.store.lease_renew(&lease).await.unwrap_err();
    assert_eq!(error.to_string(), "node-1 no longer holds the lease leader");
    assert!(!error.retry_helps());
}

pub(super) async fn a_released_lease_is_free(factory: &impl Factory) {
    let bench = factory.empty();
    let lease = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    bench.store.lease_release(&lease).await.unwrap();
    assert_eq!(bench.store.lease_get("leader").await.unwrap(), None);
    assert!(matches!(bench.store.lease_renew(&lease).await, Err(Error::LeaseLost { .. })));
    bench.store.lease_grant("leader", "node-2", TTL).await.unwrap();
    bench.store.lease_release(&lease).await.unwrap();
}

pub(super) async fn an_old_release_takes_nothing_from_the_new_holder(factory: &impl Factory) {
    let bench = factory.empty();
    let old = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    bench.clock.advance(TTL);
    let new = bench.store.lease_grant("leader", "node-2", TTL).await.unwrap();
    bench.store.lease_release(&old).await.unwrap();
    assert_eq!(bench.store.lease_get("leader").await.unwrap(), Some(new));
}

pub(super) async fn the_same_owner_takes_over(factory: &impl Factory) {
    let bench = factory.empty();
    let old = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    let new = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    assert_ne!(old.token, new.token);
    assert!(matches!(bench.store.lease_renew(&old).await, Err(Error::LeaseLost { .. })));
    bench.store.lease_renew(&new).await.unwrap();
}

pub(super) async fn a_lease_takes_no_revision(factory: &impl Factory) {
    let bench = factory.empty();
    let lease = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    bench.store.lease_renew(&lease).await.unwrap();
    let listing = bench.store.list("").await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision), (0, 0));
}

pub(super) async fn a_lease_too_short_is_refused(factory: &impl Factory) {
    let bench = factory.empty();
    for (name, ttl) in [("a", Duration::from_millis(999)), ("a", Duration::MAX), ("", TTL)] {
        let error = bench.store.lease_grant(name, "node-1", ttl).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
}

pub(super) async fn keeping_ends_when_the_lease_is_lost(factory: &impl Factory) {
    let bench = factory.empty();
    let lease = bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    let (store, clock) = (bench.store.clone(), bench.clock.clone());
    let keeper = tokio::spawn(async move { keep(&*store, &*clock, lease).await });
    // The keeper moves the clock on by sleeping: far beyond one lifetime the lease is still there.
    let start = reeve::base::clock::Clock::now(&*bench.clock);
    while reeve::base::clock::Clock::now(&*bench.clock).duration_since(start).as_secs() < 300 {
        tokio::task::yield_now().await;
    }
    bench.store.lease_grant("leader", "node-1", TTL).await.unwrap();
    assert!(matches!(keeper.await.unwrap(), Error::LeaseLost { .. }));
}

pub(super) async fn of_many_one_gets_it(factory: &impl Factory) {
    let bench = factory.empty();
    let askers: Vec<_> = (0..100)
        .map(|n| {
            let store = bench.store.clone();
            tokio::spawn(async move { store.lease_grant("leader", &format!("node-{n}"), TTL).await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for asker in askers {
        winners += u32::from(asker.await.unwrap());
    }
    assert_eq!(winners, 1);
}
