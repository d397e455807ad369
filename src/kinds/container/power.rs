//! Starts and stops containers.

use serde_json::Value;

use super::apply::{found, target};
use crate::base::{Fault, FaultKind, Seconds};
use crate::drivers::container::{Intent, Power};
use crate::kinds::{PowerRequest, Task};

/// Starts a container.
pub(super) async fn start(task: &Task<'_>) -> Result<(), Fault> {
    task.effect("start", Value::Null, task.world.cts.start(&target(task))).await
}

/// Asks a container to shut down; one that does not within its grace is switched off when `force` says so.
pub(super) async fn stop(task: &Task<'_>, intent: Intent, force: bool) -> Result<(), Fault> {
    let Some(seen) = found(task).await? else { return Ok(()) };
    let grace: Seconds = seen.configured.stop_timeout();
    if !seen.power.active() && intent == Intent::Restart {
        return Ok(());
    }
    let cts = &task.world.cts;
    if task.effect("shutdown", Value::Null, cts.shutdown(&target(task), grace.duration(), intent)).await? {
        return Ok(());
    }
    if force {
        return task.effect("kill", Value::Null, cts.kill(&target(task), intent)).await;
    }
    let message = format!("{} did not shut down within {grace}", task.reference);
    Err(Fault::new(FaultKind::Deadline, message)
        .help(format!("look at its console, or switch it off with `reeve stop --force {}`", task.reference)))
}

/// Shuts a container down and starts it with what is configured.
pub(super) async fn restart(task: &Task<'_>, force: bool) -> Result<(), Fault> {
    stop(task, Intent::Restart, force).await?;
    start(task).await
}

/// Does what a person asks.
pub(super) async fn request(task: &Task<'_>, to: PowerRequest) -> Result<(), Fault> {
    let gone = || Fault::new(FaultKind::NotFound, format!("{} is not there any more", task.reference));
    let seen = found(task).await?.ok_or_else(gone)?;
    let cts = &task.world.cts;
    match to {
        PowerRequest::Start if seen.power == Power::Running => Ok(()),
        PowerRequest::Start => start(task).await,
        PowerRequest::Stop { force: true } => {
            task.effect("kill", Value::Null, cts.kill(&target(task), Intent::Stop)).await
        }
        PowerRequest::Stop { force: false } => stop(task, Intent::Stop, false).await,
        PowerRequest::Restart { .. } if !seen.power.active() => start(task).await,
        PowerRequest::Restart { force: true } => {
            task.effect("kill", Value::Null, cts.kill(&target(task), Intent::Restart)).await?;
            start(task).await
        }
        PowerRequest::Restart { force: false } => restart(task, false).await,
    }
}
