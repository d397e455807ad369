//! The spine for a request: text to manifests, to a plan, to a task that carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Api;
use super::asked::Asked;
use super::node::Node;
use super::problem::{Finding, Problem};
use super::tasks::Job;
use super::types::{TaskState, Wish};
use crate::base::{Diagnostics, Disruption, Fault, FaultKind, Uid};
use crate::engine::execute::{Ending, Outcome, Run, execute};
use crate::engine::observe::observe;
use crate::engine::records::Acceptance;
use crate::engine::recover::{self, Unfinished};
use crate::kinds::{Catalog, Options, Ref, Resource};
use crate::manifest;
use crate::plan::desired::{self, Desired};
use crate::plan::file::PlanFile;
use crate::plan::live::{Known, LiveState};
use crate::plan::make::{Goal, make};
use crate::plan::model::Plan;

/// The name under which the body of a request is reported.
const REQUEST: &str = "<request>";

/// What a task shall bring about, checked as far as it can be without looking at the world.
pub enum Work {
    /// What a wish says; it is read again when its turn comes, over what is accepted then.
    Wish(Wish),
    /// Exactly this plan.
    Saved(Box<PlanFile>, BTreeMap<Ref, String>),
    /// Something of one resource, apart from any plan.
    Asked(Asked),
}

/// A wish, checked against what was accepted.
pub struct Goals {
    catalog: Catalog,
    order: Vec<Ref>,
    remove: Vec<Ref>,
    options: Options,
    /// Problems that do not stop it.
    pub warnings: Vec<Finding>,
}

/// A plan and all that it was made from.
pub struct Prepared {
    unfinished: Unfinished,
    catalog: Catalog,
    order: Vec<Ref>,
    remove: Vec<Ref>,
    live: LiveState,
    /// Where manifests came from, as far as that was told.
    sources: BTreeMap<Ref, String>,
    /// The plan.
    pub plan: Plan,
}

/// Reads manifests over what was accepted; every problem at once.
pub fn read(text: &str, base: &Catalog) -> Result<(Desired, Vec<Finding>), Problem> {
    let loaded = manifest::load_str(REQUEST, text);
    let (desired, found) = Desired::build(&loaded, base);
    let mut all: Diagnostics = loaded.diagnostics.clone();
    all.extend(found.0);
    all.sort();
    if all.has_errors() {
        return Err((&all).into());
    }
    if loaded.resources.is_empty() {
        return Err(Problem::bad("the request has no manifest"));
    }
    Ok((desired, all.0.iter().map(Finding::from).collect()))
}

impl Goals {
    /// What a wish comes to.
    pub async fn of(node: &dyn Node, wish: Wish) -> Result<Self, Problem> {
        let Wish { manifests, delete, destroy_data, allow } = wish;
        let accepted = node.ledger().accepted().await?;
        if allow == Some(Disruption::Destroy) {
            return Err(Problem::bad("`destroy` cannot be allowed")
                .help("data is destroyed only by a delete with `destroyData`"));
        }
        let usual = if delete.is_empty() { node.allow() } else { Disruption::Restart };
        let options = Options { allow: allow.unwrap_or(usual), destroy_data };
        let base = accepted.catalog;
        let (catalog, order, warnings) = match manifests {
            Some(text) => {
                let (desired, warnings) = tokio::task::block_in_place(|| read(&text, &base))?;
                (desired.catalog, desired.order, warnings)
            }
            None if delete.is_empty() => (base.clone(), desired::order(&base), Vec::new()),
            None => (base.clone(), Vec::new(), Vec::new()),
        };
        if let Some(both) = delete.iter().find(|r| order.contains(r)) {
            return Err(Problem::bad(format!("{both} is asked for and to be deleted, both")));
        }
        let mut remove = desired::order(&base);
        remove.retain(|r| delete.contains(r));
        let known: BTreeSet<Ref> = remove.iter().cloned().collect();
        remove.extend(delete.into_iter().filter(|r| !known.contains(r)));
        Ok(Self { catalog, order, remove, options, warnings })
    }
}

impl Prepared {
    /// Looks at the world and makes the plan.
    pub async fn of(node: &dyn Node, goals: Goals) -> Result<Self, Fault> {
        let Goals { catalog, order, remove, options, warnings: _ } = goals;
        let unfinished = left_of(node, &order.iter().chain(&remove).cloned().collect()).await?;
        let prepared = Self::look(node, catalog, order, remove, options, unfinished).await?;
        let live = &prepared.live;
        let gone = |r: &&Ref| matches!(live.get(r), Known::Absent) && !live.accepted.contains_key(r);
        if let Some(missing) = prepared.remove.iter().find(gone) {
            return Err(Fault::new(FaultKind::NotFound, format!("{missing} is not there")));
        }
        Ok(prepared)
    }

    /// Makes a saved plan again, and refuses when it comes out different.
    async fn bound(node: &dyn Node, file: PlanFile) -> Result<Self, Fault> {
        let catalog = file.catalog()?;
        let PlanFile { plan, order, remove, .. } = file;
        let unfinished = left_of(node, &plan.steps.iter().map(|step| step.resource.clone()).collect()).await?;
        let prepared = Self::look(node, catalog, order, remove, plan.options, unfinished).await?;
        plan.still(&prepared.plan).map_err(|stale| stale.help("make the plan again, and read it"))?;
        Ok(prepared)
    }

