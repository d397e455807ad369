//! Changes a machine: what the guest takes while it runs now, the rest for its next start.

use serde_json::{Value, json};

use super::apply::{Prepared, found, keep, sweep_seeds, target, without};
use super::diff::{self, POWER};
use super::live::{RESTARTING, STAGED, VmLive};
use super::machine::{self, Wanted};
use super::power;
use super::spec::VmSpec;
use super::volumes::{self, State};
use crate::base::{Disruption, Fault, FaultKind, Name, Size};
use crate::drivers::guest::{Changed, Domain, Record};
use crate::drivers::storage::Attachment;
use crate::kinds::Task;
use crate::plan::model::FieldChange;

/// What is to be done about changes, sorted by when it can be done.
#[derive(Debug, Default)]
struct Work {
    /// Paths for the driver that the running guest takes.
    now: Vec<String>,
    /// Paths for the driver that wait for the next start.
    later: Vec<String>,
    /// Disks that grow, and how large they become.
    grow: Vec<(Name, Size)>,
    /// Whether the seed is to be written.
    seed: bool,
    /// What the power shall become.
    power: Option<String>,
    /// Whether something is only in force after a restart.
    restart: bool,
}

impl Work {
    fn of(changes: &[FieldChange], live: &VmLive, allow: Disruption) -> Self {
        let mut work = Self::default();
        for change in changes.iter().filter(|c| !diff::released(c)) {
            let later = change.disruption > Disruption::Live;
            work.restart |= later && change.path != POWER;
            match change.path.as_str() {
                POWER if change.disruption > allow => {}
                POWER => work.power = change.want.as_str().map(str::to_owned),
                diff::RESTART => {}
                _ if change.head() == diff::VOLUMES => {}
                diff::SEED => {
                    work.seed = true;
                    work.now.push("cloudInit".to_owned());
                }
                path if recorded(path) => {}
                path => {
                    work.seed |= change.head() == "cloudInit";
                    work.grow.extend(grown(change));
                    match (live.power.active(), later, change.pending) {
                        (true, true, true) => {}
                        (true, true, false) => work.later.push(path.to_owned()),
                        (true, false, _) | (false, _, false) => work.now.push(path.to_owned()),
                        (false, _, true) => {}
                    }
                }
            }
        }
        work
    }
}

/// Whether only our record keeps the field at this path.
fn recorded(path: &str) -> bool {
    let mut parts = path.split('.');
    matches!(
        (parts.next().unwrap_or_default(), parts.next(), parts.next()),
        ("tags" | "node" | "runStrategy" | "reconcile" | "startup" | "stopTimeout", _, _)
            | ("memory", Some("balloonMin"), _)
            | ("disks", _, Some("backup" | "onRemove"))
    )
}

/// The disk that a change makes larger.
fn grown(change: &FieldChange) -> Option<(Name, Size)> {
    let size = change.path.strip_prefix("disks.")?.strip_suffix(".size")?;
    Some((Name::new(size).ok()?, change.want.as_str()?.parse().ok()?))
}

/// Makes exactly these changes.
pub(super) async fn update(
    task: &Task<'_>,
    spec: &VmSpec,
    live: &VmLive,
    changes: &[FieldChange],
) -> Result<(), Fault> {
    let gone = || Fault::new(FaultKind::NotFound, format!("{} is not there any more; plan again", task.reference));
    let domain = found(task).await?.ok_or_else(gone)?;
    if domain.power.active() != live.power.active() {
        let message = format!("{} was started or stopped since the plan was made; plan again", task.reference);
        return Err(Fault::new(FaultKind::Busy, message));
    }
    let work = Work::of(changes, live, task.options.allow);
    let before = domain.record.clone().ok_or_else(gone)?;
    // One intent around all of it: until a new volume's mark says whose it is, a crash must find it again.
    let prepare = async {
        let wanted = machine::wanted(task, spec, Some(&domain), work.seed).await?;
        attach_record(task, &domain, &before, &wanted.record).await?;
        grow_before(task, &domain, &wanted.record, &work).await?;
        let changed = reconfigure(task, &domain, &wanted, &work).await?;
        keep(task, &wanted.record, Some(&before)).await?;
        Ok((wanted, changed))
    };
    let (wanted, changed) = Prepared::new(spec, Some(&before)).effect(task, "prepare", prepare).await?;
    grow_after(task, &domain, &wanted.record, &work, &changed).await?;
    let_go(task, &before, &wanted.record).await?;
    let restart = work.restart && domain.power.active() && task.options.allow >= Disruption::Restart;
    // Before the record says that all is applied: until then the next plan still asks for the seed.
    if work.seed {
        sweep_seeds(task).await?;
    }
    let record = settled(&wanted.record, &before, &changed, restart);
    set_record(task, &domain, &record).await?;
    if restart && work.power.is_none() {
        power::restart(task, &target(task, &domain), spec.stop_timeout(), false).await?;
        sweep_seeds(task).await?;
        let record = Record { notes: without(&record.notes, &[RESTARTING, STAGED]), ..record };
        return set_record(task, &domain, &record).await;
    }
    match work.power.as_deref() {
        Some("running") => power::start(task, &domain).await?,
        Some(_) => power::stop(task, &target(task, &domain), spec.stop_timeout(), true).await?,
        None => {}
    }
    told(task, &changed, restart)
}

