//! `reeve plan`: what would change, why, and what it costs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{Allow, PlanArgs, PlanFormat};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render;
use crate::cli::render::plan::Shown;
use crate::cli::session::{Session, read_live};
use crate::engine::records::{AcceptedSet, Ledger};
use crate::engine::recover::Unfinished;
use crate::kinds::{Catalog, Options, Ref, World};
use crate::manifest::Loaded;
use crate::plan::file::PlanFile;
use crate::plan::live::LiveState;
use crate::plan::make::{Goal, make};
use crate::plan::model::Plan;
use crate::plan::prune::{self, Refusal};

/// Plans and prints.
pub async fn run(session: &Session, args: &PlanArgs) -> Result {
    let prepared = prepare(session, &args.paths, args.live.as_deref(), args.allow).await?;
    let plan = prepared.plan();
    if let Some(path) = &args.out {
        let sources = prepared.loaded.as_ref().map(|l| l.sources.as_slice()).unwrap_or_default();
        PlanFile::new(&plan, &prepared.catalog, &prepared.order, &prepared.remove, sources).write(path)?;
    }
    let shown = if args.all { Shown::All } else { Shown::Telling };
    match args.output {
        PlanFormat::Text => print!("{}", render::plan::text(&plan, shown, session.paint)),
        PlanFormat::Markdown => print!("{}", render::plan::markdown(&plan, shown)),
        PlanFormat::Json => println!("{}", render::json(&plan)?),
    }
    let exit = if plan.is_empty() { Exit::Done } else { Exit::Changes };
    let Prepared { catalog, live, loaded, accepted, .. } = prepared;
    // The process ends: giving back every piece of memory by itself would take a tenth of the whole time.
    std::mem::forget((catalog, live, loaded, accepted, plan));
    Ok(exit)
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
            // Looking takes longest, so it begins first; a reader needs no more than what was there at some moment.
            let world = session.world_ahead().await;
            let ledger = session.store_to_read().await?;
            online(session, paths, allow, ledger, world).await
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

/// The same against this host, with these records; who is going to change something opened `world` after they were locked.
pub async fn online(
    session: &Session,
    paths: &[PathBuf],
    allow: Allow,
    ledger: Ledger,
    world: World,
) -> Result<Prepared> {
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
    let live = session.observe(&world, &catalog).await?.knowing(&accepted.facts);
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
    let roots: BTreeSet<String> = paths.iter().map(|p| source_name(p)).collect();
    prune::gone(&live.accepted, loaded, &roots, allow.prune_all).map_err(|refusal| match refusal {
        Refusal::Incomplete => CliError::with_help(
            "`--prune` needs every source to be read whole and valid",
            "mend what is reported above, or leave `--prune` out",
        ),
        Refusal::Hollow(file) => CliError::with_help(
            format!("`--prune` needs a manifest in every file, and {file} holds none"),
            "a file that was cut short looks like this; if what came from it shall go, remove the file",
        ),
        Refusal::Empty(all) => CliError::with_help(
            format!(
                "the sources hold no manifest at all, and --prune would delete all {all} resources that came from them"
            ),
            "check the paths; to delete the resources name them with `reeve delete`",
        ),
        Refusal::TooMany(gone, all) => CliError::with_help(
            format!("--prune would delete {gone} of the {all} resources that came from these paths"),
            "check that the paths are right; if all of this shall go, add --prune-all",
        ),
    })
}

/// The name under which a path given on the command line is remembered as a source.
pub fn source_name(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}
