//! The work on one key: the spine for one resource, from state, every time.
//!
//! ```text
//! what is wanted of it?  a manifest -> bring    a begun delete -> finish it    pruned -> remove    nothing -> forget
//! bring   look at it and at what it names -> plan::make over all of them -> its own step of that plan
//!         what it names comes first -> wait    blocked, pending -> tell    else execute, look again, tell
//! ```
//!
//! After a change the key is looked at again, so that what is told is what was seen and not what was hoped for. A
//! change that was carried out and is still to be made has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Agent;
use super::queue::{Job, Moment, Verdict};
use super::wanted::Wanted;
use crate::base::{Fault, Uid};
use crate::engine::execute::{Ending, Run, execute};
use crate::engine::publish::{Aspect, Stage, View, conditions};
use crate::engine::recover::{self, Unfinished};
use crate::kinds::vm::Reconcile;
use crate::kinds::{KindName, Progress, Ref, Scope};
use crate::plan::live::{Known, LiveState};
use crate::plan::make::{Goal, belongs, make};
use crate::plan::model::{Action, Moves, Plan, Readiness, Step};
use crate::plan::turns;

/// Who the agent is in events.
pub const WHO: &str = "agent";

/// How long after a change the resource is looked at again.
const AGAIN: Duration = Duration::ZERO;

/// Shows progress to nobody.
struct Quiet;

impl Progress for Quiet {
    fn step(&self, resource: &Ref, what: &str, done: u64, total: u64) {
        tracing::trace!(%resource, what, done, total);
    }
}

/// Does what is to be done for one key now.
pub async fn work(agent: &Agent, job: &Job<Ref>) -> Verdict {
    agent.counters().looked();
    let key = &job.key;
    let alone;
    let done = {
        let mut notes = agent.notes();
        alone = notes.told.remove(key);
        (notes.deleting.contains(key), notes.pruned().contains(key))
    };
    let wanted = agent.wanted();
    if done != (false, false) || wanted.get(key).is_none() {
        agent.had_turn(key, false);
    }
    let result = match done {
        (true, _) => finish_delete(agent, job).await,
        (_, true) => remove(agent, job, &wanted).await,
        _ if wanted.get(key).is_some() => bring(agent, job, &wanted, alone).await,
        _ => forget(agent, key).await,
    };
    result.unwrap_or_else(|fault| {
        agent.counters().failed();
        tracing::warn!(resource = %key, failures = job.failures, %fault, "it could not be worked on");
        Verdict::Retry
    })
}

/// What is known of these resources, each kind looked at as late as it must be.
///
/// With `alone` only that one of its kind is looked at, where that is enough.
async fn look(
    agent: &Agent,
    wanted: &Wanted,
    order: &[Ref],
    own: KindName,
    since: Moment,
    alone: Option<&Ref>,
) -> LiveState {
    let world = agent.world();
    let mut live = LiveState::empty(world.node.clone(), world.clock.now());
    // What others are like may be as old as the last full look, unless it was touched since.
    let old = world.clock.elapsed().saturating_sub(agent.0.settings.resync);
    let mut kinds: BTreeSet<KindName> = order.iter().map(|r| r.kind).collect();
    let only = alone.filter(|_| order.iter().filter(|r| r.kind == own).count() == 1);
    if let Some(key) = only
        && let Some(seen) = agent.0.looks.alone(key, world, &wanted.set.catalog).await
    {
        live.resources.insert(key.clone(), seen);
        kinds.remove(&own);
    }
    for kind in kinds {
        let since = if kind == own { since } else { old };
        let names = order.iter().filter(|r| r.kind == kind).map(|r| &r.name);
        let Some((look, again)) = agent.0.looks.after(kind, names, since, world, &wanted.set.catalog).await else {
            continue;
        };
        if again {
            wanted.all().filter(|r| r.kind == kind).for_each(|r| agent.urge(&r));
        }
        order.iter().filter(|r| r.kind == kind).for_each(|r| look.tell(r, &mut live));
    }
    let facts = order.iter().filter_map(|r| Some((r.clone(), wanted.set.facts.get(r)?.clone())));
    live.accepted.extend(facts);
    live
}

