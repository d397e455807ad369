//! What the engine keeps in the store, in its own words: what was accepted, what is being deleted, what happened.
//!
//! A delete is begun by a tombstone that says `deleting`, in the same transaction that takes the manifest out; when
//! all is gone the tombstone is closed. A tombstone that still says `deleting` after a crash is a delete to finish.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::overrides::{self, OverrideRecord};
use super::sources::Suspension;
use crate::base::{Clock, Fault, FaultKind, Name, Uid};
use crate::kinds::{Catalog, KindName, Metadata, Places, Ref, Resource};
use crate::plan::live::{Accepted, LiveState};
use crate::store::records::{JournalRecord, ManifestRecord, Record, Tombstone};
use crate::store::{Entry, Error, Op, Store, Txn, keys};

/// Where a manifest's record keeps the commit that last changed it.
const COMMIT: &str = "commit";
/// The most operations put into one transaction.
const BATCH: usize = 100;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Conflict { .. } | Error::Locked { .. } | Error::LeaseHeld { .. } => FaultKind::Busy,
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => FaultKind::NoSpace,
            _ => FaultKind::Other,
        };
        let mut message = error.to_string();
        if let Error::Io { source, .. } = &error {
            message = format!("{message}: {source}");
        }
        Self::new(kind, message)
    }
}

/// A resource to accept, and where it came from.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The manifest.
    pub resource: Arc<Resource>,
    /// The source it belongs to, for pruning.
    pub source: Option<String>,
    /// The UID it has already, when what it names exists and is ours.
    pub uid: Option<Uid>,
    /// The commit it is from, when it is from a repository.
    pub commit: Option<String>,
}

impl Acceptance {
    /// A manifest of no source.
    pub fn new(resource: &Arc<Resource>) -> Self {
        Self { resource: Arc::clone(resource), source: None, uid: None, commit: None }
    }

    /// The manifests in `order`, each with the identity it has where it runs already, and with the source that is told of it.
    pub fn all(
        order: &[Ref],
        catalog: &Catalog,
        live: &LiveState,
        source: impl Fn(&Resource) -> Option<String>,
    ) -> Vec<Self> {
        let uid = |reference: &Ref| live.present(reference).and_then(|l| l.have().mark).map(|mark| mark.uid);
        let one = |resource: &Arc<Resource>| Self {
            source: source(resource),
            uid: uid(&resource.reference()),
            ..Self::new(resource)
        };
        order.iter().filter_map(|reference| catalog.get(reference)).map(one).collect()
    }
}

/// The engine's records.
#[derive(Clone)]
pub struct Ledger {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    /// What is to be written with the next intent, or when the run settles.
    later: Arc<Mutex<Vec<Op>>>,
}

/// Everything accepted, as it stands in the store.
#[derive(Debug, Clone, Default)]
pub struct AcceptedSet {
    /// The manifests.
    pub catalog: Catalog,
    /// What else is known of them.
    pub facts: BTreeMap<Ref, Accepted>,
    /// The commits that last changed those from repositories.
    pub commits: BTreeMap<Ref, String>,
    /// What the store has of overrides; those in force are among the facts.
    pub overrides: BTreeMap<Ref, OverrideRecord>,
    /// The sources that are suspended.
    pub suspensions: BTreeMap<String, Suspension>,
}

/// A delete that was begun and not finished.
#[derive(Debug, Clone)]
pub struct BegunDelete {
    /// What is deleted.
    pub reference: Ref,
    /// Its identifier.
    pub uid: Uid,
    /// Whether its data goes too.
    pub destroy_data: bool,
    /// Its manifest at the time, when it had one.
    pub manifest: Option<Arc<Resource>>,
}

impl AcceptedSet {
    /// Takes in what the store has at one key of a manifest.
    pub fn put(&mut self, entry: &Entry) -> Result<Ref, Fault> {
        let record = ManifestRecord::read(entry).map_err(|e| Fault::other(chain(&e)))?;
        let reference = reference_of(&entry.key)?;
        let resource = typed(&reference, &record)?;
        let protection = resource.meta.protection;
        match record.extra.get(COMMIT).and_then(Value::as_str) {
            Some(commit) => drop(self.commits.insert(reference.clone(), commit.to_owned())),
            None => drop(self.commits.remove(&reference)),
        }
        self.catalog.insert(Arc::new(resource));
        let overrides = self.facts.remove(&reference).filter(|old| old.uid.uuid() == record.uid);
        let overrides = overrides.map(|old| old.overrides).unwrap_or_default();
        let facts = Accepted { uid: record.uid.into(), source: record.source, protection, overrides };
        self.facts.insert(reference.clone(), facts);
        Ok(reference)
    }

