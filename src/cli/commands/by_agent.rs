//! What a command has planned, done by the agent of this node as a task; it is watched, and goes on when nobody watches.

use std::collections::BTreeSet;
use std::time::Duration;

use super::apply::{describe, summary};
use super::plan::Prepared;
use crate::api::client::Client;
use crate::api::types::{ApplyRequest, StepResult, Task};
use crate::base::Fault;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::progress::Bars;
use crate::cli::session::Session;
use crate::engine::execute::{Ending, Outcome};
use crate::engine::records::Acceptance;
use crate::kinds::{Progress as _, Ref};
use crate::plan::file::PlanFile;
use crate::plan::model::Plan;

/// How often a task is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Has a plan carried out, and says what becomes of it as `apply` does.
pub async fn by_agent(
    session: &Session,
    agent: &Client,
    prepared: &Prepared,
    plan: &Plan,
    accepted: Vec<Acceptance>,
) -> Result {
    let mut task = start(agent, prepared, plan, accepted).await?;
    let bars = Bars::new(session.terminal, plan.steps.len());
    let mut outcomes: Vec<Outcome> = Vec::new();
    loop {
        for (reference, part) in &task.progress {
            if let Ok(reference) = reference.parse::<Ref>() {
                bars.step(&reference, &part.what, part.done, part.total);
            }
        }
        for result in task.results.iter().skip(outcomes.len()) {
            let outcome = outcome(result)?;
            bars.done(&describe(&outcome, session.paint));
            outcomes.push(outcome);
        }
        if task.state.ended() {
            break;
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {
                bars.finish();
                leave(plan, &outcomes, &task);
                return Ok(Exit::Changes);
            }
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        task = agent.task(&task.id).await?;
    }
    bars.finish();
    let recovery = ended(task)?;
    for (reference, fault) in &recovery {
        eprintln!("{reference}: what an earlier run left could not be cleared: {fault}");
    }
    Ok(summary(&outcomes, &recovery, session))
}

/// Has manifests accepted that change nothing.
pub async fn accepted_by(agent: &Client, prepared: &Prepared, plan: &Plan, accepted: Vec<Acceptance>) -> Result<()> {
    let mut task = start(agent, prepared, plan, accepted).await?;
    while !task.state.ended() {
        tokio::time::sleep(LOOK_AGAIN).await;
        task = agent.task(&task.id).await?;
    }
    ended(task).map(drop)
}

/// Waits for a task about one resource that the agent was asked for.
pub async fn asked(session: &Session, mut task: Task) -> std::result::Result<(), Fault> {
    let Some(agent) = session.agent().await else { return Err(Fault::other("the agent is gone")) };
    let bars = Bars::new(session.terminal, 0);
    while !task.state.ended() {
        tokio::time::sleep(LOOK_AGAIN).await;
        task = agent.task(&task.id).await?;
        for (reference, part) in &task.progress {
            if let Ok(reference) = reference.parse::<Ref>() {
                bars.step(&reference, &part.what, part.done, part.total);
            }
        }
    }
    bars.finish();
    match (task.error, task.results.pop()) {
        (Some(problem), _) => Err(problem.into()),
        (None, Some(StepResult { ending, why, help, .. })) if ending == "failed" => {
            Err(Fault { help, ..Fault::other(why.unwrap_or_default()) })
        }
        _ => Ok(()),
    }
}

async fn start(agent: &Client, prepared: &Prepared, plan: &Plan, accepted: Vec<Acceptance>) -> Result<Task> {
    let saved = PlanFile::new(plan, &prepared.catalog, &prepared.order, &prepared.remove, &[]);
    let saved = serde_json::to_value(saved).map_err(|e| CliError::new(format!("the plan cannot be written: {e}")))?;
    let sources = accepted.into_iter().filter_map(|one| Some((one.resource.reference(), one.source?))).collect();
    Ok(agent.apply(&ApplyRequest { saved: Some(saved), sources, ..ApplyRequest::default() }).await?)
}

/// What an earlier run left and could not be cleared; fails when the task did nothing.
fn ended(task: Task) -> Result<Vec<(Ref, Fault)>> {
    if let Some(problem) = task.error {
        return Err(Fault::from(problem).into());
    }
    let left = task.left.into_iter();
    Ok(left.filter_map(|(reference, why)| Some((reference.parse().ok()?, Fault::other(why)))).collect())
}

/// Says what the agent goes on with.
fn leave(plan: &Plan, outcomes: &[Outcome], task: &Task) {
    let done: BTreeSet<&Ref> = outcomes.iter().map(|outcome| &outcome.resource).collect();
    let left = plan.steps.iter().map(|step| &step.resource).filter(|resource| !done.contains(resource));
    let left: Vec<String> = left.map(Ref::to_string).collect();
    eprintln!("The agent goes on with task {} by itself; not ended yet: {}.", task.id, left.join(", "));
    eprintln!("`reeve events` tells how it ends.");
}

fn outcome(result: &StepResult) -> Result<Outcome> {
    let StepResult { resource, action, ending, why, help } = result;
    let why = why.clone().unwrap_or_default();
    let ending = match ending.as_str() {
        "done" => Ending::Done,
        "waits" => Ending::Waits(why),
        "blocked" => Ending::Blocked(why),
        "skipped" => Ending::Skipped(why),
        "failed" => Ending::Failed(Fault { help: help.clone(), ..Fault::other(why) }),
        other => {
            return Err(CliError::new(format!("the agent told an ending {other:?} that this version does not know")));
        }
    };
    Ok(Outcome { resource: resource.clone(), action: *action, ending })
}
