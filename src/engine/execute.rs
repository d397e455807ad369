//! Carries a plan out: steps in the order of references, several at once, each one's failure its own.
//!
//! Guests that start or stop wait for their turn as well. Between two turns is a gate, where the delay of those before it
//! passes; a gate opens once they all have ended, however they ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::journal::StoreJournal;
use super::records::{BegunDelete, Ledger};
use crate::base::{Fault, Uid};
use crate::kinds::{Catalog, Metadata, Progress, Ref, Resource, Scope, Task, World};
use crate::plan::live::LiveState;
use crate::plan::model::{Action, Plan, Readiness, Step};
use crate::plan::overrides::over;
use crate::plan::turns::{self, Gate};

/// How long what was done may stay unwritten while nothing else is written.
const SOON: Duration = Duration::from_millis(200);

/// Everything a run needs.
pub struct Run<'a> {
    /// The world.
    pub world: &'a World,
    /// The engine's records.
    pub ledger: &'a Ledger,
    /// The manifests in force.
    pub catalog: &'a Catalog,
    /// What was observed when the plan was made.
    pub live: &'a LiveState,
    /// The identifiers of the resources.
    pub uids: &'a BTreeMap<Ref, Uid>,
    /// Who asked for it, for the record.
    pub who: &'a str,
    /// How many steps may run at once.
    pub parallel: usize,
    /// Set when no further step may begin.
    pub stop: &'a AtomicBool,
    /// Progress for people.
    pub progress: &'a dyn Progress,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// It was done whole.
    Done,
    /// What may be done now was done; the rest waits for what is said.
    Waits(String),
    /// It must not be done, for this reason.
    Blocked(String),
    /// It failed.
    Failed(Fault),
    /// It was not begun, for this reason.
    Skipped(String),
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The resource.
    pub resource: Ref,
    /// What was to be done.
    pub action: Action,
    /// What became of it.
    pub ending: Ending,
}

impl Outcome {
    /// Whether the resource is as it shall be, or as much as may be now.
    pub fn converged(&self) -> bool {
        matches!(self.ending, Ending::Done | Ending::Waits(_))
    }
}

/// Does what the plan says; gives what became of each step, in the plan's order.
pub async fn execute(run: &Run<'_>, plan: &Plan, report: &(dyn Fn(&Outcome) + Sync)) -> Vec<Outcome> {
    let catalog = over(run.catalog, &run.live.accepted);
    let run = &Run { catalog: &catalog, ..*run };
    let gates = turns::gates(&plan.steps);
    let mut waiting = Waiting::new(&plan.steps, &gates);
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut busy = FuturesUnordered::new();
    let mut working = 0;
    loop {
        while let Some(index) = waiting.next(working < run.parallel) {
            working += usize::from(index < plan.steps.len());
            let gate = index.checked_sub(plan.steps.len()).and_then(|gate| gates.get(gate));
            let delay = gate.map(|gate| gate.delay(&plan.steps, |step| moved(&plan.steps, &outcomes, step)));
            busy.push(async move {
                match delay {
                    Some(delay) => (index, pause(run, delay).await),
                    None => (index, Some(one(run, plan, &plan.steps[index]).await)),
                }
            });
        }
        let Some((index, outcome)) = next(run, &mut busy).await else { break };
        let Some(outcome) = outcome else {
            waiting.done(index);
            continue;
        };
        working -= 1;
        report(&outcome);
        let lost = if outcome.converged() { waiting.done(index) } else { waiting.lost(index, &plan.steps) };
        outcomes.insert(index, outcome);
        for (index, cause) in lost {
            let step = &plan.steps[index];
            let outcome = Outcome {
                resource: step.resource.clone(),
                action: step.action,
                ending: Ending::Skipped(format!("{cause} did not get done")),
            };
            report(&outcome);
            outcomes.insert(index, outcome);
        }
    }
    settle(run).await;
    outcomes.into_values().collect()
}

/// The next step or gate that ends; what the last ones left to write is durable soon, however long it takes.
async fn next<F: Future<Output = (usize, Option<Outcome>)>>(
    run: &Run<'_>,
    busy: &mut FuturesUnordered<F>,
) -> Option<(usize, Option<Outcome>)> {
    match tokio::time::timeout(SOON, busy.next()).await {
        Ok(ended) => ended,
        Err(_) => {
            settle(run).await;
            busy.next().await
        }
    }
}

