//! Leases: a named claim that ends by itself. The rules are pure; an engine only keeps what they say.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Error, Store};
use crate::base::clock::Clock;

/// A name held by an owner until a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is claimed.
    pub name: String,
    /// Who claims it.
    pub owner: String,
    /// Tells this grant from every other one of the same name.
    pub token: u64,
    /// How long each grant and renewal lasts.
    pub ttl: Duration,
    /// When it ends unless renewed.
    pub expires: Timestamp,
}

impl Lease {
    /// Whether it still holds at this moment.
    pub fn lasts_at(&self, now: Timestamp) -> bool {
        now < self.expires
    }
}

/// Renews a lease three times in each of its lifetimes, and returns only when it is lost, with the reason.
///
/// An error of the disk or the network is not the end: it tries again until the store itself says that the lease is lost or
/// its time has run out.
pub async fn keep(store: &dyn Store, clock: &dyn Clock, mut lease: Lease) -> Error {
    loop {
        clock.sleep(lease.ttl / 3).await;
        match store.lease_renew(&lease).await {
            Ok(renewed) => lease = renewed,
            Err(error) if error.retry_helps() && lease.lasts_at(clock.now()) => {
                tracing::debug!(%error, name = lease.name, "the lease was not renewed; trying again");
            }
            Err(error) => return error,
        }
    }
}

/// The lease a grant makes, given the one that is there.
pub(crate) fn grant(current: Option<&Lease>, wanted: Lease, now: Timestamp) -> Result<Lease, Error> {
    match current {
        Some(held) if held.lasts_at(now) && held.owner != wanted.owner => Err(Error::LeaseHeld {
            name: wanted.name,
            wanted_by: wanted.owner,
            owner: held.owner.clone(),
            until: held.expires,
        }),
        _ => Ok(wanted),
    }
}

/// The lease a renewal makes, given the one that is there.
pub(crate) fn renew(current: Option<&Lease>, lease: &Lease, now: Timestamp) -> Result<Lease, Error> {
    match current {
        Some(held) if held.token == lease.token && held.lasts_at(now) => {
            Ok(Lease { expires: expiry(&lease.name, lease.ttl, now)?, ..lease.clone() })
        }
        _ => Err(Error::LeaseLost { name: lease.name.clone(), owner: lease.owner.clone() }),
    }
}

/// When a lease granted now ends.
pub(crate) fn expiry(name: &str, ttl: Duration, now: Timestamp) -> Result<Timestamp, Error> {
    let invalid = |reason| Error::Invalid { action: "lease", key: name.to_owned(), reason };
    if ttl < Duration::from_secs(1) {
        return Err(invalid("a lease lasts one second or more"));
    }
    let ttl = SignedDuration::try_from(ttl).map_err(|_| invalid("the time to live is too long"))?;
    now.checked_add(ttl).map_err(|_| invalid("the time to live is too long"))
}
