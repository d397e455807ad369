//! The accepted manifests in memory, kept up with the store, with who refers to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::base::Fault;
use crate::engine::overrides::OverrideRecord;
use crate::engine::records::AcceptedSet;
use crate::kinds::{KindName, Ref, Resource};
use crate::store::{Changes, Event, Listing};

/// The manifests in force at one revision of the store.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The manifests, and what else is known of them.
    pub set: AcceptedSet,
    users: BTreeMap<Ref, Vec<Ref>>,
}

impl Wanted {
    /// Reads a whole listing; an entry that cannot be read is reported and left out.
    pub fn of(listing: &Listing) -> (Self, Vec<Fault>) {
        let mut set = AcceptedSet::default();
        let faults = listing.entries.iter().filter_map(|entry| set.put(entry).err()).collect();
        (Self { users: users(&set), set }, faults)
    }

    /// The same after some changes: what changed, and what could not be read and stays as it was.
    pub fn after(&self, changes: &Changes) -> (Self, BTreeSet<Ref>, Vec<Fault>) {
        let mut set = self.set.clone();
        let (mut changed, mut faults) = (BTreeSet::new(), Vec::new());
        for event in &changes.events {
            let done = match event {
                Event::Put(entry) => set.put(entry),
                Event::Delete { key } => set.take(key),
            };
            match done {
                Ok(reference) => drop(changed.insert(reference)),
                Err(fault) => faults.push(fault),
            }
        }
        (Self { users: users(&set), set }, changed, faults)
    }

    /// The same with these records of overrides: what changed by that.
    pub fn overridden(&self, records: BTreeMap<Ref, OverrideRecord>, now: Timestamp) -> Option<(Self, BTreeSet<Ref>)> {
        let mut set = self.set.clone();
        let changed = set.overridden(records, now);
        let same = changed.is_empty() && set.overrides == self.set.overrides;
        (!same).then(|| (Self { set, users: self.users.clone() }, changed))
    }

    /// What is here and not there, or not the same there.
    pub fn differs(&self, than: &Self) -> BTreeSet<Ref> {
        let same = |r: &Resource| {
            let other = than.set.catalog.get(&r.reference());
            let overrides = |of: &Self| of.set.facts.get(&r.reference()).map(|facts| facts.overrides.clone());
            overrides(self) == overrides(than) && other.is_some_and(|o| o.spec == r.spec && o.meta == r.meta)
        };
        self.set.catalog.iter().filter(|r| !same(r)).map(|r| r.reference()).collect()
    }

    /// The manifest of a resource.
    pub fn get(&self, reference: &Ref) -> Option<&Arc<Resource>> {
        self.set.catalog.get(reference)
    }

    /// Every resource.
    pub fn all(&self) -> impl Iterator<Item = Ref> + '_ {
        self.set.catalog.iter().map(|r| r.reference())
    }

    /// The resources that name this one.
    pub fn users(&self, reference: &Ref) -> &[Ref] {
        self.users.get(reference).map(Vec::as_slice).unwrap_or_default()
    }

    /// The resource and everything it names, directly or not, each after what it names.
    pub fn closure(&self, reference: &Ref) -> Vec<Ref> {
        let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
        self.visit(reference, &mut seen, &mut order);
        order
    }

    fn visit(&self, reference: &Ref, seen: &mut BTreeSet<Ref>, order: &mut Vec<Ref>) {
        let Some(resource) = self.get(reference) else { return };
        if !seen.insert(reference.clone()) {
            return;
        }
        for needed in resource.spec.references() {
            self.visit(&needed.to, seen, order);
        }
        order.push(reference.clone());
    }

    /// What work on this resource shares with other work: its hypervisor, its storages.
    pub fn lanes(&self, reference: &Ref) -> Vec<String> {
        let kind = match reference.kind {
            KindName::Storage => format!("storage/{}", reference.name),
            other => other.short().to_owned(),
        };
        let named = self.get(reference).map(|r| r.spec.references()).unwrap_or_default();
        let storages = named.into_iter().filter(|n| n.to.kind == KindName::Storage).map(|n| n.to.to_string());
        let own = (reference.kind != KindName::Volume).then_some(kind);
        let lanes: BTreeSet<String> = own.into_iter().chain(storages).collect();
        lanes.into_iter().collect()
    }
}

fn users(set: &AcceptedSet) -> BTreeMap<Ref, Vec<Ref>> {
    let mut users: BTreeMap<Ref, Vec<Ref>> = BTreeMap::new();
    for resource in set.catalog.iter() {
        let named: BTreeSet<Ref> = resource.spec.references().into_iter().map(|n| n.to).collect();
        for named in named {
            users.entry(named).or_default().push(resource.reference());
        }
    }
    users
}
