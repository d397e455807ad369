//! What a person asks of one resource apart from any plan: its power, its adoption, an orphan's end.
//!
//! Commands do it themselves or have the agent do it; both come here, so that both say and note the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::journal::StoreJournal;
use super::kept::Kept;
use super::records::{Acceptance, AcceptedSet, Ledger};
use crate::base::{Disruption, Fault, FaultKind, Uid};
use crate::kinds::volume::Row;
use crate::kinds::{
    KindName, Live, Metadata, Options, Places, PowerRequest, Progress, Ref, Resource, Scope, Task, World,
};
use crate::plan::diff::diff;
use crate::plan::live::{Known, LiveState};
use crate::plan::model::FieldChange;

/// Why, in events.
const WHY: &str = "a person asked for it";

/// Somebody who asks, and what is known when they do.
pub struct Request<'a> {
    /// The world.
    pub world: &'a World,
    /// The records.
    pub ledger: &'a Ledger,
    /// What was accepted.
    pub accepted: &'a AcceptedSet,
    /// What is there.
    pub live: &'a LiveState,
    /// Who asks, for the record.
    pub who: &'a str,
    /// Progress for people.
    pub progress: &'a dyn Progress,
}

impl Request<'_> {
    /// Changes a guest's power, and notes it.
    pub async fn power(&self, reference: &Ref, to: PowerRequest) -> Result<(), Fault> {
        let live = there(reference, self.live)?;
        let mark = live.have().mark.ok_or_else(|| {
            Fault::new(FaultKind::Denied, format!("{reference} is not managed by Reeve"))
                .help(format!("`reeve adopt {reference}` takes it over"))
        })?;
        let journal = StoreJournal::new(self.ledger, "power");
        let lookup = |r: &Ref| self.live.present(r);
        let named = Metadata::named(reference.name.clone());
        let task = Task {
            world: self.world,
            scope: Scope::with_live(&self.accepted.catalog, &lookup),
            reference,
            meta: self.accepted.catalog.get(reference).map_or(&named, |r| &r.meta),
            uid: mark.uid,
            options: Options { allow: Disruption::Restart, destroy_data: false },
            journal: &journal,
            progress: self.progress,
        };
        live.power(&task, to).await?;
        self.ledger.event(reference, self.who, to.done(), WHY, None).await
    }

    /// Accepts and marks what is there already; refuses when its manifest would change anything.
    pub async fn adopt(&self, resource: &Arc<Resource>) -> Result<(), Fault> {
        let reference = resource.reference();
        let live = free(&reference, self.live)?;
        let changes = differences(resource, live, self.accepted);
        if !changes.is_empty() {
            let paths: Vec<&str> = changes.iter().map(|change| &*change.path).collect();
            return Err(cannot(&reference, &paths.join(", ")));
        }
        let uids: BTreeMap<Ref, Uid> = self.ledger.accept(&[Acceptance::new(resource)]).await?;
        let uid = uids.get(&reference).copied().ok_or_else(|| Fault::other(format!("{reference} got no UID")))?;
        let journal = StoreJournal::new(self.ledger, "adoption");
        let lookup = |r: &Ref| self.live.present(r);
        let task = Task {
            world: self.world,
            scope: Scope::with_live(&self.accepted.catalog, &lookup),
            reference: &reference,
            meta: &resource.meta,
            uid,
            options: Options::default(),
            journal: &journal,
            progress: self.progress,
        };
        resource.spec.adopt(&task, live).await?;
        self.ledger.event(&reference, self.who, "adopted", WHY, None).await
    }

    /// Destroys an orphan, `STORAGE/VOLUME`, if it still is one.
    pub async fn destroy_orphan(&self, word: &str) -> Result<(), Fault> {
        let kept = Kept::read(self.world, self.accepted).await;
        let row = kept.orphan(word, self.live)?;
        self.destroy(row).await
    }

    /// Destroys a volume that was found to be an orphan, and notes what became of that.
    pub async fn destroy(&self, row: &Row) -> Result<(), Fault> {
        let Some(mark) = &row.mark else { return Ok(()) };
        let Row { storage, volume, size, .. } = row;
        let scope = Scope::of(&self.accepted.catalog);
        let gone = match self.world.storage(&scope, storage) {
            Ok(opened) => opened.delete(volume, mark, *size).await,
            Err(fault) => Err(fault),
        };
        let what = match &gone {
            Ok(()) => format!("destroyed the orphan {volume} of {}", mark.resource),
            Err(fault) => format!("failed to destroy the orphan {volume} of {}: {fault}", mark.resource),
        };
        let storage = Ref::new(KindName::Storage, storage.clone());
        self.ledger.event(&storage, self.who, &what, "`reeve delete --orphan`", None).await?;
        gone
    }
}

fn there<'a>(reference: &Ref, live: &'a LiveState) -> Result<&'a Live, Fault> {
    match live.get(reference) {
        Known::Present(live) => Ok(live),
        Known::Absent => Err(Fault::new(FaultKind::NotFound, format!("{reference} is not there"))
            .help("`reeve get` lists what there is")),
        Known::Unknown(why) => Err(Fault::other(format!("{reference} cannot be read: {why}"))),
    }
}

/// What is there and is nobody's yet.
fn free<'a>(reference: &Ref, live: &'a LiveState) -> Result<&'a Live, Fault> {
    let live = there(reference, live)?;
    match live.have().mark {
        Some(_) => Err(Fault::new(FaultKind::Exists, format!("{reference} is managed already"))),
        None => Ok(live),
    }
}

/// The manifest that describes something unmanaged, and what it would change all the same.
pub fn manifest(
    reference: &Ref,
    live: &LiveState,
    accepted: &AcceptedSet,
) -> Result<(Arc<Resource>, Vec<FieldChange>), Fault> {
    let live = free(reference, live)?;
    let spec = live.spec().ok_or_else(|| Fault::other(format!("{reference} cannot be described as a manifest")))?;
    let meta = Metadata::named(reference.name.clone());
    let resource = Arc::new(Resource { meta, spec, places: Places::default() });
    let changes = differences(&resource, live, accepted);
    Ok((resource, changes))
}

fn differences(resource: &Arc<Resource>, live: &Live, accepted: &AcceptedSet) -> Vec<FieldChange> {
    let mut catalog = accepted.catalog.clone();
    catalog.insert(Arc::clone(resource));
    let scope = Scope::of(&catalog);
    let want = resource.spec.want(resource.name(), &scope);
    let mut changes = diff(&want, &live.have().configured, None, resource.kind().shape());
    changes.extend(resource.spec.extra(live, &scope));
    changes
}

/// That something cannot be adopted, since its manifest would change these fields.
pub fn cannot(reference: &Ref, fields: &str) -> Fault {
    Fault::new(FaultKind::Invalid, format!("{reference} cannot be adopted: its own manifest would change {fields}"))
        .help("these features cannot be described yet; nothing was marked or changed")
}