    /// Takes out what the store no longer has at one key of a manifest.
    pub fn take(&mut self, key: &str) -> Result<Ref, Fault> {
        let reference = reference_of(key)?;
        self.catalog.remove(&reference);
        self.facts.remove(&reference);
        self.commits.remove(&reference);
        Ok(reference)
    }
}

impl Ledger {
    /// The records in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, later: Arc::default() }
    }

    /// Every accepted manifest.
    pub async fn accepted(&self) -> Result<AcceptedSet, Fault> {
        let mut set = AcceptedSet::default();
        for entry in self.store.list(&keys::manifests()).await?.entries {
            set.put(&entry)?;
        }
        let overrides = overrides::records(&self.store.list(&keys::overrides()).await?.entries);
        set.overridden(overrides, self.now());
        set.suspensions = self.suspensions().await?;
        Ok(set)
    }

    /// Where the records are.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Accepts manifests; each keeps the UID it has or gets one. Nothing is written for one that is accepted already as it is.
    pub async fn accept(&self, wanted: &[Acceptance]) -> Result<BTreeMap<Ref, Uid>, Fault> {
        let known: BTreeMap<String, ManifestRecord> = self
            .store
            .list(&keys::manifests())
            .await?
            .entries
            .iter()
            .filter_map(|e| ManifestRecord::read(e).ok().map(|r| (e.key.to_string(), r)))
            .collect();
        let mut uids = BTreeMap::new();
        let mut txn = Txn::new();
        for one in wanted {
            let reference = one.resource.reference();
            let key = keys::manifest(reference.kind.short(), reference.name.as_str());
            let old = known.get(&key);
            let record = self.record(one, old)?;
            uids.insert(reference, Uid::from(record.uid));
            if old == Some(&record) {
                continue;
            }
            txn = txn.put(&key, written(&record)?);
            if txn.ops.len() >= BATCH {
                self.store.commit(std::mem::take(&mut txn)).await?;
            }
        }
        if !txn.ops.is_empty() {
            self.store.commit(txn).await?;
        }
        Ok(uids)
    }

    fn record(&self, one: &Acceptance, old: Option<&ManifestRecord>) -> Result<ManifestRecord, Fault> {
        let spec = one.resource.spec.to_value();
        let uid = old.map(|o| Uid::from(o.uid)).or(one.uid).unwrap_or_else(Uid::fresh);
        let mut record = ManifestRecord::new(uid.uuid(), spec, self.clock.now());
        record.metadata = match serde_json::to_value(&one.resource.meta) {
            Ok(Value::Object(meta)) => meta,
            _ => return Err(Fault::other(format!("the metadata of {} cannot be written", one.resource.reference()))),
        };
        record.source = one.source.clone().or_else(|| old.and_then(|o| o.source.clone()));
        if let Some(old) = old {
            let same = old.spec == record.spec;
            record.generation = old.generation + u64::from(!same);
            record.extra = old.extra.clone();
            if same {
                record.accepted_at = old.accepted_at;
            }
        }
        if old.is_none_or(|old| old.spec != record.spec) {
            record.extra.remove(COMMIT);
            record.extra.extend(one.commit.as_ref().map(|commit| (COMMIT.to_owned(), json!(commit))));
        }
        Ok(record)
    }

    /// Begins a delete: the manifest is gone and a tombstone says so, in one transaction.
    pub async fn begin_delete(&self, begun: &BegunDelete, reason: &str) -> Result<(), Fault> {
        let BegunDelete { reference, uid, destroy_data, manifest } = begun;
        let (kind, name) = (reference.kind.short(), reference.name.as_str());
        let mut stone = Tombstone::new(uid.uuid(), kind, name, self.clock.now(), reason);
        stone.extra.insert("deleting".into(), json!(true));
        stone.extra.insert("destroyData".into(), json!(destroy_data));
        if let Some(manifest) = manifest {
            stone.extra.insert("manifest".into(), manifest.document());
        }
        let txn = Txn::new()
            .put(&keys::tombstone(kind, name, uid.uuid()), written(&stone)?)
            .delete(&keys::manifest(kind, name))
            .delete(&keys::overrides_of(kind, name));
        self.store.commit(txn).await?;
        Ok(())
    }

    /// Closes a delete's tombstone: everything is gone.
    pub async fn finish_delete(&self, reference: &Ref, uid: Uid) -> Result<(), Fault> {
        let key = keys::tombstone(reference.kind.short(), reference.name.as_str(), uid.uuid());
        let Some(entry) = self.store.get(&key).await? else { return Ok(()) };
        let mut stone = Tombstone::read(&entry).map_err(|e| Fault::other(chain(&e)))?;
        stone.extra = Map::new();
        self.store.put(&key, written(&stone)?).await?;
        Ok(())
    }

    /// Deletes that were begun and not finished.
    pub async fn begun_deletes(&self) -> Result<Vec<BegunDelete>, Fault> {
        let mut begun = Vec::new();
        for entry in self.store.list(&keys::tombstones()).await?.entries {
            let stone = Tombstone::read(&entry).map_err(|e| Fault::other(chain(&e)))?;
            if stone.extra.get("deleting") != Some(&Value::Bool(true)) {
                continue;
            }
            let reference = reference_of(&entry.key)?;
            let manifest = stone.extra.get("manifest").and_then(|m| crate::plan::file::resource(m).ok()).map(Arc::new);
            let destroy_data = stone.extra.get("destroyData") == Some(&Value::Bool(true));
            begun.push(BegunDelete { reference, uid: stone.uid.into(), destroy_data, manifest });
        }
        Ok(begun)
    }

    /// Every journal record that is not done, in the order they were begun.
    pub async fn journal(&self) -> Result<Vec<JournalRecord>, Fault> {
        let entries = self.store.list(&keys::journals()).await?.entries;
        let read = |entry| JournalRecord::read(entry).map_err(|e| Fault::other(chain(&e)));
        let mut records = entries.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        records.sort_by_cached_key(|r| (r.started_at, r.resource.clone(), r.op.clone(), r.detail.to_string()));
        Ok(records)
    }

    /// Writes a journal record, and with it what waits; one sync makes all of it durable.
    pub async fn journal_put(&self, record: &JournalRecord) -> Result<(), Fault> {
        let op = put(&keys::journal(record.id), record)?;
        self.write(self.waiting(Some(op))).await
    }

    /// Takes a journal record out.
    pub async fn journal_clear(&self, id: Uid) -> Result<(), Fault> {
        self.store.delete(&keys::journal(id.uuid())).await?;
        Ok(())
    }

    /// Takes a journal record out with the next write.
    ///
    /// Lost in a crash, it is as if the crash had come before the effect's end: the effect is looked at again.
    pub fn journal_clear_later(&self, id: Uid) {
        self.open().push(Op::Delete { key: keys::journal(id.uuid()).into() });
    }

    /// Makes durable what waits.
    pub async fn settle(&self) -> Result<(), Fault> {
        self.write(self.waiting(None)).await
    }

    /// Has something written with the next write.
    pub(super) fn add_later(&self, op: Op) {
        self.open().push(op);
    }

    fn open(&self) -> MutexGuard<'_, Vec<Op>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits, and one operation more.
    fn waiting(&self, more: Option<Op>) -> Vec<Op> {
        let mut ops = std::mem::take(&mut *self.open());
        ops.extend(more);
        ops
    }

    pub(super) async fn write(&self, ops: Vec<Op>) -> Result<(), Fault> {
        let mut ops = ops.into_iter().peekable();
        while ops.peek().is_some() {
            let txn = Txn { ops: ops.by_ref().take(BATCH).collect(), ..Txn::new() };
            self.store.commit(txn).await?;
        }
        Ok(())
    }

    /// The time, by the engine's clock.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }
}