    async fn look(
        node: &dyn Node,
        catalog: Catalog,
        order: Vec<Ref>,
        remove: Vec<Ref>,
        options: Options,
        unfinished: Unfinished,
    ) -> Result<Self, Fault> {
        let accepted = node.ledger().accepted().await?;
        let live = observe(node.world(), &catalog).await.knowing(&accepted.facts);
        let plan = make(&Goal { catalog: &catalog, order: &order, remove: &remove, options }, &live);
        Ok(Self { unfinished, catalog, order, remove, live, sources: BTreeMap::new(), plan })
    }

    /// The plan with all it was made from.
    pub fn saved(&self) -> PlanFile {
        PlanFile::new(&self.plan, &self.catalog, &self.order, &self.remove, &[])
    }

    /// Accepts what is to be brought about; from here on each has a UID.
    async fn accept(&self, node: &dyn Node) -> Result<BTreeMap<Ref, Uid>, Fault> {
        let source = |resource: &Resource| self.sources.get(&resource.reference()).cloned();
        node.ledger().accept(&Acceptance::all(&self.order, &self.catalog, &self.live, source)).await
    }

    async fn execute(&self, node: &dyn Node, job: &Job, who: &str) -> Result<(Vec<Outcome>, Vec<(Ref, Fault)>), Fault> {
        let uids = self.accept(node).await?;
        let run = Run {
            world: node.world(),
            ledger: node.ledger(),
            catalog: &self.catalog,
            live: &self.live,
            uids: &uids,
            who,
            parallel: node.parallel(),
            stop: &job.stop,
            progress: job,
        };
        let mut left: Vec<(Ref, Fault)> = recover::finish_deletes(&run, &self.unfinished).await.into_iter().collect();
        let outcomes = execute(&run, &self.plan, &|outcome| job.report(outcome)).await;
        left.extend(recover::clear(&run, &self.unfinished, &outcomes).await);
        Ok((outcomes, left))
    }
}

/// What was left unfinished of these resources; somebody may be at work on others.
async fn left_of(node: &dyn Node, resources: &BTreeSet<Ref>) -> Result<Unfinished, Fault> {
    let mut unfinished = Unfinished::read(node.ledger()).await?;
    unfinished.deletes.retain(|begun| resources.contains(&begun.reference));
    unfinished.effects.retain(|effect| effect.resource.parse().is_ok_and(|r: Ref| resources.contains(&r)));
    Ok(unfinished)
}

/// Starts the work as a task, which goes on when its client leaves.
pub fn start(api: &Api, work: Work, what: &str, who: &str) -> Result<Arc<Job>, Problem> {
    if api.closing() {
        return Err(Problem::busy("the agent ends"));
    }
    let job = api.tasks().begin(what, who, api.node().ledger().now())?;
    let (api, task, who) = (api.clone(), Arc::clone(&job), who.to_owned());
    tokio::spawn(async move {
        let ended = carry_out(&api, work, &task, &who).await;
        let at = api.node().ledger().now();
        task.say(|t| {
            t.ended = Some(at);
            t.progress.clear();
            match ended {
                Ok(state) => t.state = state,
                Err(problem) => {
                    t.state = TaskState::Failed;
                    t.error = Some(problem);
                }
            }
        });
    });
    Ok(job)
}

async fn carry_out(api: &Api, work: Work, job: &Job, who: &str) -> Result<TaskState, Problem> {
    let node = api.node();
    begin(job)?;
    let (prepared, held) = match work {
        Work::Wish(wish) => {
            let goals = Goals::of(node, wish).await?;
            let held = node.hold(goals.order.iter().chain(&goals.remove).cloned().collect()).await;
            job.say(|t| t.state = TaskState::Running);
            (Prepared::of(node, goals).await?, held)
        }
        Work::Saved(file, sources) => {
            let held = node.hold(file.plan.steps.iter().map(|step| step.resource.clone()).collect()).await;
            job.say(|t| t.state = TaskState::Running);
            (Prepared { sources, ..Prepared::bound(node, *file).await? }, held)
        }
        Work::Asked(asked) => return ask(node, &asked, job, who).await,
    };
    begin(job)?;
    job.say(|t| {
        t.plan = Some(prepared.plan.hash.clone());
        t.steps = prepared.plan.steps.len();
    });
    let (outcomes, left) = prepared.execute(node, job, who).await?;
    let touched: Vec<Ref> = prepared.order.iter().chain(&prepared.remove).cloned().collect();
    node.changed(&touched);
    drop(held);
    let failed = !left.is_empty() || outcomes.iter().any(|o| matches!(o.ending, Ending::Failed(_)));
    job.say(|t| t.left = left.into_iter().map(|(r, fault)| (r.to_string(), fault.message)).collect());
    let done = outcomes.iter().all(|o| matches!(o.ending, Ending::Done));
    Ok(match (failed, done) {
        (true, _) => TaskState::Failed,
        (false, true) => TaskState::Done,
        (false, false) => TaskState::Unconverged,
    })
}

/// Does what is asked of one resource while nobody else works on it.
async fn ask(node: &dyn Node, asked: &Asked, job: &Job, who: &str) -> Result<TaskState, Problem> {
    let (resource, _) = asked.of();
    let held = node.hold(BTreeSet::from([resource.clone()])).await;
    begin(job)?;
    job.say(|t| (t.state, t.steps) = (TaskState::Running, 1));
    let outcome = asked.carry_out(node, job, who).await?;
    job.report(&outcome);
    node.changed(&[resource]);
    drop(held);
    Ok(if outcome.converged() { TaskState::Done } else { TaskState::Failed })
}

/// Refuses when the task was cancelled before it began.
fn begin(job: &Job) -> Result<(), Fault> {
    match job.stop.load(std::sync::atomic::Ordering::SeqCst) {
        true => Err(Fault::new(FaultKind::Cancelled, "it was cancelled before it began")),
        false => Ok(()),
    }
}
