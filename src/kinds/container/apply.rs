//! Makes, changes, takes over and removes containers; each outside effect by itself, and safe to repeat.
//!
//! ```text
//! create   volumes, filled -> define -> grow what was kept -> start, as runStrategy says
//! update   volumes -> grow -> configure, with what the running guest takes -> volumes let go -> record -> power
//! delete   identity -> shutdown, and after the grace the plug -> volumes let go or deleted -> undefine
//! ```
//! The container, with our record beside it, is what everything else is found by: it is made last and removed last.

use serde_json::{Value, json};

use super::diff::{self, POWER};
use super::live::CtLive;
use super::spec::{CtSpec, RunStrategy};
use super::volumes::{self, State};
use super::{power, record};
use crate::base::{Disruption, Fault, FaultKind, Name, Size};
use crate::drivers::container::{Backing, Intent, Record, Seen, Target};
use crate::kinds::Task;
use crate::plan::model::FieldChange;

/// The container that is meant, with us as the owner.
pub(super) fn target<'a>(task: &'a Task<'_>) -> Target<'a> {
    Target { name: &task.reference.name, owner: Some(task.uid) }
}

/// The container of that name, read now; refused when it is another's.
pub(super) async fn found(task: &Task<'_>) -> Result<Option<Seen>, Fault> {
    let Some(seen) = task.world.cts.find(&task.reference.name).await? else { return Ok(None) };
    target(task).check(seen.record.as_ref())?;
    Ok(Some(seen))
}

/// Makes a container that is absent.
pub(super) async fn create(task: &Task<'_>, spec: &CtSpec) -> Result<(), Fault> {
    let name = &task.reference.name;
    let there = task.world.cts.find(name).await?;
    if there.as_ref().is_some_and(|s| s.record.as_ref().is_none_or(|r| r.mark.uid != task.uid)) {
        let message = format!("a container {name} exists already and does not carry our mark and UID {}", task.uid);
        let help = format!("`reeve adopt {}` takes it over unchanged; or rename one of them", task.reference);
        return Err(Fault::new(FaultKind::Exists, message).help(help));
    }
    if there.is_none() {
        let record = record::wanted(task, spec, None).await?;
        task.effect("define", Value::Null, task.world.cts.define(name, &record)).await?;
        grow_kept(task, spec, &record, None).await?;
    }
    if matches!(spec.run_strategy(), RunStrategy::Always | RunStrategy::RerunOnFailure) {
        power::start(task).await?;
    }
    Ok(())
}

/// What is to be done about changes, sorted by when it can be done.
#[derive(Debug, Default)]
struct Work {
    /// Paths that the running guest takes.
    now: Vec<String>,
    /// File systems that grow, and how large they become; `None` is the root.
    grow: Vec<(Option<Name>, Size)>,
    /// What the power shall become.
    power: Option<String>,
    /// Whether something is only in force after a restart.
    restart: bool,
}

impl Work {
    fn of(changes: &[FieldChange]) -> Self {
        let mut work = Self::default();
        for change in changes.iter().filter(|c| !diff::released(c) && c.head() != diff::VOLUMES) {
            if change.path == POWER {
                work.power = change.want.as_str().map(str::to_owned);
                continue;
            }
            work.grow.extend(grown(change));
            if change.disruption > Disruption::Live {
                work.restart = true;
            } else {
                work.now.push(change.path.clone());
            }
        }
        work
    }
}

/// The file system that a change makes larger.
fn grown(change: &FieldChange) -> Option<(Option<Name>, Size)> {
    let to = change.want.as_str()?.parse().ok()?;
    match change.path.split('.').collect::<Vec<_>>().as_slice() {
        ["rootfs", "size"] => Some((None, to)),
        ["mounts", name, "size"] => Some((Some(Name::new(name).ok()?), to)),
        _ => None,
    }
}

