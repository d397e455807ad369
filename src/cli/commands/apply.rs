//! `reeve apply`: does what a plan says, and says per resource what became of it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::by_agent::{accepted_by, by_agent};
use super::plan::{Prepared, online, source_name};
use crate::base::{Fault, Uid};
use crate::cli::args::{Allow, Apply};
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::render;
use crate::cli::render::plan::Shown;
use crate::cli::session::Session;
use crate::engine::execute::{Ending, Outcome, Run, execute};
use crate::engine::records::Acceptance;
use crate::engine::recover::{self, Unfinished};
use crate::kinds::{Ref, Resource};
use crate::plan::file::PlanFile;
use crate::plan::model::{Action, Plan};

/// Plans, asks, and applies.
pub async fn run(session: &Session, args: &Apply) -> Result {
    let saved = saved_plan(&args.paths)?;
    let ledger = session.store_to_change().await?;
    let (prepared, plan) = match saved {
        Some(file) => bound(session, file, ledger).await?,
        None => {
            let world = session.world_ahead().await;
            let prepared = online(session, &args.paths, args.allow, ledger, world).await?;
            let plan = prepared.plan();
            (prepared, plan)
        }
    };
    if plan.is_empty() && prepared.unfinished.is_empty() {
        print!("{}", render::plan::text(&plan, Shown::Telling, session.paint));
        match session.agent().await {
            Some(agent) => accepted_by(agent, &prepared, &plan, accepted(&prepared, &args.paths)).await?,
            None => drop(accept(&prepared, &args.paths).await?),
        }
        return Ok(Exit::Done);
    }
    print!("{}", render::plan::text(&plan, Shown::Telling, session.paint));
    if !args.yes && !plan.is_empty() && !confirm("Apply this plan?")? {
        eprintln!("Nothing was changed.");
        return Ok(Exit::Error);
    }
    if let Some(agent) = session.agent().await {
        return by_agent(session, agent, &prepared, &plan, accepted(&prepared, &args.paths)).await;
    }
    let uids = accept(&prepared, &args.paths).await?;
    let parallel = args.parallel.map_or(session.config.parallel, usize::from);
    finish(session, &prepared, &plan, &uids, parallel).await
}

/// The saved plan, when the only path is one.
fn saved_plan(paths: &[PathBuf]) -> Result<Option<PlanFile>> {
    let [path] = paths else { return Ok(None) };
    if !path.is_file() || path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
        return Ok(None);
    }
    let looks = std::fs::read(path).is_ok_and(|bytes| PlanFile::looks_like(&bytes));
    Ok(if looks { Some(PlanFile::read(path)?) } else { None })
}

/// Makes the saved plan again and refuses when it comes out different.
async fn bound(session: &Session, file: PlanFile, ledger: crate::engine::records::Ledger) -> Result<(Prepared, Plan)> {
    file.check_sources()?;
    let catalog = file.catalog()?;
    let accepted = ledger.accepted().await?;
    let world = session.world();
    let live = session.observe(&world, &catalog).await?.knowing(&accepted.facts);
    let prepared = Prepared {
        catalog,
        order: file.order.clone(),
        remove: file.remove.clone(),
        live,
        options: file.plan.options,
        loaded: None,
        accepted,
        unfinished: Unfinished::read(&ledger).await?,
        ledger: Some(ledger),
        world: Some(world),
    };
    let plan = prepared.plan();
    let help = "make the plan again with `reeve plan … --out FILE`, and read it";
    file.plan.still(&plan).map_err(|stale| stale.help(help))?;
    Ok((prepared, plan))
}

/// Accepts the manifests in force for this run; from here on each has a UID.
pub async fn accept(prepared: &Prepared, paths: &[PathBuf]) -> Result<BTreeMap<Ref, Uid>> {
    let Some(ledger) = &prepared.ledger else { return Ok(BTreeMap::new()) };
    Ok(ledger.accept(&accepted(prepared, paths)).await?)
}

/// What is to be accepted for this run.
fn accepted(prepared: &Prepared, paths: &[PathBuf]) -> Vec<Acceptance> {
    let sources = Sources::of(paths);
    let source = |resource: &Resource| resource.places.file.as_deref().and_then(|f| sources.find(f));
    Acceptance::all(&prepared.order, &prepared.catalog, &prepared.live, source)
}

/// The paths given, and the names they are remembered by.
struct Sources(Vec<(PathBuf, String)>);

impl Sources {
    fn of(paths: &[PathBuf]) -> Self {
        Self(paths.iter().map(|p| (p.clone(), source_name(p))).collect())
    }