/// Brings a resource to its manifest.
async fn bring(agent: &Agent, job: &Job<Ref>, wanted: &Arc<Wanted>, alone: bool) -> Result<Verdict, Fault> {
    let key = &job.key;
    let policy = policy(agent, wanted, key);
    if policy == Reconcile::Suspend {
        agent.had_turn(key, false);
        return Ok(Verdict::Done);
    }
    let order = wanted.closure(key);
    let live = look(agent, wanted, &order, key.kind, job.since, alone.then_some(key)).await;
    let catalog = &wanted.set.catalog;
    let options = agent.options();
    let plan = make(&Goal { catalog, order: &order, remove: &[], options }, &live);
    let Some(step) = plan.steps.iter().find(|s| s.resource == *key) else {
        agent.had_turn(key, false);
        return unchanged(agent, key, wanted, &live).await;
    };
    let step = &held(step, policy);
    let told = Told { agent, key, wanted, live: &live };
    if policy == Reconcile::Enforce
        && let Some(first) = comes_first(agent, wanted, &plan, step)
    {
        agent.hint(&first);
        told.publish(Some(step), Stage::Waits(first)).await?;
        return Ok(Verdict::Done);
    }
    match &step.readiness {
        Readiness::Blocked(_) | Readiness::Pending(_) => {
            agent.notes().tried.remove(key);
            told.publish(Some(step), Stage::Settled).await?;
            let unknown = order.iter().any(|r| matches!(live.get(r), Known::Unknown(_)));
            if !unknown {
                agent.had_turn(key, false);
            }
            Ok(if unknown { Verdict::Retry } else { Verdict::Done })
        }
        Readiness::Ready | Readiness::Partly(_) => {
            let starts = turns::moves(step, &live, options) == Some(Moves::Start);
            if starts && agent.waits_for_turn(key) {
                told.publish(Some(step), Stage::WaitsForTurn).await?;
                return Ok(Verdict::Done);
            }
            let verdict = carry_out(&told, &plan.only(key), step).await;
            agent.had_turn(key, starts && matches!(verdict, Ok(Verdict::After(_))));
            verdict
        }
    }
}

/// What is done about differences of a resource, as the source says that it came from.
pub fn policy(agent: &Agent, wanted: &Wanted, key: &Ref) -> Reconcile {
    let source = wanted.set.facts.get(key).and_then(|facts| facts.source.as_ref());
    source.and_then(|source| agent.0.settings.policies.get(source)).copied().unwrap_or(Reconcile::Enforce)
}

/// The step as it is where its source's policy lets nothing be done.
fn held(step: &Step, policy: Reconcile) -> Step {
    let mut step = step.clone();
    if policy != Reconcile::Enforce && acts(&step) {
        step.readiness = Readiness::Pending(format!("its source says `reconcile: {policy:?}`"));
    }
    step
}

/// Whether a step would do anything.
fn acts(step: &Step) -> bool {
    matches!(step.readiness, Readiness::Ready | Readiness::Partly(_))
}

/// Nothing differs: what an earlier attempt left is cleared, and all is well.
async fn unchanged(agent: &Agent, key: &Ref, wanted: &Arc<Wanted>, live: &LiveState) -> Result<Verdict, Fault> {
    agent.notes().tried.remove(key);
    let lookup = |r: &Ref| live.present(r);
    let scope = Scope::with_live(&wanted.set.catalog, &lookup);
    if wanted.get(key).is_some_and(|resource| !belongs(resource, &scope, live)) {
        return forget(agent, key).await;
    }
    clear(agent, key, wanted, live).await?;
    Told { agent, key, wanted, live }.publish(None, Stage::Settled).await?;
    Ok(Verdict::Done)
}

/// Another resource whose own step has to be done before this one.
fn comes_first(agent: &Agent, wanted: &Wanted, plan: &Plan, step: &Step) -> Option<Ref> {
    let mut first = plan.steps.iter().filter(|s| step.after.contains(&s.resource)).filter(|s| acts(s));
    // What exists already need not wait for something that fails, and may be in order as it is.
    let hopeless = |s: &Step| step.action == Action::Update && agent.queue().failures(&s.resource) > 0;
    let partly = |s: &Step| s.action == Action::Update && matches!(s.readiness, Readiness::Partly(_));
    // Nor for a difference that its source leaves as it is.
    let left = |s: &Step| s.action == Action::Update && policy(agent, wanted, &s.resource) != Reconcile::Enforce;
    first.find(|s| !hopeless(s) && !partly(s) && !left(s)).map(|s| s.resource.clone())
}

