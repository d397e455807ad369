//! Sources of manifests: a folder that is watched, read whole, and accepted as far as it is valid.
//!
//! ```text
//! watch   something may have changed -> quiet for a moment, or long enough
//! read    the files, until nothing moved while they were read -> what is valid, what is not, what is gone
//! accept  what is valid goes into the store, and from there the agent hears of it like of any other change
//! ```
//!
//! What is not valid holds up itself and who needs it; what was accepted of it stays in force. What is gone is removed
//! only where the source says `prune`, was read whole and valid, and still has at least half of what it had.

pub mod git;
pub mod sync;
pub mod tree;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::git::{Git, commit_in_force};
use self::tree::Tree;
use self::watch::Watch;
use super::Agent;
use super::work::WHO;
use crate::base::{Attempt as _, Fault, Uid};
use crate::engine::observe::observe_kinds;
use crate::engine::records::Acceptance;
use crate::engine::sources::Suspension;
use crate::kinds::vm::Reconcile;
use crate::kinds::{Catalog, KindName, Ref};
use crate::manifest::{self, Loaded};
use crate::plan::live::Known;
use crate::plan::prune::{self, Refusal};
use crate::plan::sift::{Sifted, sift};

/// How often files are read again because they moved meanwhile, before they are taken as they are.
const TRIES: usize = 5;
/// How long trouble is slept over.
const PAUSE: Duration = Duration::from_secs(5);

/// Where manifests come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name it is remembered by: the folder's full path.
    pub name: String,
    /// The file or the folder.
    pub path: PathBuf,
    /// Whether what is gone from it is removed.
    pub prune: bool,
    /// The repository whose files stand there.
    pub git: Option<Git>,
    /// What is done about differences of what came from it.
    pub reconcile: Reconcile,
}

/// What a reading of a source came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// How many resources were valid.
    pub valid: usize,
    /// What is not valid, and why.
    pub refused: BTreeMap<Ref, String>,
    /// New resources whose state is not known, and which are taken in once it is.
    pub waits: BTreeMap<Ref, String>,
    /// Problems that name no resource, such as a file that cannot be read.
    pub problems: Vec<String>,
    /// What is gone and will be removed.
    pub gone: Vec<Ref>,
    /// Why what is gone is not removed.
    pub kept: Option<String>,
}

impl Source {
    /// The source at a path.
    pub fn at(path: PathBuf, prune: bool) -> Self {
        let name = std::fs::canonicalize(&path).unwrap_or_else(|_| std::path::absolute(&path).unwrap_or(path.clone()));
        Self { name: name.display().to_string(), path, prune, git: None, reconcile: Reconcile::Enforce }
    }

    /// The source in a folder of a repository.
    pub fn of(git: Git, folder: &std::path::Path, prune: bool) -> Self {
        let name = format!("{}#{}:{}", git.url, git.branch, folder.display());
        Self { name, path: git.current().join(folder), prune, git: Some(git), reconcile: Reconcile::Enforce }
    }

    /// The commit that is in force, of a source that has any.
    fn commit(&self) -> Option<String> {
        self.git.as_ref().and_then(|git| commit_in_force(&git.current()))
    }
}