/// Makes results and events durable. Where that fails, the effects are looked at again by the next run.
async fn settle(run: &Run<'_>) {
    if let Err(fault) = run.ledger.settle().await {
        tracing::warn!(%fault, "what was done could not be recorded");
    }
}

/// Whether a step was begun and went well, so that its guest was started or stopped.
fn moved(steps: &[Step], outcomes: &BTreeMap<usize, Outcome>, index: usize) -> bool {
    let acted = matches!(steps[index].readiness, Readiness::Ready | Readiness::Partly(_));
    acted && outcomes.get(&index).is_some_and(Outcome::converged)
}

/// Waits at a gate; no longer when the run is stopped.
async fn pause(run: &Run<'_>, delay: Duration) -> Option<Outcome> {
    let mut left = delay;
    while !left.is_zero() && !run.stop.load(Ordering::Relaxed) {
        let part = left.min(Duration::from_secs(1));
        run.world.clock.sleep(part).await;
        left -= part;
    }
    None
}

/// Which steps may begin, and which gates; a gate has a number behind those of the steps.
struct Waiting {
    /// For each of them, what it still waits for.
    needs: Vec<BTreeSet<usize>>,
    /// For each of them, what waits for it.
    wanted_by: Vec<Vec<usize>>,
    ready: VecDeque<usize>,
    /// Gates at which the waiting can begin.
    open: VecDeque<usize>,
    steps: usize,
}

impl Waiting {
    fn new(steps: &[Step], gates: &[Gate]) -> Self {
        let index: BTreeMap<&Ref, usize> = steps.iter().enumerate().map(|(i, s)| (&s.resource, i)).collect();
        let mut needs: Vec<BTreeSet<usize>> =
            steps.iter().map(|s| s.after.iter().filter_map(|r| index.get(r).copied()).collect()).collect();
        for (number, gate) in gates.iter().enumerate() {
            for step in &gate.behind {
                needs[*step].insert(steps.len() + number);
            }
            let previous = gate.previous.map(|previous| steps.len() + previous);
            needs.push(gate.before.iter().copied().chain(previous).collect());
        }
        let mut wanted_by = vec![Vec::new(); needs.len()];
        for (i, need) in needs.iter().enumerate() {
            need.iter().for_each(|n| wanted_by[*n].push(i));
        }
        let ready = (0..steps.len()).filter(|i| needs[*i].is_empty()).collect();
        Self { needs, wanted_by, ready, open: VecDeque::new(), steps: steps.len() }
    }

    /// The next gate, or else, when there is `room` for one, the next step.
    fn next(&mut self, room: bool) -> Option<usize> {
        self.open.pop_front().or_else(|| if room { self.ready.pop_front() } else { None })
    }

    /// Takes `cause` from what `waiter` waits for.
    fn release(&mut self, waiter: usize, cause: usize) {
        self.needs[waiter].remove(&cause);
        if self.needs[waiter].is_empty() {
            if waiter < self.steps { &mut self.ready } else { &mut self.open }.push_back(waiter);
        }
    }

    fn done(&mut self, index: usize) -> Vec<(usize, Ref)> {
        for waiter in std::mem::take(&mut self.wanted_by[index]) {
            self.release(waiter, index);
        }
        Vec::new()
    }

    /// The steps that cannot be done because `index` was not: those that make something on it, or remove what it uses.
    fn lost(&mut self, index: usize, steps: &[Step]) -> Vec<(usize, Ref)> {
        let mut lost = Vec::new();
        let mut from = vec![index];
        while let Some(cause) = from.pop() {
            for waiter in std::mem::take(&mut self.wanted_by[cause]) {
                let hopeless = steps.get(waiter).is_some_and(|step| step.action != Action::Update);
                let already = self.needs[waiter].contains(&usize::MAX);
                if hopeless && !already {
                    self.needs[waiter].insert(usize::MAX);
                    lost.push((waiter, steps[cause].resource.clone()));
                    from.push(waiter);
                } else if !already {
                    self.release(waiter, cause);
                }
            }
        }
        lost
    }
}