/// Writes down where disks come from before they are attached, so that a crash does not make strangers of them.
async fn attach_record(task: &Task<'_>, domain: &Domain, before: &Record, wanted: &Record) -> Result<(), Fault> {
    let mut record = before.clone();
    record.disks.extend(wanted.disks.clone());
    record.plugs.extend(wanted.plugs.clone());
    if record == *before {
        return Ok(());
    }
    set_record(task, domain, &record).await
}

async fn set_record(task: &Task<'_>, domain: &Domain, record: &Record) -> Result<(), Fault> {
    task.effect("record", Value::Null, task.world.vms.set_record(&target(task, domain), record)).await
}

/// Whether QEMU itself makes a disk larger while it runs: it holds the lock of the file.
fn by_guest(domain: &Domain, name: &Name) -> bool {
    let running = domain.running.as_ref().and_then(|m| m.disks.get(name)).and_then(Option::as_ref);
    matches!(running, Some(Attachment::File { .. } | Attachment::Gluster { .. }))
}

async fn grow_before(task: &Task<'_>, domain: &Domain, record: &Record, work: &Work) -> Result<(), Fault> {
    for (name, size) in work.grow.iter().filter(|(name, _)| !by_guest(domain, name)) {
        if let Some(origin) = record.disks.get(name) {
            volumes::grow(task, origin, *size).await?;
        }
    }
    Ok(())
}

async fn grow_after(
    task: &Task<'_>,
    domain: &Domain,
    record: &Record,
    work: &Work,
    changed: &Changed,
) -> Result<(), Fault> {
    for (name, size) in work.grow.iter().filter(|(name, _)| by_guest(domain, name)) {
        let path = format!("disks.{name}.size");
        let staged = changed.staged.iter().any(|(p, _)| *p == path);
        if let Some(origin) = record.disks.get(name).filter(|_| !staged) {
            volumes::grow(task, origin, *size).await?;
        }
    }
    Ok(())
}

async fn reconfigure(task: &Task<'_>, domain: &Domain, wanted: &Wanted, work: &Work) -> Result<Changed, Fault> {
    let (vms, target) = (&task.world.vms, target(task, domain));
    let Wanted { machine, secrets, .. } = wanted;
    let mut changed = Changed::default();
    if !work.now.is_empty() {
        let active = domain.power.active();
        let change = vms.reconfigure(&target, domain, machine, &work.now, secrets, active);
        let done = task.effect("change", json!({"paths": work.now}), change).await?;
        // What a stopped machine gets is in force at its next start; nothing waits.
        changed = if active { done } else { Changed::default() };
    }
    if !work.later.is_empty() {
        let now = found(task).await?.unwrap_or_else(|| domain.clone());
        let change = vms.reconfigure(&target, &now, machine, &work.later, secrets, false);
        task.effect("stage", json!({"paths": work.later}), change).await?;
    }
    Ok(changed)
}

/// Marks the volumes of disks that are no longer the machine's.
async fn let_go(task: &Task<'_>, before: &Record, wanted: &Record) -> Result<(), Fault> {
    for (name, origin) in before.disks.iter().filter(|(_, o)| o.resource.is_none()) {
        let kept = wanted.disks.get(name).is_some_and(|o| (&o.storage, &o.volume) == (&origin.storage, &origin.volume));
        if !kept {
            volumes::let_go(task, name.as_str(), origin, State::Detached).await?;
        }
    }
    Ok(())
}

/// The record once the changes are made.
fn settled(wanted: &Record, before: &Record, changed: &Changed, restart: bool) -> Record {
    let mut record = wanted.clone();
    record.notes = without(&before.notes, &[RESTARTING]);
    let staged: Vec<&str> = changed.staged.iter().map(|(path, _)| path.as_str()).collect();
    if !staged.is_empty() {
        record.notes.insert(STAGED.to_owned(), staged.join(" "));
    }
    if restart {
        record.notes.insert(RESTARTING.to_owned(), "true".to_owned());
    }
    record
}

/// Says what the guest did not take although it was to be live; it is configured and waits for the next start.
fn told(task: &Task<'_>, changed: &Changed, restart: bool) -> Result<(), Fault> {
    let waiting: Vec<String> = changed
        .staged
        .iter()
        .map(|(path, why)| why.as_ref().map_or_else(|| path.clone(), |why| format!("{path} ({why})")))
        .collect();
    if waiting.is_empty() || restart {
        return Ok(());
    }
    let message = format!("{} did not take {} while it runs; it is configured", task.reference, waiting.join(", "));
    Err(Fault::new(FaultKind::Unsupported, message)
        .help("it is in force after a restart: apply with `--allow restart`"))
}
