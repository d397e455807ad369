//! Memory between guests and their host: guests that may lend some do while the host is short of it, and get it back.
//!
//! ```text
//! every ten seconds   what the host has available, what each of these guests has
//! short               each lends in proportion to what it still can
//! not short           each gets back in proportion to what it lends
//! ```
//!
//! Nothing of it is kept: what a guest lends is what its balloon holds. A guest that lends is as its manifest says.

use std::time::Duration;

use super::Agent;
use crate::base::{Fault, Size, Uid};
use crate::drivers::guest::{Power, Shared, Target};
use crate::kinds::vm::{Reconcile, RunStrategy, VmSpec};
use crate::kinds::{KindName, Ref, Spec};
use crate::plan::overrides::over;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(10);
/// Of how many parts of its memory the host uses at most how many before guests lend, as Proxmox VE does.
const USED: (u64, u64) = (4, 5);
/// The most that one guest is asked for at once, so that it can give up its caches in its own time.
const STEP: u64 = 256 << 20;
/// What is not worth moving.
const LITTLE: u64 = 16 << 20;

/// A guest that may lend memory.
#[derive(Debug, Clone)]
struct May {
    reference: Ref,
    least: Size,
    most: Size,
}

/// One of them that runs.
#[derive(Debug)]
struct Running {
    may: May,
    uuid: uuid::Uuid,
    owner: Option<Uid>,
}

/// What a guest that may lend memory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lender {
    least: u64,
    most: u64,
    now: u64,
}

impl Agent {
    /// Moves memory for as long as it is polled.
    pub async fn follow_memory(&self) -> std::convert::Infallible {
        loop {
            self.world().clock.sleep(EVERY).await;
            if let Err(fault) = self.balance_memory().await {
                tracing::debug!(%fault, "memory is left where it is");
            }
        }
    }

    /// Looks once, and moves what is to be moved.
    pub async fn balance_memory(&self) -> Result<(), Fault> {
        let lenders = self.lenders();
        let vms = &self.world().vms;
        let Some(balloons) = vms.balloons().filter(|_| !lenders.is_empty()) else { return Ok(()) };
        let all = vms.glance().await?;
        let mut known = Vec::new();
        for may in lenders {
            let running = all.get(may.reference.name.as_str()).filter(|g| g.power == Power::Running);
            let Some(uuid) = running.map(|glance| glance.uuid) else { continue };
            let owner = self.wanted().set.facts.get(&may.reference).map(|facts| facts.uid);
            known.push(Running { may, uuid, owner });
        }
        let uuids: Vec<_> = known.iter().map(|guest| guest.uuid).collect();
        let shared = balloons.shared(&uuids).await?;
        known.retain(|guest| shared.guests.contains_key(&guest.uuid));
        let lender = |Running { may, uuid, .. }: &Running| {
            let now = shared.guests.get(uuid).map_or(may.most.0, |now| now.0);
            Lender { least: may.least.0, most: may.most.0, now }
        };
        let guests: Vec<Lender> = known.iter().map(lender).collect();
        for (Running { may, uuid, owner }, size) in known.iter().zip(moves(&shared, &guests)) {
            let Some(size) = size else { continue };
            let reference = &may.reference;
            let target = Target { name: reference.name.as_str(), uuid: *uuid, owner: *owner };
            tracing::debug!(%reference, %size, "moving memory");
            // One guest that cannot must not keep the others from it.
            if let Err(fault) = balloons.lend(&target, size).await {
                tracing::debug!(%reference, %fault, "its memory is left as it is");
            }
        }
        Ok(())
    }

