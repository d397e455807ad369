//! What was last seen of each kind: one listing serves every resource that may be answered with it.
//!
//! A resource that was asked for at some moment needs a look that began after it. A thousand resources asked for
//! together share one listing; while one listing is under way, whoever needs a newer one waits for its end and makes
//! the next. What was changed is noted by resource, so that a thousand changes make no look at all others worthless. One
//! that the hypervisor told of, or that was just changed, is looked at alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as Gate;

use super::queue::Moment;
use crate::base::Name;
use crate::engine::observe::{observe_kinds, observe_one};
use crate::kinds::{Catalog, KindName, Live, Observed, Ref, World};
use crate::plan::live::LiveState;

/// One listing of a kind.
#[derive(Debug)]
pub struct Look {
    /// When it began: what happened before that is in it.
    pub began: Moment,
    /// What was found, or why nothing is known.
    pub found: Result<BTreeMap<Name, Observed<Live>>, String>,
}

impl Look {
    /// What it says of one resource, put into a state.
    pub fn tell(&self, reference: &Ref, state: &mut LiveState) {
        match &self.found {
            Ok(found) => {
                if let Some(seen) = found.get(&reference.name) {
                    state.resources.insert(reference.clone(), seen.clone());
                }
            }
            Err(why) => drop(state.unreadable.insert(reference.kind, why.clone())),
        }
    }
}

#[derive(Default)]
struct Slot {
    last: Mutex<Option<Arc<Look>>>,
    touched: Mutex<Touched>,
    gate: Gate<()>,
}

impl Slot {
    fn touched(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latest moments at which something of a kind was changed.
#[derive(Debug, Default)]
struct Touched {
    /// Anything of it.
    all: Moment,
    /// This one.
    of: BTreeMap<Name, Moment>,
}

impl Touched {
    /// The latest of these.
    fn latest<'a>(&self, names: impl Iterator<Item = &'a Name>) -> Moment {
        names.filter_map(|name| self.of.get(name)).copied().fold(self.all, Moment::max)
    }

    /// Forgets what is in a look that began then.
    fn seen(&mut self, began: Moment) {
        self.of.retain(|_, at| *at >= began);
    }
}

/// The last look at each kind.
pub struct Looks {
    slots: BTreeMap<KindName, Slot>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { slots: KindName::ALL.iter().map(|kind| (*kind, Slot::default())).collect() }
    }
}

impl Looks {
    /// Says that a resource was changed, so that an older look no longer serves for it.
    pub fn touch(&self, reference: &Ref, now: Moment) {
        if let Some(slot) = self.slots.get(&reference.kind) {
            let mut touched = slot.touched();
            let at = touched.of.entry(reference.name.clone()).or_default();
            *at = (*at).max(now);
        }
    }

    /// Says that anything may have been changed.
    pub fn touch_all(&self, now: Moment) {
        for slot in self.slots.values() {
            let mut touched = slot.touched();
            touched.all = touched.all.max(now);
        }
    }

    /// One resource alone, looked at now, unless its kind has to be looked at anyway.
    pub async fn alone(&self, reference: &Ref, world: &World, catalog: &Catalog) -> Option<Observed<Live>> {
        let slot = self.slots.get(&reference.kind)?;
        let touched = slot.touched().all;
        let last = slot.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.filter(|look| look.found.is_ok() && look.began > touched)?;
        observe_one(world, catalog, reference).await
    }

    /// A look at a kind that began after `since` and after any of these were last touched; and whether the kind
    /// could not be read before and now can.
    pub async fn after<'a>(
        &self,
        kind: KindName,
        names: impl Iterator<Item = &'a Name>,
        since: Moment,
        world: &World,
        catalog: &Catalog,
    ) -> Option<(Arc<Look>, bool)> {
        let slot = self.slots.get(&kind)?;
        let since = since.max(slot.touched().latest(names));
        let last = || slot.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let serves = |look: &Option<Arc<Look>>| look.clone().filter(|look| look.began > since);
        if let Some(look) = serves(&last()) {
            return Some((look, false));
        }
        let _one_at_a_time = slot.gate.lock().await;
        let before = last();
        if let Some(look) = serves(&before) {
            return Some((look, false));
        }
        let began = world.clock.elapsed();
        let mut state = observe_kinds(world, catalog, &[kind]).await;
        let found = match state.unreadable.remove(&kind) {
            Some(why) => Err(why),
            None => Ok(state.resources.into_iter().map(|(reference, seen)| (reference.name, seen)).collect()),
        };
        let again = found.is_ok() && before.is_some_and(|look| look.found.is_err());
        let look = Arc::new(Look { began, found });
        slot.touched().seen(began);
        *slot.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(look.clone());
        Some((look, again))
    }
}