/// Makes exactly these changes.
pub(super) async fn update(
    task: &Task<'_>,
    spec: &CtSpec,
    live: &CtLive,
    changes: &[FieldChange],
) -> Result<(), Fault> {
    let gone = || Fault::new(FaultKind::NotFound, format!("{} is not there any more; plan again", task.reference));
    let seen = found(task).await?.ok_or_else(gone)?;
    if seen.power.active() != live.power.active() {
        let message = format!("{} was started or stopped since the plan was made; plan again", task.reference);
        return Err(Fault::new(FaultKind::Busy, message));
    }
    let work = Work::of(changes);
    let wanted = record::wanted(task, spec, Some(&seen)).await?;
    let before = seen.record.as_ref().map(|r| r.mounts.clone()).unwrap_or_default();
    // A mount that goes keeps its place in the record until its volume says that it is detached.
    let mut mounts = before.clone();
    mounts.extend(wanted.mounts.clone());
    let between = Record { mounts, ..wanted.clone() };
    let target = target(task);
    let change = task.world.cts.reconfigure(&target, &between, &work.now, seen.power.active());
    task.effect("change", json!({"paths": work.now}), change).await?;
    grow(task, &wanted, &work).await?;
    grow_kept(task, spec, &wanted, Some(&before)).await?;
    let_go(task, &before, &wanted).await?;
    if before.keys().any(|name| !wanted.mounts.contains_key(name)) {
        forget(task, &wanted).await?;
    }
    let restart = work.restart && seen.power.active() && task.options.allow >= Disruption::Restart;
    match work.power.as_deref() {
        Some("running") => power::start(task).await,
        Some(_) if task.options.allow >= Disruption::Restart => power::stop(task, Intent::Stop, true).await,
        None if restart => power::restart(task, true).await,
        _ => Ok(()),
    }
}

async fn grow(task: &Task<'_>, wanted: &Record, work: &Work) -> Result<(), Fault> {
    for (mount, to) in &work.grow {
        let backing = mount.as_ref().map_or(Some(&wanted.rootfs), |name| wanted.mounts.get(name));
        let Some(backing) = backing else { continue };
        volumes::grow(task, backing, *to).await?;
        let detail = json!({"mount": mount, "size": to});
        task.effect("grow-file-system", detail, task.world.cts.grow(&target(task), mount.as_ref(), *to)).await?;
    }
    Ok(())
}

type Backings = std::collections::BTreeMap<Name, Backing>;

/// Marks the volumes of mounts that are no longer the container's.
async fn let_go(task: &Task<'_>, before: &Backings, wanted: &Record) -> Result<(), Fault> {
    for (name, backing) in before {
        let kept = wanted.mounts.get(name);
        if kept.is_none_or(|k| (&k.storage, &k.volume) != (&backing.storage, &backing.volume)) {
            volumes::let_go(task, name.as_str(), backing, State::Detached).await?;
        }
    }
    Ok(())
}

/// Takes mounts that are gone out of the record.
async fn forget(task: &Task<'_>, wanted: &Record) -> Result<(), Fault> {
    let Some(mut record) = found(task).await?.and_then(|s| s.record) else { return Ok(()) };
    record.mounts.retain(|name, _| wanted.mounts.contains_key(name));
    task.effect("record", Value::Null, task.world.cts.set_record(&target(task), &record)).await
}

/// Brings file systems that an earlier container or mount of that name left behind to the size that is wanted now;
/// those in `before` are not new.
async fn grow_kept(task: &Task<'_>, spec: &CtSpec, record: &Record, before: Option<&Backings>) -> Result<(), Fault> {
    let root = spec.rootfs.as_ref().filter(|_| before.is_none()).map(|r| (None, &record.rootfs, r.size));
    let new = spec.mounts.iter().filter(|(name, _)| before.is_none_or(|b| !b.contains_key(*name)));
    let mounts = new.filter_map(|(name, mount)| Some((Some(name), record.mounts.get(name)?, mount.size)));
    for (mount, backing, size) in root.into_iter().chain(mounts).filter(|(_, b, _)| b.resource.is_none()) {
        let Some(to) = size.filter(|to| backing.size.is_some_and(|has| has < *to)) else { continue };
        let detail = json!({"mount": mount, "size": to});
        task.effect("grow-file-system", detail, task.world.cts.grow(&target(task), mount, to)).await?;
    }
    Ok(())
}