    /// The guests of this node that may lend memory and shall run.
    fn lenders(&self) -> Vec<May> {
        let wanted = self.wanted();
        let mut found = Vec::new();
        let catalog = over(&wanted.set.catalog, &wanted.set.facts);
        for resource in catalog.iter().filter(|r| r.kind() == KindName::VirtualMachine) {
            let Spec::VirtualMachine(spec) = &resource.spec else { continue };
            let Some((least, most)) = loan(spec) else { continue };
            let reference = resource.reference();
            let here = spec.node.as_ref().is_none_or(|node| *node == self.world().node);
            if here && super::work::policy(self, &wanted, &reference) == Reconcile::Enforce {
                found.push(May { reference, least, most });
            }
        }
        found
    }
}

/// The least and the most a guest has, when it may lend the difference.
fn loan(spec: &VmSpec) -> Option<(Size, Size)> {
    let memory = spec.memory();
    let least = memory.balloon_min.filter(|least| *least < memory.size() && memory.balloon())?;
    let left = spec.reconcile.unwrap_or(Reconcile::Enforce) != Reconcile::Enforce
        || spec.run_strategy() == RunStrategy::Halted;
    (!left).then_some((least, memory.size()))
}

/// What each guest shall have, where that is another amount than it has.
fn moves(host: &Shared, guests: &[Lender]) -> Vec<Option<Size>> {
    let used = host.total.0.saturating_sub(host.available.0);
    let most = host.total.0 / USED.1 * USED.0;
    let short = used > most;
    let amount = used.abs_diff(most);
    let can = |g: &Lender| if short { g.now.saturating_sub(g.least) } else { g.most.saturating_sub(g.now) };
    let all: u64 = guests.iter().map(can).sum();
    let share = |g: &Lender| {
        let part = u128::from(amount) * u128::from(can(g)) / u128::from(all.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX).min(can(g)).min(STEP) >> 20 << 20;
        // The last bit is given back whole, so that nobody is left without a little for ever.
        let last = !short && can(g) <= LITTLE && amount >= all;
        let part = if last { can(g) } else { part };
        let size = if short { g.now - part } else { g.now + part };
        (part > 0 && (part >= LITTLE || last)).then_some(Size(size))
    };
    guests.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn host(available: u64) -> Shared {
        Shared { total: Size(20 * GIB), available: Size(available), ..Shared::default() }
    }

    fn lender(least: u64, most: u64, now: u64) -> Lender {
        Lender { least, most, now }
    }

    #[test]
    fn a_host_that_is_short_borrows_in_proportion_and_never_below_the_least() {
        let guests = [lender(GIB, 4 * GIB, 4 * GIB), lender(GIB, 2 * GIB, 2 * GIB), lender(GIB, 2 * GIB, GIB)];
        let moved = moves(&host(4 * GIB - (200 << 20)), &guests);
        assert_eq!(moved, [Some(Size(4 * GIB - (150 << 20))), Some(Size(2 * GIB - (50 << 20))), None]);
        let much = moves(&host(0), &guests);
        assert_eq!(much, [Some(Size(4 * GIB - STEP)), Some(Size(2 * GIB - STEP)), None], "one step at a time");
    }

    #[test]
    fn a_host_with_room_gives_back_to_the_last_bit() {
        let guests = [lender(GIB, 4 * GIB, 4 * GIB), lender(GIB, 2 * GIB, 2 * GIB - (100 << 20))];
        assert_eq!(moves(&host(10 * GIB), &guests), [None, Some(Size(2 * GIB))]);
        let guests = [lender(GIB, 2 * GIB, 2 * GIB - 4096)];
        assert_eq!(moves(&host(10 * GIB), &guests), [Some(Size(2 * GIB))]);
        assert_eq!(moves(&host(4 * GIB), &guests), [None], "not while it would be short again");
    }

    #[test]
    fn on_the_edge_nothing_goes_to_and_fro() {
        let guests = [lender(GIB, 4 * GIB, 3 * GIB)];
        for near in [4 * GIB - (10 << 20), 4 * GIB, 4 * GIB + (10 << 20)] {
            assert_eq!(moves(&host(near), &guests), [None]);
        }
    }
}
