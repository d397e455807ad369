//! After a crash: finishes deletes that were begun, and clears what unfinished effects left behind.
//!
//! Creates and updates need no replay: their effects can be repeated, and a plan made from what is there now goes on
//! where the crash was. What remains is what the manifests no longer ask for, and that is what `undo` looks at.

use std::collections::{BTreeMap, BTreeSet};

use super::execute::{Outcome, Run};
use super::journal::StoreJournal;
use super::records::{BegunDelete, Ledger};
use crate::base::{Fault, Uid};
use crate::kinds::{Metadata, Options, Ref, Scope, Task};
use crate::store::records::JournalRecord;

/// What an earlier run left unfinished.
#[derive(Debug, Clone, Default)]
pub struct Unfinished {
    /// Deletes that were begun.
    pub deletes: Vec<BegunDelete>,
    /// Effects whose end is not known.
    pub effects: Vec<JournalRecord>,
}

impl Unfinished {
    /// Reads what is unfinished.
    pub async fn read(ledger: &Ledger) -> Result<Self, Fault> {
        Ok(Self { deletes: ledger.begun_deletes().await?, effects: ledger.journal().await? })
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.effects.is_empty()
    }

    /// The resources whose work was broken off.
    pub fn resources(&self) -> BTreeSet<Ref> {
        self.effects.iter().filter_map(|e| e.resource.parse().ok()).collect()
    }
}

/// Finishes every delete that was begun; gives what failed.
pub async fn finish_deletes(run: &Run<'_>, unfinished: &Unfinished) -> BTreeMap<Ref, Fault> {
    let mut failed = BTreeMap::new();
    for begun in &unfinished.deletes {
        if let Err(fault) = finish_delete(run, begun).await {
            failed.insert(begun.reference.clone(), fault);
        }
    }
    failed
}

async fn finish_delete(run: &Run<'_>, begun: &BegunDelete) -> Result<(), Fault> {
    let mut catalog = run.catalog.clone();
    if let Some(manifest) = &begun.manifest {
        catalog.insert(manifest.clone());
    }
    let journal = StoreJournal::new(run.ledger, "recovery");
    let named = Metadata::named(begun.reference.name.clone());
    let task = Task {
        world: run.world,
        scope: Scope::of(&catalog),
        reference: &begun.reference,
        meta: &named,
        uid: begun.uid,
        options: Options { destroy_data: begun.destroy_data, ..Options::default() },
        journal: &journal,
        progress: run.progress,
    };
    let found = begun.reference.kind.observe(run.world, &Scope::of(&catalog)).await?;
    match found.get(&begun.reference.name) {
        Some(crate::kinds::Observed::Present(live)) if live.have().mark.is_none_or(|m| m.uid == begun.uid) => {
            live.delete(&task).await?;
        }
        Some(crate::kinds::Observed::Unknown(why)) => return Err(Fault::other(why.clone())),
        _ => {}
    }
    run.ledger.finish_delete(&begun.reference, begun.uid).await?;
    run.ledger.event(&begun.reference, run.who, "deleted", "a delete that was broken off was finished", None).await
}

/// Clears what unfinished effects left, for every resource that is now as it shall be or is no more.
pub async fn clear(run: &Run<'_>, unfinished: &Unfinished, outcomes: &[Outcome]) -> Vec<(Ref, Fault)> {
    let stuck: BTreeSet<&Ref> = outcomes.iter().filter(|o| !o.converged()).map(|o| &o.resource).collect();
    let mut failed = Vec::new();
    for effect in &unfinished.effects {
        let Ok(reference) = effect.resource.parse::<Ref>() else { continue };
        if stuck.contains(&reference) {
            continue;
        }
        if let Err(fault) = clear_one(run, effect, &reference).await {
            failed.push((reference, fault));
        }
    }
    failed
}

async fn clear_one(run: &Run<'_>, effect: &JournalRecord, reference: &Ref) -> Result<(), Fault> {
    let journal = StoreJournal::new(run.ledger, "recovery");
    let lookup = |r: &Ref| run.live.present(r);
    let resource = run.catalog.get(reference);
    let named = Metadata::named(reference.name.clone());
    let task = Task {
        world: run.world,
        scope: Scope::with_live(run.catalog, &lookup),
        reference,
        meta: resource.map_or(&named, |r| &r.meta),
        uid: Uid::from(effect.uid),
        options: Options::default(),
        journal: &journal,
        progress: run.progress,
    };
    reference.kind.undo(&task, resource.map(|r| &r.spec), &effect.op, &effect.detail).await?;
    run.ledger.journal_clear(Uid::from(effect.id)).await
}
