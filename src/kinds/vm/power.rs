//! Starts and stops machines.

use serde_json::Value;

use super::apply::{self, without};
use super::live::{RESTARTING, STAGED};
use crate::base::{Fault, FaultKind, Seconds};
use crate::drivers::guest::{Domain, Power, Record, Target};
use crate::kinds::{PowerRequest, Task};

/// Starts a machine; what waited for a start waits no longer.
pub(super) async fn start(task: &Task<'_>, domain: &Domain) -> Result<(), Fault> {
    let target = apply::target(task, domain);
    task.effect("start", Value::Null, task.world.vms.start(&target)).await?;
    let Some(now) = apply::found(task).await? else { return Ok(()) };
    let Some(record) = now.record else { return Ok(()) };
    let notes = without(&record.notes, &[RESTARTING, STAGED]);
    if notes == record.notes {
        return Ok(());
    }
    let record = Record { notes, ..record };
    task.effect("record", Value::Null, task.world.vms.set_record(&target, &record)).await
}

/// Asks a machine to shut down; one that does not within the grace is switched off when `force` says so.
pub(super) async fn stop(task: &Task<'_>, target: &Target<'_>, grace: Seconds, force: bool) -> Result<(), Fault> {
    let vms = &task.world.vms;
    let active = vms.find(target.name).await?.is_some_and(|d| d.power.active());
    if !active {
        return Ok(());
    }
    if task.effect("shutdown", Value::Null, vms.shutdown(target, grace.duration())).await? {
        return Ok(());
    }
    if force {
        return task.effect("destroy", Value::Null, vms.destroy(target)).await;
    }
    let message = format!("{} did not shut down within {grace}", task.reference);
    Err(Fault::new(FaultKind::Deadline, message).help(format!(
        "look at its console; install the guest agent or acpid in it, or cut its power with `reeve stop --force {}`",
        task.reference
    )))
}

/// Shuts a machine down and starts it with what is configured; the plug is pulled only with `force`.
pub(super) async fn restart(task: &Task<'_>, target: &Target<'_>, grace: Seconds, force: bool) -> Result<(), Fault> {
    let vms = &task.world.vms;
    if force {
        task.effect("destroy", Value::Null, vms.destroy(target)).await?;
    } else {
        stop(task, target, grace, false).await?;
    }
    task.effect("start", Value::Null, vms.start(target)).await
}

/// Does what a person asks.
pub(super) async fn request(task: &Task<'_>, grace: Seconds, to: PowerRequest) -> Result<(), Fault> {
    let gone = || Fault::new(FaultKind::NotFound, format!("{} is not there any more", task.reference));
    let domain = apply::found(task).await?.ok_or_else(gone)?;
    let target = apply::target(task, &domain);
    match to {
        PowerRequest::Start if domain.power == Power::Running => Ok(()),
        PowerRequest::Start => start(task, &domain).await,
        PowerRequest::Stop { force: true } => {
            task.effect("destroy", Value::Null, task.world.vms.destroy(&target)).await
        }
        PowerRequest::Stop { force: false } => stop(task, &target, grace, false).await,
        PowerRequest::Restart { .. } if !domain.power.active() => start(task, &domain).await,
        PowerRequest::Restart { force } => {
            note_restart(task, &domain, &target).await?;
            restart(task, &target, grace, force).await?;
            start(task, &domain).await
        }
    }
}

/// Writes down that the machine is to come up again, so that a crash in between does not leave it down.
async fn note_restart(task: &Task<'_>, domain: &Domain, target: &Target<'_>) -> Result<(), Fault> {
    let Some(mut record) = domain.record.clone() else { return Ok(()) };
    record.notes.insert(RESTARTING.to_owned(), "true".to_owned());
    task.effect("record", Value::Null, task.world.vms.set_record(target, &record)).await
}