async fn one(run: &Run<'_>, plan: &Plan, step: &Step) -> Outcome {
    let ending = match &step.readiness {
        Readiness::Blocked(why) => Ending::Blocked(why.clone()),
        Readiness::Pending(why) => Ending::Waits(why.clone()),
        _ if run.stop.load(Ordering::Relaxed) => Ending::Skipped("the run was stopped before it began".into()),
        Readiness::Ready | Readiness::Partly(_) => match act(run, plan, step).await {
            Ok(()) => match &step.readiness {
                Readiness::Partly(why) => Ending::Waits(why.clone()),
                _ => Ending::Done,
            },
            Err(fault) => Ending::Failed(fault),
        },
    };
    let outcome = Outcome { resource: step.resource.clone(), action: step.action, ending };
    if let Err(fault) = remember(run, plan, step, &outcome) {
        tracing::warn!(resource = %step.resource, %fault, "the event could not be recorded");
    }
    outcome
}

fn remember(run: &Run<'_>, plan: &Plan, step: &Step, outcome: &Outcome) -> Result<(), Fault> {
    let what = match (&outcome.ending, step.action) {
        (Ending::Done, Action::Create) => "created".to_owned(),
        (Ending::Done, Action::Update) => "updated".to_owned(),
        (Ending::Done, Action::Delete) => "deleted".to_owned(),
        (Ending::Waits(why), _) if !matches!(step.readiness, Readiness::Pending(_)) => {
            format!("updated in part: {why}")
        }
        (Ending::Failed(fault), _) => format!("failed: {fault}"),
        _ => return Ok(()),
    };
    run.ledger.event_later(&step.resource, run.who, &what, &step.reason, Some(&plan.hash))
}

async fn act(run: &Run<'_>, plan: &Plan, step: &Step) -> Result<(), Fault> {
    let journal = StoreJournal::patient(run.ledger, &plan.hash);
    let reference = &step.resource;
    let lookup = |r: &Ref| run.live.present(r);
    let resource = run.catalog.get(reference);
    let named = Metadata::named(reference.name.clone());
    let uid = uid_of(run, reference)?;
    let task = Task {
        world: run.world,
        scope: Scope::with_live(run.catalog, &lookup),
        reference,
        meta: resource.map_or(&named, |r| &r.meta),
        uid,
        options: plan.options,
        journal: &journal,
        progress: run.progress,
    };
    let missing = || Fault::other(format!("{reference} is in no manifest"));
    let gone = || Fault::other(format!("{reference} was seen when the plan was made and is not known now"));
    match step.action {
        Action::Create => resource.ok_or_else(missing)?.spec.create(&task).await,
        Action::Update => {
            let live = run.live.present(reference).ok_or_else(gone)?;
            resource.ok_or_else(missing)?.spec.update(&task, live, &step.fields).await
        }
        Action::Delete => delete(run, &task, resource.cloned()).await,
    }
}

fn uid_of(run: &Run<'_>, reference: &Ref) -> Result<Uid, Fault> {
    let marked = || run.live.present(reference).and_then(|l| l.have().mark).map(|m| m.uid);
    let accepted = || run.live.accepted.get(reference).map(|a| a.uid);
    run.uids
        .get(reference)
        .copied()
        .or_else(accepted)
        .or_else(marked)
        .ok_or_else(|| Fault::other(format!("{reference} was never accepted and carries no mark")))
}

async fn delete(run: &Run<'_>, task: &Task<'_>, manifest: Option<Arc<Resource>>) -> Result<(), Fault> {
    let begun = BegunDelete {
        reference: task.reference.clone(),
        uid: task.uid,
        destroy_data: task.options.destroy_data,
        manifest,
    };
    super::crash::point("before tombstone");
    run.ledger.begin_delete(&begun, run.who).await?;
    super::crash::point("after tombstone");
    if let Some(live) = run.live.present(task.reference) {
        live.delete(task).await?;
    }
    super::crash::point("before tombstone is closed");
    run.ledger.finish_delete(task.reference, task.uid).await
}