/// Executes a plan of one step, and tells what became of it.
async fn carry_out(told: &Told<'_>, plan: &Plan, step: &Step) -> Result<Verdict, Fault> {
    let Told { agent, key, live, wanted } = *told;
    if agent.notes().tried.remove(key).is_some_and(|tried| tried == plan.hash) {
        let why = format!("it was carried out, and a look afterwards shows the same: {}", step.reason);
        agent.counters().failed();
        told.publish(Some(step), Stage::Failed(why)).await?;
        return Ok(Verdict::Retry);
    }
    told.publish(Some(step), Stage::Working).await?;
    agent.notes().leftovers.insert(key.clone());
    let ending = run(agent, wanted, live, plan).await;
    agent.touch(key);
    match ending {
        Some(Ending::Done | Ending::Waits(_)) => {
            agent.counters().changed();
            let mut notes = agent.notes();
            notes.tried.insert(key.clone(), plan.hash.clone());
            notes.told.insert(key.clone());
            drop(notes);
            wanted.users(key).iter().for_each(|user| agent.urge(user));
            Ok(Verdict::After(AGAIN))
        }
        Some(Ending::Failed(fault)) => {
            agent.counters().failed();
            tracing::warn!(resource = %key, %fault, "it could not be done");
            let help = fault.help.as_deref().map(|h| format!("; {h}")).unwrap_or_default();
            told.publish(Some(step), Stage::Failed(format!("{fault}{help}"))).await?;
            Ok(Verdict::Retry)
        }
        Some(Ending::Blocked(_) | Ending::Skipped(_)) | None => Ok(Verdict::Done),
    }
}

async fn run(agent: &Agent, wanted: &Wanted, live: &LiveState, plan: &Plan) -> Option<Ending> {
    let uids = BTreeMap::new();
    let commit = plan.steps.first().and_then(|step| wanted.set.commits.get(&step.resource));
    let who = commit.map_or(WHO.to_owned(), |commit| format!("{WHO}, commit {}", commit.get(..12).unwrap_or(commit)));
    let run = Run { who: &who, ..run_of(agent, wanted, live, &uids) };
    let outcomes = execute(&run, plan, &|_| ()).await;
    outcomes.into_iter().next().map(|o| o.ending)
}

fn run_of<'a>(agent: &'a Agent, wanted: &'a Wanted, live: &'a LiveState, uids: &'a BTreeMap<Ref, Uid>) -> Run<'a> {
    Run {
        world: agent.world(),
        ledger: agent.ledger(),
        catalog: &wanted.set.catalog,
        live,
        uids,
        who: WHO,
        parallel: 1,
        stop: &agent.0.stop,
        progress: &Quiet,
    }
}

/// Removes a resource that its source has no longer.
async fn remove(agent: &Agent, job: &Job<Ref>, wanted: &Arc<Wanted>) -> Result<Verdict, Fault> {
    let key = &job.key;
    let pruned: Vec<Ref> = agent.notes().pruned().into_iter().collect();
    let order = pruned.iter().filter(|r| wanted.get(r).is_some()).cloned().collect::<Vec<_>>();
    let live = look(agent, wanted, &order, key.kind, job.since, None).await;
    let options = agent.options();
    let plan = make(&Goal { catalog: &wanted.set.catalog, order: &[], remove: &order, options }, &live);
    let Some(step) = plan.steps.iter().find(|s| s.resource == *key) else {
        agent.notes().is_gone(key);
        return forget(agent, key).await;
    };
    let told = Told { agent, key, wanted, live: &live };
    let policy = policy(agent, wanted, key);
    if policy != Reconcile::Enforce {
        told.publish(Some(&held(step, policy)), Stage::Settled).await?;
        return Ok(Verdict::Done);
    }
    if let Some(first) = comes_first(agent, wanted, &plan, step) {
        agent.hint(&first);
        told.publish(Some(step), Stage::Waits(first)).await?;
        return Ok(Verdict::After(Duration::from_secs(1)));
    }
    if let Readiness::Blocked(_) = step.readiness {
        told.publish(Some(step), Stage::Settled).await?;
        return Ok(Verdict::Retry);
    }
    told.publish(Some(step), Stage::Working).await?;
    agent.notes().leftovers.insert(key.clone());
    let ending = run(agent, wanted, &live, &plan.only(key)).await;
    agent.touch(key);
    if let Some(Ending::Failed(fault)) = ending {
        // The tombstone may be there already; then the delete is finished and not planned again.
        agent.notes().deleting.insert(key.clone());
        told.publish(Some(step), Stage::Failed(fault.to_string())).await?;
        return Ok(Verdict::Retry);
    }
    agent.counters().changed();
    agent.notes().is_gone(key);
    pruned.iter().filter(|other| *other != key).for_each(|other| agent.urge(other));
    Ok(Verdict::After(AGAIN))
}

