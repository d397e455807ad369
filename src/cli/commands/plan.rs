//! `reeve plan`: what would change, why, and what it costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{Allow, PlanArgs, PlanFormat};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::session::{Session, read_live, with_accepted};
use crate::engine::observe::observe;
use crate::engine::records::{AcceptedSet, Ledger};
use crate::engine::recover::Unfinished;
use crate::kinds::{Catalog, Options, Ref, World};
use crate::manifest::Loaded;
use crate::plan::file::PlanFile;
use crate::plan::live::LiveState;
use crate::plan::make::{Goal, make};
use crate::plan::model::Plan;

/// Plans and prints.
pub async fn run(session: &Session, args: &PlanArgs) -> Result {
    let prepared = prepare(session, &args.paths, args.live.as_deref(), args.allow).await?;
    let plan = prepared.plan();
    if let Some(path) = &args.out {
        let sources = prepared.loaded.as_ref().map(|l| l.sources.as_slice()).unwrap_or_default();
        PlanFile::new(&plan, &prepared.catalog, &prepared.order, &prepared.remove, sources).write(path)?;
    }
    match args.output {
        PlanFormat::Text => print!("{}", render::plan::text(&plan, session.paint)),
        PlanFormat::Markdown => print!("{}", render::plan::markdown(&plan)),
        PlanFormat::Json => println!("{}", render::json(&plan)?),
    }
    Ok(if plan.is_empty() { Exit::Done } else { Exit::Changes })
}

/// All that a plan is made from.
pub struct Prepared {
    /// The manifests in force.
    pub catalog: Catalog,
    /// What to bring to its manifest.
    pub order: Vec<Ref>,
    /// What to remove.
    pub remove: Vec<Ref>,
    /// What is there.
    pub live: LiveState,
    /// What is allowed.
    pub options: Options,
    /// What was read from files.
    pub loaded: Option<Loaded>,
    /// What was accepted earlier.
    pub accepted: AcceptedSet,
    /// What an earlier run left.
    pub unfinished: Unfinished,
    /// The records, when there is a host.
    pub ledger: Option<Ledger>,
    /// The world, when there is a host.
    pub world: Option<World>,
}

impl Prepared {
    /// The plan.
    pub fn plan(&self) -> Plan {
        let Self { catalog, order, remove, options, .. } = self;
        make(&Goal { catalog, order, remove, options: *options }, &self.live)
    }
}

/// Reads manifests, store and live state, against a host or a file.
pub async fn prepare(session: &Session, paths: &[PathBuf], live: Option<&Path>, allow: Allow) -> Result<Prepared> {
    match live {
        Some(live) => offline(session, paths, live, allow),
        None => {
            let ledger = session.store_to_read().await?;
            online(session, paths, allow, ledger).await
        }
    }
}

fn offline(session: &Session, paths: &[PathBuf], live: &Path, allow: Allow) -> Result<Prepared> {
    if paths.is_empty() {
        return Err(CliError::with_help(
            "`--live` was given without manifests",
            "name the files or folders to plan for",
        ));
    }
    let live = read_live(live)?;
    let (desired, loaded) = session.desired(paths, &Catalog::default())?;
    let remove = pruned(&live, &loaded, paths, allow)?;
    Ok(Prepared {
        catalog: desired.catalog,
        order: desired.order,
        remove,
        live,
        options: Options { allow: allow.allow, destroy_data: false },
        loaded: Some(loaded),
        accepted: AcceptedSet::default(),
        unfinished: Unfinished::default(),
        ledger: None,
        world: None,
    })
}

/// The same against this host, with these records.
pub async fn online(session: &Session, paths: &[PathBuf], allow: Allow, ledger: Ledger) -> Result<Prepared> {
    let accepted = ledger.accepted().await?;
    let unfinished = Unfinished::read(&ledger).await?;
    let (catalog, mut order, loaded) = if paths.is_empty() {
        let order = crate::plan::desired::order(&accepted.catalog);
        (accepted.catalog.clone(), order, None)
    } else {
        let (desired, loaded) = session.desired(paths, &accepted.catalog)?;
        (desired.catalog, desired.order, Some(loaded))
    };
    add_unfinished(&mut order, &catalog, &unfinished);
    let world = session.world();
    let live = with_accepted(observe(&world, &catalog).await, &accepted);
    let remove = match &loaded {
        Some(loaded) => pruned(&live, loaded, paths, allow)?,
        None => Vec::new(),
    };
    let mut catalog = catalog;
    for reference in &remove {
        // What is pruned must not be counted as a user of what it refers to.
        if let Some(resource) = accepted.catalog.get(reference) {
            catalog.insert(Arc::clone(resource));
        }
    }
    Ok(Prepared {
        catalog,
        order,
        remove,
        live,
        options: Options { allow: allow.allow, destroy_data: false },
        loaded,
        accepted,
        unfinished,
        ledger: Some(ledger),
        world: Some(world),
    })
}

/// Work that was broken off is taken up again, whatever the run was asked for.
fn add_unfinished(order: &mut Vec<Ref>, catalog: &Catalog, unfinished: &Unfinished) {
    let there: BTreeSet<Ref> = order.iter().cloned().collect();
    order.extend(unfinished.resources().into_iter().filter(|r| !there.contains(r) && catalog.get(r).is_some()));
}

/// What came from these sources earlier and is in them no more.
fn pruned(live: &LiveState, loaded: &Loaded, paths: &[PathBuf], allow: Allow) -> Result<Vec<Ref>> {
    if !allow.prune {
        return Ok(Vec::new());
    }
    if !loaded.complete {
        return Err(CliError::with_help(
            "`--prune` needs every source to be read whole and valid",
            "mend what is reported above, or leave `--prune` out",
        ));
    }
    let with: BTreeSet<&str> = loaded.resources.iter().filter_map(|r| r.places.file.as_deref()).collect();
    if let Some(empty) = loaded.sources.iter().find(|s| !with.contains(&*s.path)) {
        return Err(CliError::with_help(
            format!("`--prune` needs a manifest in every file, and {} holds none", empty.path),
            "a file that was cut short looks like this; if what came from it shall go, remove the file",
        ));
    }
    let roots: BTreeSet<String> = paths.iter().map(|p| source_name(p)).collect();
    let there: BTreeSet<Ref> = loaded.resources.iter().map(|r| r.reference()).collect();
    let ours = live.accepted.iter().filter(|(_, a)| a.source.as_ref().is_some_and(|s| roots.contains(s)));
    let (kept, gone): (Vec<_>, Vec<_>) = ours.partition(|(r, _)| there.contains(r));
    let all = kept.len() + gone.len();
    if loaded.resources.is_empty() && !gone.is_empty() {
        return Err(CliError::with_help(
            format!(
                "the sources hold no manifest at all, and --prune would delete all {all} resources that came from them"
            ),
            "check the paths; to delete the resources name them with `reeve delete`",
        ));
    }
    if gone.len() * 2 > all && gone.len() > 1 && !allow.prune_all {
        return Err(CliError::with_help(
            format!("--prune would delete {} of the {all} resources that came from these paths", gone.len()),
            "check that the paths are right; if all of this shall go, add --prune-all",
        ));
    }
    Ok(gone.into_iter().map(|(r, _)| r.clone()).collect())
}

/// The name under which a path given on the command line is remembered as a source.
pub fn source_name(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