    fn find(&self, file: &str) -> Option<String> {
        self.0.iter().find(|(p, _)| Path::new(file).starts_with(p)).map(|(_, name)| name.clone())
    }
}

/// Carries the plan out, clears what an earlier run left, and says what happened.
pub async fn finish(
    session: &Session,
    prepared: &Prepared,
    plan: &Plan,
    uids: &BTreeMap<Ref, Uid>,
    parallel: usize,
) -> Result {
    let (Some(ledger), Some(world)) = (&prepared.ledger, &prepared.world) else {
        return Err(CliError::new("a plan made against a file cannot be applied here"));
    };
    let stop = AtomicBool::new(false);
    let who = who();
    let bars = Bars::new(session.terminal, plan.steps.len());
    let run = Run {
        world,
        ledger,
        catalog: &prepared.catalog,
        live: &prepared.live,
        uids,
        who: &who,
        parallel,
        stop: &stop,
        progress: &bars,
    };
    let work = async {
        let failed = recover::finish_deletes(&run, &prepared.unfinished).await;
        let report = |outcome: &Outcome| bars.done(&describe(outcome, session.paint));
        let outcomes = execute(&run, plan, &report).await;
        let cleared = recover::clear(&run, &prepared.unfinished, &outcomes).await;
        (outcomes, failed.into_iter().chain(cleared).collect::<Vec<_>>())
    };
    tokio::pin!(work);
    let (outcomes, recovery) = loop {
        tokio::select! {
            done = &mut work => break done,
            signal = tokio::signal::ctrl_c(), if !stop.load(Ordering::Relaxed) => {
                if signal.is_ok() {
                    stop.store(true, Ordering::Relaxed);
                    bars.say("Stopping: steps that have begun are finished, no other begins.");
                }
            }
        }
    };
    bars.finish();
    for (reference, fault) in &recovery {
        eprintln!("{}: what an earlier run left could not be cleared: {fault}", reference);
    }
    Ok(summary(&outcomes, &recovery, session))
}

/// Says how many steps ended how, and gives the exit status for that.
pub fn summary(outcomes: &[Outcome], recovery: &[(Ref, Fault)], session: &Session) -> Exit {
    let count = |f: fn(&Ending) -> bool| outcomes.iter().filter(|o| f(&o.ending)).count();
    let done = count(|e| matches!(e, Ending::Done));
    let waits = count(|e| matches!(e, Ending::Waits(_)));
    let blocked = count(|e| matches!(e, Ending::Blocked(_)));
    let failed = count(|e| matches!(e, Ending::Failed(_))) + recovery.len();
    let skipped = count(|e| matches!(e, Ending::Skipped(_)));
    let mut parts = vec![format!("{done} done")];
    for (n, word) in [(waits, "waiting"), (blocked, "blocked"), (failed, "failed"), (skipped, "not begun")] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    println!("{}", session.paint.strong(&format!("Applied: {}.", parts.join(", "))));
    if failed > 0 {
        Exit::Error
    } else if waits + blocked + skipped > 0 {
        Exit::Changes
    } else {
        Exit::Done
    }
}

/// One line on what became of a resource.
pub fn describe(outcome: &Outcome, paint: render::paint::Paint) -> String {
    let name = &outcome.resource;
    match &outcome.ending {
        Ending::Done => {
            let word = match outcome.action {
                Action::Create => "created",
                Action::Update => "updated",
                Action::Delete => "deleted",
            };
            format!("{} {name}: {word}", paint.good("✓"))
        }
        Ending::Waits(why) => format!("{} {name}: waits: {why}", paint.warn("·")),
        Ending::Blocked(why) => format!("{} {name}: blocked: {why}", paint.bad("!")),
        Ending::Failed(fault) => {
            let help = fault.help.as_deref().map(|h| format!("\n    help: {h}")).unwrap_or_default();
            format!("{} {name}: failed: {fault}{help}", paint.bad("✗"))
        }
        Ending::Skipped(why) => format!("{} {name}: not begun: {why}", paint.warn("·")),
    }
}

/// Asks a person; without a terminal nobody can answer.
pub fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::with_help("nobody can be asked: standard input is no terminal", "add --yes to go ahead"));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Who runs this, for the record.
pub fn who() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    let id = rustix::process::getuid().as_raw();
    if user.is_empty() { format!("uid {id}") } else { user }
}

/// What `apply` allows when nothing is said.
pub fn defaults() -> Allow {
    Allow { allow: crate::base::Disruption::Live, prune: false, prune_all: false }
}