impl Agent {
    /// Follows a source for as long as it is polled; what goes wrong is told and tried again.
    pub async fn follow_source(&self, source: &Source) -> std::convert::Infallible {
        let mut last: Option<Reading> = None;
        self.0.sources.add(&source.name);
        let mut asked = self.0.sources.asked();
        loop {
            let fault = match Watch::new(&source.path) {
                Ok(watch) => match self.follow_watch(source, &watch, &mut last, &mut asked).await {
                    Ok(never) => match never {},
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            tracing::error!(source = source.name, %fault, "the manifests cannot be taken in");
            self.0.sources.failed(&source.name, *asked.borrow_and_update(), fault);
            self.world().clock.sleep(PAUSE).await;
        }
    }

    /// Fetches a source's repository now and then, and when everything is asked for.
    pub async fn follow_git(&self, source: &Source) -> std::convert::Infallible {
        let Some(git) = &source.git else { return std::future::pending().await };
        let mut asked = self.0.sources.asked();
        loop {
            let number = *asked.borrow_and_update();
            if self.suspension(source).await.is_some() {
                self.0.sources.fetched(&source.name, number, None);
                let _ = asked.changed().await;
                continue;
            }
            let fault = match git.pull().await {
                Ok(commit) => {
                    tracing::debug!(source = source.name, commit, "fetched");
                    None
                }
                Err(fault) => {
                    tracing::warn!(source = source.name, %fault, "what was in force stays in force");
                    Some(fault)
                }
            };
            self.0.sources.fetched(&source.name, number, fault);
            tokio::select! {
                () = self.world().clock.sleep(git.interval) => {}
                Ok(()) = asked.changed() => {}
            }
        }
    }

    async fn follow_watch(
        &self,
        source: &Source,
        watch: &Watch,
        last: &mut Option<Reading>,
        asked: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Result<std::convert::Infallible, Fault> {
        loop {
            let number = *asked.borrow_and_update();
            if let Some(suspension) = self.suspension(source).await {
                let kept = self.notes().pruned.remove(&source.name).unwrap_or_default();
                kept.iter().for_each(|reference| self.urge(reference));
                self.0.sources.suspended(&source.name, number, suspension);
                let _ = asked.changed().await;
                continue;
            }
            if source.git.is_some() {
                self.0.sources.until_fetched(&source.name, number).await;
            }
            let (tree, loaded) = read(source, watch).await?;
            let reading = self.take(source, loaded).await?;
            self.0.sources.read(&source.name, number, source.commit(), &reading);
            if last.as_ref() != Some(&reading) {
                self.tell(source, &reading).await?;
                *last = Some(reading);
            }
            self.0.counters.source_read();
            let waits = last.as_ref().is_some_and(|reading| !reading.waits.is_empty());
            let clock = &*self.world().clock;
            tokio::select! {
                () = watch.changed(&tree, clock) => {}
                () = clock.sleep(PAUSE), if waits => {}
                Ok(()) = asked.changed() => {}
            }
        }
    }

    /// Whether nothing is taken from a source now.
    async fn suspension(&self, source: &Source) -> Option<Suspension> {
        loop {
            match self.ledger().suspension(&source.name).await {
                Ok(suspension) => return suspension,
                Err(fault) => {
                    tracing::warn!(source = source.name, %fault, "whether it is suspended cannot be read");
                    self.world().clock.sleep(PAUSE).await;
                }
            }
        }
    }

    /// Reads a source once and takes it in, without watching it.
    pub async fn read_source(&self, source: &Source) -> Result<Reading, Fault> {
        let path = source.path.clone();
        let loaded = load(path).await?;
        let reading = self.take(source, loaded).await?;
        self.tell(source, &reading).await?;
        Ok(reading)
    }

    /// Accepts what is valid and notes what is not and what is gone.
    async fn take(&self, source: &Source, loaded: Loaded) -> Result<Reading, Fault> {
        let accepted = self.ledger().accepted().await?;
        let Sifted { desired, refused } = sift(&loaded, &accepted.catalog);
        let problems = loaded.diagnostics.0.iter().filter(|d| d.is_error()).map(ToString::to_string);
        let valid = desired.order.len();
        tracing::debug!(source = source.name, valid, refused = refused.len(), "files read");
        let mut reading = Reading { valid, refused, problems: problems.collect(), ..Reading::default() };
        let (known, new): (Vec<_>, Vec<_>) = desired.order.iter().partition(|r| accepted.facts.contains_key(r));
        let commit = source.commit();
        let acceptance = |reference: &Ref, uid: Option<Uid>| {
            let resource = Arc::clone(desired.catalog.get(reference)?);
            Some(Acceptance { resource, source: Some(source.name.clone()), uid, commit: commit.clone() })
        };
        let wanted: Vec<Acceptance> = known.into_iter().filter_map(|r| acceptance(r, None)).collect();
        self.ledger().accept(&wanted).await?;
        let uids = self.marks(&new, &desired.catalog, &mut reading.waits).await;
        let wanted: Vec<Acceptance> = uids.into_iter().filter_map(|(r, uid)| acceptance(r, uid)).collect();
        self.ledger().accept(&wanted).await?;
        if source.prune {
            let whole = loaded.complete && reading.refused.is_empty();
            let loaded = Loaded { complete: whole, ..loaded };
            match prune::gone(&accepted.facts, &loaded, &BTreeSet::from([source.name.clone()]), false) {
                Ok(gone) => reading.gone = gone,
                Err(refusal) => reading.kept = Some(words(refusal)),
            }
        }
        self.note(source, &reading);
        Ok(reading)
    }

    /// The identity that new resources have already, because they were made before the store was; whose state is not
    /// known waits until it is, since an identity is given once.
    async fn marks<'a>(
        &self,
        new: &[&'a Ref],
        catalog: &Catalog,
        waits: &mut BTreeMap<Ref, String>,
    ) -> Vec<(&'a Ref, Option<Uid>)> {
        let kinds: BTreeSet<KindName> = new.iter().map(|r| r.kind).collect();
        if kinds.is_empty() {
            return Vec::new();
        }
        let live = observe_kinds(self.world(), catalog, &kinds.into_iter().collect::<Vec<_>>()).await;
        let mut found = Vec::new();
        for reference in new {
            match live.get(reference) {
                Known::Present(there) => found.push((*reference, there.have().mark.map(|m| m.uid))),
                Known::Absent => found.push((*reference, None)),
                Known::Unknown(why) => drop(waits.insert((*reference).clone(), why.to_owned())),
            }
        }
        found
    }

    /// Remembers what is not valid and what is to go, and asks for what changed in that.
    fn note(&self, source: &Source, reading: &Reading) {
        let mut ask: BTreeSet<Ref> = reading.gone.iter().cloned().collect();
        {
            let mut notes = self.notes();
            let before = notes.invalid.insert(source.name.clone(), reading.refused.clone()).unwrap_or_default();
            let differs = |r: &&Ref| before.get(*r) != reading.refused.get(*r);
            ask.extend(before.keys().chain(reading.refused.keys()).filter(differs).cloned());
            let gone: BTreeSet<Ref> = reading.gone.iter().cloned().collect();
            let before = notes.pruned.insert(source.name.clone(), gone.clone()).unwrap_or_default();
            ask.extend(before.difference(&gone).cloned());
        }
        ask.iter().for_each(|reference| self.urge(reference));
    }

    async fn tell(&self, source: &Source, reading: &Reading) -> Result<(), Fault> {
        let Reading { valid, refused, waits, problems, gone, kept } = reading;
        for (reference, why) in waits {
            tracing::warn!(source = source.name, %reference, why, "it is not taken in yet: its state is not known");
        }
        tracing::info!(source = source.name, valid, refused = refused.len(), gone = gone.len(), "manifests read");
        problems.iter().for_each(|problem| tracing::warn!(source = source.name, "{problem}"));
        if let Some(why) = kept {
            tracing::warn!(source = source.name, "nothing is pruned: {why}");
        }
        for (reference, why) in refused {
            self.ledger().event(reference, WHO, "its manifest is not valid", why, None).await?;
        }
        Ok(())
    }
}

/// Reads a source's files so that they are of one moment, as far as whoever writes them lets that be.
async fn read(source: &Source, watch: &Watch) -> Result<(Tree, Loaded), Fault> {
    let mut tree = watch.look();
    for _ in 0..TRIES {
        let loaded = load(source.path.clone()).await?;
        let after = watch.look();
        if after == tree {
            return Ok((tree, loaded));
        }
        tree = after;
    }
    // Each file is still whole or refused; but nothing is concluded from what is not there.
    let loaded = load(source.path.clone()).await?;
    Ok((tree, Loaded { complete: false, ..loaded }))
}

async fn load(path: PathBuf) -> Result<Loaded, Fault> {
    let doing = format!("cannot read the manifests in {}", path.display());
    let read = tokio::task::spawn_blocking(move || manifest::load(&[path])).await;
    read.map_err(|e| Fault::other(e.to_string())).attempt(|| doing)
}

fn words(refusal: Refusal) -> String {
    match refusal {
        Refusal::Incomplete => "not every file is valid and readable".into(),
        Refusal::Hollow(file) => format!("{file} holds no manifest; if what came from it shall go, remove the file"),
        Refusal::Empty(all) => format!("the source holds nothing at all, and had {all} resources"),
        Refusal::TooMany(gone, all) => {
            format!("{gone} of its {all} resources are gone; delete them with `reeve delete` if that is meant")
        }
    }
}
