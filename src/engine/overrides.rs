//! Overrides in the store: set, listed, taken back, and cleared when their time is over.
//!
//! Each resource has one record with all of its overrides. It belongs to the resource's UID, so that another resource
//! that gets the name later has none of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::records::{AcceptedSet, Ledger, reference_of, written};
use crate::base::{Diagnostics, Disruption, Fault, FaultKind};
use crate::kinds::{Ref, Resource};
use crate::manifest;
use crate::plan::desired::Desired;
use crate::plan::diff::diff;
use crate::plan::live::{Known, LiveState};
use crate::plan::overrides::{Override, Overrides, lay, set};
use crate::store::records::Record;
use crate::store::{Entry, Expect, Txn, keys};

/// The longest time for which a field may be overridden.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// What the store keeps of a resource's overrides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideRecord {
    /// The version of the record's shape.
    pub v: u32,
    /// The resource they are of, and no other of its name.
    pub uid: Uuid,
    /// By field below `spec`.
    pub fields: Overrides,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Record for OverrideRecord {}

impl OverrideRecord {
    /// Those whose time is not over.
    pub fn at(&self, now: Timestamp) -> Overrides {
        self.fields.iter().filter(|(_, one)| one.until > now).map(|(field, one)| (field.clone(), one.clone())).collect()
    }
}

/// What a person asks to be overridden.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The resource.
    pub resource: Ref,
    /// The field, `spec.memory.size` or `memory.size`.
    pub field: String,
    /// What it shall be.
    pub value: Value,
    /// For how long.
    pub ttl: Duration,
    /// Why.
    pub reason: String,
}

/// An override that was set, and what the manifest says there.
#[derive(Debug, Clone)]
pub struct Done {
    /// The field below `spec`.
    pub field: String,
    /// What it is now.
    pub set: Override,
    /// What the manifest says.
    pub manifest: Value,
}

/// A field's name below `spec`.
pub fn below_spec(field: &str) -> &str {
    field.strip_prefix("spec.").unwrap_or(field)
}

impl AcceptedSet {
    /// Takes in the records of overrides, those that are not over; gives the resources for which something changed.
    pub fn overridden(&mut self, records: BTreeMap<Ref, OverrideRecord>, now: Timestamp) -> BTreeSet<Ref> {
        self.overrides = records;
        let mut changed = BTreeSet::new();
        for (reference, facts) in &mut self.facts {
            let record = self.overrides.get(reference).filter(|record| record.uid == facts.uid.uuid());
            let overrides = record.map(|record| record.at(now)).unwrap_or_default();
            if facts.overrides != overrides {
                facts.overrides = overrides;
                changed.insert(reference.clone());
            }
        }
        changed
    }

    /// When the next override is over.
    pub fn next_over(&self) -> Option<Timestamp> {
        self.facts.values().flat_map(|facts| facts.overrides.values()).map(|one| one.until).min()
    }
}

/// The records that are in a listing; one that cannot be read is told and passed over.
pub fn records(entries: &[Entry]) -> BTreeMap<Ref, OverrideRecord> {
    let read = |entry: &Entry| match (reference_of(&entry.key), OverrideRecord::read(entry)) {
        (Ok(reference), Ok(record)) => Some((reference, record)),
        (Err(fault), _) => {
            tracing::error!(%fault, "an override is passed over");
            None
        }
        (_, Err(error)) => {
            tracing::error!(key = %entry.key, %error, "an override is passed over");
            None
        }
    };
    entries.iter().filter_map(read).collect()
}

impl Ledger {
    /// Overrides a field for a while, once it is certain that the result is a valid manifest and can be taken back.
    pub async fn set_override(&self, wish: &Wish, live: &LiveState, who: &str) -> Result<Done, Fault> {
        let accepted = self.accepted().await?;
        let field = below_spec(&wish.field).to_owned();
        let resource = accepted.catalog.get(&wish.resource).ok_or_else(|| {
            Fault::new(FaultKind::NotFound, format!("{} has no accepted manifest", wish.resource))
                .help("only what a manifest says can be overridden; `reeve get` lists what there is")
        })?;
        if wish.ttl > LONGEST {
            let days = LONGEST.as_secs() / 86_400;
            return Err(refuse(wish, &format!("an override lasts at most {days} days"))
                .help("change the manifest when it shall last longer"));
        }
        let overrides = accepted.facts.get(&wish.resource).map(|facts| facts.overrides.clone()).unwrap_or_default();
        check(wish, &field, resource, &overrides, &accepted, live)?;
        let since = self.now();
        let until = since.checked_add(wish.ttl).map_err(|e| refuse(wish, &e.to_string()))?;
        let set =
            Override { value: wish.value.clone(), since, until, who: who.to_owned(), reason: wish.reason.clone() };
        let manifest = resource.spec.to_value();
        let manifest = field.split('.').try_fold(&manifest, |value, key| value.get(key)).cloned().unwrap_or_default();
        self.change_overrides(&wish.resource, &accepted, |fields| drop(fields.insert(field.clone(), set.clone())))
            .await?;
        let what = format!("overrides spec.{field} with {} until {}", set.value, crate::plan::overrides::when(until));
        self.event(&wish.resource, who, &what, &wish.reason, None).await?;
        Ok(Done { field, set, manifest })
    }