/// Finishes deletes of a resource that were begun.
async fn finish_delete(agent: &Agent, job: &Job<Ref>) -> Result<Verdict, Fault> {
    let key = &job.key;
    let mut deletes = agent.ledger().begun_deletes().await?;
    deletes.retain(|begun| begun.reference == *key);
    let unfinished = Unfinished { deletes, effects: Vec::new() };
    let wanted = agent.wanted();
    let live = LiveState::empty(agent.world().node.clone(), agent.world().clock.now());
    let uids = BTreeMap::new();
    let failed = recover::finish_deletes(&run_of(agent, &wanted, &live, &uids), &unfinished).await;
    agent.touch(key);
    if let Some(fault) = failed.into_values().next() {
        return Err(fault.context(format!("cannot finish the delete of {key}")));
    }
    agent.notes().deleting.remove(key);
    Ok(Verdict::After(AGAIN))
}

/// Nothing is wanted of a resource: what was told of it is taken back.
async fn forget(agent: &Agent, key: &Ref) -> Result<Verdict, Fault> {
    let wanted = agent.wanted();
    let invalid = agent.notes().invalid(key);
    if let Some(why) = invalid {
        // It was never accepted, and a person waits to hear why.
        let view = View {
            known: Known::Absent,
            step: None,
            stage: Stage::Failed(why.clone()),
            invalid: Some(&why),
            window: None,
        };
        agent.ledger().publish(key, conditions(&view)).await?;
        return Ok(Verdict::Done);
    }
    let live = LiveState::empty(agent.world().node.clone(), agent.world().clock.now());
    clear(agent, key, &wanted, &live).await?;
    agent.notes().tried.remove(key);
    agent.ledger().unpublish(key).await?;
    Ok(Verdict::Done)
}

/// Clears what unfinished effects on a resource left, now that it is as it shall be or is no more.
async fn clear(agent: &Agent, key: &Ref, wanted: &Wanted, live: &LiveState) -> Result<(), Fault> {
    if !agent.notes().leftovers.contains(key) {
        return Ok(());
    }
    let name = key.to_string();
    let mut effects = agent.ledger().journal().await?;
    effects.retain(|effect| effect.resource == name);
    let unfinished = Unfinished { deletes: Vec::new(), effects };
    let uids = BTreeMap::new();
    let failed = recover::clear(&run_of(agent, wanted, live, &uids), &unfinished, &[]).await;
    if let Some((_, fault)) = failed.into_iter().next() {
        return Err(fault.context(format!("cannot clear what a broken-off change of {key} left")));
    }
    agent.notes().leftovers.remove(key);
    Ok(())
}

/// What is told of one resource.
#[derive(Clone, Copy)]
struct Told<'a> {
    agent: &'a Agent,
    key: &'a Ref,
    wanted: &'a Arc<Wanted>,
    live: &'a LiveState,
}

impl Told<'_> {
    /// Publishes the conditions, notes an event for what a person should hear, and wakes who depends on it.
    async fn publish(&self, step: Option<&Step>, stage: Stage) -> Result<(), Fault> {
        let Self { agent, key, wanted, live } = *self;
        let invalid = agent.notes().invalid(key);
        let busy = matches!(stage, Stage::Working | Stage::Waits(_) | Stage::WaitsForTurn);
        let class = step.map(|s| s.disruption).unwrap_or_default();
        let window = agent.0.settings.windows.words(class, agent.world().clock.now());
        let (invalid, window) = (invalid.as_deref(), window.as_deref());
        let view = View { known: live.get(key), step, stage, invalid, window };
        let said = conditions(&view);
        let changed = agent.ledger().publish(key, said.clone()).await?;
        for (aspect, truth, _, message) in said {
            if changed.contains(&aspect)
                && truth == crate::engine::publish::Truth::True
                && let Some(what) = worth_an_event(aspect)
            {
                agent.ledger().event(key, WHO, what, &message, None).await?;
            }
        }
        if !busy && (changed.contains(&Aspect::Ready) || changed.contains(&Aspect::Blocked)) {
            wanted.users(key).iter().for_each(|user| agent.hint(user));
        }
        Ok(())
    }
}

fn worth_an_event(aspect: Aspect) -> Option<&'static str> {
    match aspect {
        Aspect::Drifted => Some("drifted"),
        Aspect::Blocked => Some("blocked"),
        Aspect::PendingRestart => Some("waits for a restart"),
        Aspect::Ready | Aspect::Progressing => None,
    }
}