/// Brings the file system of a Volume that was grown to its new size, in the container that has it mounted.
///
/// One that does not run does it at its next start.
pub async fn volume_grew(task: &Task<'_>, volume: &Name, to: Size) -> Result<(), Fault> {
    let cts = &task.world.cts;
    for (name, seen) in cts.list().await? {
        let Some(record) = seen.ok().filter(|s| s.power.active()).and_then(|s| s.record) else { continue };
        let mount = record.mounts.iter().find(|(_, b)| b.resource.as_ref() == Some(volume)).map(|(mount, _)| mount);
        if let Some(mount) = mount {
            let target = Target { name: &name, owner: Some(record.mark.uid) };
            let detail = json!({"container": name, "mount": mount, "size": to});
            task.effect("grow-file-system", detail, cts.grow(&target, Some(mount), to)).await?;
        }
    }
    Ok(())
}

/// Puts our record beside a container that is there, and changes nothing else.
pub(super) async fn adopt(task: &Task<'_>, spec: &CtSpec) -> Result<(), Fault> {
    let name = &task.reference.name;
    let gone = || Fault::new(FaultKind::NotFound, format!("there is no container {name}"));
    let seen = task.world.cts.find(name).await?.ok_or_else(gone)?;
    if seen.record.as_ref().is_some_and(|r| r.mark.uid == task.uid) {
        return Ok(());
    }
    let record = record::adopted(task, spec, &seen)?;
    let target = Target { name, owner: None };
    task.effect("adopt", Value::Null, task.world.cts.set_record(&target, &record)).await
}

/// Removes a container; its volumes are kept as orphans unless data is to be destroyed.
pub(super) async fn delete(task: &Task<'_>) -> Result<(), Fault> {
    let Some(seen) = found(task).await? else { return Ok(()) };
    let own = own_backings(&seen);
    for (_, backing) in &own {
        check_volume(task, backing).await?;
    }
    power::stop(task, Intent::Stop, true).await?;
    for (disk, backing) in &own {
        if task.options.destroy_data {
            volumes::destroy(task, backing).await?;
        } else {
            volumes::let_go(task, disk, backing, State::Orphan).await?;
        }
    }
    task.effect("undefine", Value::Null, task.world.cts.undefine(&target(task))).await
}

fn own_backings(seen: &Seen) -> Vec<(String, Backing)> {
    let Some(record) = &seen.record else { return Vec::new() };
    let root = std::iter::once((volumes::ROOT.to_owned(), record.rootfs.clone()));
    let mounts = record.mounts.iter().map(|(name, backing)| (name.to_string(), backing.clone()));
    root.chain(mounts).filter(|(_, b)| volumes::own_volume(b).is_some()).collect()
}

/// Refuses before anything is done when a volume cannot be read or is another's.
async fn check_volume(task: &Task<'_>, backing: &Backing) -> Result<(), Fault> {
    let Some((storage, volume)) = volumes::own_volume(backing) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage)?;
    volumes::own(task, &*storage, volume).await.map(drop)
}

/// Clears away what an effect that never finished left behind.
pub(super) async fn undo(task: &Task<'_>, effect: &str, detail: &Value) -> Result<(), Fault> {
    match effect {
        "volume" | "fill" => {
            let seen = task.world.cts.find(&task.reference.name).await?;
            let seen = seen.filter(|s| s.record.as_ref().is_some_and(|r| r.mark.uid == task.uid));
            let text = |key: &str| detail.get(key).and_then(Value::as_str);
            let named = |b: &Backing| {
                b.volume.as_deref() == text("volume") && b.storage.as_ref().map(Name::as_str) == text("storage")
            };
            let used = seen.is_some_and(|s| own_backings(&s).iter().any(|(_, b)| named(b)));
            volumes::undo(task, detail, used).await
        }
        "undefine" if task.world.cts.find(&task.reference.name).await?.is_none() => {
            task.world.cts.undefine(&target(task)).await
        }
        _ => Ok(()),
    }
}