pub(super) fn put(key: &str, record: &impl Record) -> Result<Op, Fault> {
    Ok(Op::Put { key: key.into(), value: written(record)?.into() })
}

pub(super) fn written(record: &impl Record) -> Result<Vec<u8>, Fault> {
    record.write().map_err(|e| Fault::other(format!("a record cannot be written: {e}")))
}

pub(super) fn reference_of(key: &str) -> Result<Ref, Fault> {
    let (kind, name) =
        keys::resource_of(key).ok_or_else(|| Fault::other(format!("the store has the odd key {key:?}")))?;
    let known = KindName::find(&kind).ok_or_else(|| {
        Fault::other(format!("the store has a resource of the unknown kind {kind:?}"))
            .help("it was written by a newer version of Reeve; use that version")
    })?;
    let name = Name::new(&name).map_err(|e| Fault::other(format!("the store has a resource with a bad name: {e}")))?;
    Ok(Ref::new(known, name))
}

fn typed(reference: &Ref, record: &ManifestRecord) -> Result<Resource, Fault> {
    let bad = |why: String| Fault::other(format!("the accepted manifest of {reference} cannot be read: {why}"));
    let spec = reference.kind.spec(record.spec.clone()).map_err(|e| bad(e.to_string()))?;
    let meta: Metadata =
        serde_json::from_value(Value::Object(record.metadata.clone())).map_err(|e| bad(e.to_string()))?;
    Ok(Resource { meta, spec, places: Places::default() })
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