    /// Takes overrides of a resource back, all when none is named; gives the fields.
    pub async fn clear_overrides(&self, resource: &Ref, fields: &[String], who: &str) -> Result<Vec<String>, Fault> {
        let accepted = self.accepted().await?;
        let there = accepted.facts.get(resource).map(|facts| facts.overrides.clone()).unwrap_or_default();
        let named: Vec<&str> = fields.iter().map(|field| below_spec(field)).collect();
        let help = "`reeve override list` lists what is overridden";
        if let Some(missing) = named.iter().find(|field| !there.contains_key(**field)) {
            let message = format!("spec.{missing} of {resource} is not overridden");
            return Err(Fault::new(FaultKind::NotFound, message).help(help));
        }
        let gone: Vec<String> =
            there.keys().filter(|field| named.is_empty() || named.contains(&field.as_str())).cloned().collect();
        if gone.is_empty() {
            return Err(Fault::new(FaultKind::NotFound, format!("nothing of {resource} is overridden")).help(help));
        }
        self.change_overrides(resource, &accepted, |fields| fields.retain(|field, _| !gone.contains(field))).await?;
        for field in &gone {
            let what = format!("no longer overrides spec.{field}");
            self.event(resource, who, &what, "a person asked for it", None).await?;
        }
        Ok(gone)
    }

    /// Takes out what is over; gives the fields of each resource.
    pub async fn end_overrides(&self, who: &str) -> Result<BTreeMap<Ref, Vec<String>>, Fault> {
        let (accepted, now) = (self.accepted().await?, self.now());
        let mut ended = BTreeMap::new();
        for (reference, record) in &accepted.overrides {
            let over = record.fields.iter().filter(|(_, one)| one.until <= now).map(|(field, _)| field.clone());
            let over: Vec<String> = over.collect();
            if over.is_empty() {
                continue;
            }
            self.change_overrides(reference, &accepted, |_| ()).await?;
            for field in &over {
                let what = format!("no longer overrides spec.{field}");
                self.event(reference, who, &what, "its time is over", None).await?;
            }
            ended.insert(reference.clone(), over);
        }
        Ok(ended)
    }

    /// Changes a resource's record; what is over, or was of another resource, goes with it.
    async fn change_overrides(
        &self,
        resource: &Ref,
        accepted: &AcceptedSet,
        change: impl FnOnce(&mut Overrides),
    ) -> Result<(), Fault> {
        let key = keys::overrides_of(resource.kind.short(), resource.name.as_str());
        let entry = self.store().get(&key).await?;
        let uid = accepted.facts.get(resource).map(|facts| facts.uid.uuid()).unwrap_or_default();
        let old = entry.as_ref().and_then(|entry| OverrideRecord::read(entry).ok()).filter(|old| old.uid == uid);
        let mut record = old.unwrap_or(OverrideRecord { v: 1, uid, fields: Overrides::new(), extra: Map::new() });
        record.fields = record.at(self.now());
        change(&mut record.fields);
        let expected = entry.map_or(Expect::Absent, |entry| Expect::At(entry.modified));
        let txn = Txn::new().expect(&key, expected);
        let txn = if record.fields.is_empty() { txn.delete(&key) } else { txn.put(&key, written(&record)?) };
        self.store().commit(txn).await?;
        Ok(())
    }
}

/// Refuses what would be no valid manifest, what names other resources, and what could not be taken back.
fn check(
    wish: &Wish,
    field: &str,
    resource: &Arc<Resource>,
    overrides: &Overrides,
    accepted: &AcceptedSet,
    live: &LiveState,
) -> Result<(), Fault> {
    let shape = resource.kind().shape();
    let mut spec = lay(resource, overrides).spec.to_value();
    set(&mut spec, shape, field, &wish.value).map_err(|why| refuse(wish, &why))?;
    let mut document = resource.document();
    document["spec"] = spec;
    let loaded = manifest::load_str("<override>", &document.to_string());
    let mut found = loaded.diagnostics.clone();
    if !found.has_errors() {
        found.extend(Desired::build(&loaded, &accepted.catalog).1.0);
    }
    if found.has_errors() {
        return Err(invalid(wish, &found));
    }
    let Some(laid) = loaded.resources.first() else { return Err(refuse(wish, "it is no manifest")) };
    let cost = shape.find(field).map(|(_, cost)| cost).unwrap_or_default();
    if laid.spec.references() != resource.spec.references() || cost >= Disruption::Migrate {
        return Err(
            refuse(wish, "it would tie the resource to others than its manifest names").help("change the manifest")
        );
    }
    if let Known::Present(there) = live.get(&wish.resource) {
        let back = diff(&resource.spec.to_value(), &laid.spec.to_value(), None, shape);
        if let Some(why) = there.refuse(&back) {
            return Err(
                refuse(wish, &format!("it could not be taken back: {}", why.message)).help("change the manifest")
            );
        }
    }
    Ok(())
}

fn refuse(wish: &Wish, why: &str) -> Fault {
    let Wish { resource, field, value, .. } = wish;
    let field = below_spec(field);
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Fault::new(FaultKind::Invalid, format!("spec.{field} of {resource} cannot be overridden with {value}: {why}"))
}

/// The first error, and how many there are besides.
fn invalid(wish: &Wish, found: &Diagnostics) -> Fault {
    let mut errors = found.0.iter().filter(|d| d.is_error());
    let Some(first) = errors.next() else { return refuse(wish, "the result is no valid manifest") };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let fault = refuse(wish, &format!("{}{more}", first.message));
    match &first.help {
        Some(help) => fault.help(help),
        None => fault,
    }
}
