//! Makes, changes, takes over and removes machines; each outside effect by itself, and safe to repeat.
//!
//! ```text
//! create   volumes, seed -> define -> start, as runStrategy says
//! update   volumes, seed -> record (what is about to be attached) -> live changes -> staged changes
//!          -> volumes let go -> record (what was applied) -> power
//! delete   identity -> shutdown, and after the grace the plug -> volumes let go or deleted -> seeds -> undefine
//! ```
//! The domain, with our record in it, is what everything else is found by: it is made last and removed last.

use serde_json::{Value, json};

use super::live::VmLive;
use super::machine::{self, Wanted};
use super::spec::{RunStrategy, VmSpec};
use super::volumes::{self, State};
use super::{power, seed};
use crate::base::{Fault, FaultKind, Name, Uid};
use crate::drivers::guest::{Domain, Record, Target};
use crate::kinds::Task;

/// The machine of that name, read now; refused when it is another's.
pub(super) async fn found(task: &Task<'_>) -> Result<Option<Domain>, Fault> {
    let name = task.reference.name.as_str();
    let Some(domain) = task.world.vms.find(name).await? else { return Ok(None) };
    target(task, &domain).check_owner(domain.record.as_ref())?;
    Ok(Some(domain))
}

/// The machine that is meant, with us as the owner.
pub(super) fn target<'a>(task: &'a Task<'_>, domain: &Domain) -> Target<'a> {
    Target { name: task.reference.name.as_str(), uuid: domain.uuid, owner: Some(task.uid) }
}

/// Makes a machine that is absent.
pub(super) async fn create(task: &Task<'_>, spec: &VmSpec) -> Result<(), Fault> {
    let name = task.reference.name.as_str();
    let there = task.world.vms.find(name).await?;
    if let Some(domain) = &there
        && domain.record.as_ref().is_none_or(|r| r.mark.uid != task.uid)
    {
        let message = format!("a domain {name} exists already and does not carry our mark and UID {}", task.uid);
        let help = format!("`reeve adopt {}` takes it over unchanged; or rename one of them", task.reference);
        return Err(Fault::new(FaultKind::Exists, message).help(help));
    }
    let uuid = there.as_ref().map_or(task.uid.uuid(), |d| d.uuid);
    if there.as_ref().is_none_or(|d| !d.power.active()) {
        let new = Prepared::new(spec, None);
        new.effect(task, "create", define(task, spec, there.as_ref(), uuid)).await?;
    }
    if matches!(spec.run_strategy(), RunStrategy::Always | RunStrategy::RerunOnFailure) {
        let target = Target { name, uuid, owner: Some(task.uid) };
        task.effect("start", Value::Null, task.world.vms.start(&target)).await?;
    }
    Ok(())
}

/// Makes what a machine needs, and the machine.
async fn define(task: &Task<'_>, spec: &VmSpec, there: Option<&Domain>, uuid: uuid::Uuid) -> Result<(), Fault> {
    let (name, vms) = (task.reference.name.as_str(), &task.world.vms);
    let Wanted { machine, record, secrets } = machine::wanted(task, spec, there, true).await?;
    task.effect("define", json!({"uuid": uuid}), vms.define(name, uuid, &machine, &record, &secrets)).await?;
    keep(task, &record, None).await
}

/// Says of new volumes that they are the machine's.
pub(super) async fn keep(task: &Task<'_>, record: &Record, before: Option<&Record>) -> Result<(), Fault> {
    for (name, origin) in record.disks.iter().filter(|(_, o)| o.resource.is_none()) {
        let old = before.and_then(|r| r.disks.get(name)).is_some_and(|o| o.volume == origin.volume);
        if !old {
            volumes::keep(task, name.as_str(), origin).await?;
        }
    }
    Ok(())
}

/// What has to be made before the hypervisor can be asked: volumes and a seed.
pub(super) struct Prepared {
    /// Each new disk's storage.
    disks: serde_json::Map<String, Value>,
    seed: bool,
}

impl Prepared {
    pub(super) fn new(spec: &VmSpec, before: Option<&Record>) -> Self {
        let old = |name: &Name| before.and_then(|r| r.disks.get(name)).and_then(|o| o.storage.as_ref());
        let new = spec.disks.iter().filter(|(name, disk)| disk.storage.is_some() && disk.storage.as_ref() != old(name));
        Self {
            disks: new.map(|(name, disk)| (name.to_string(), json!(disk.storage))).collect(),
            seed: before.is_none() && spec.cloud_init.is_some(),
        }
    }

    /// Does the work under an intent of its own, so that what is made and never used is found again.
    pub(super) async fn effect<T>(
        &self,
        task: &Task<'_>,
        name: &str,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        if self.disks.is_empty() && !self.seed {
            work.await
        } else {
            task.effect(name, json!({"disks": self.disks}), work).await
        }
    }
}

pub(super) type Notes = std::collections::BTreeMap<String, String>;

/// The notes without some.
pub(super) fn without(notes: &Notes, gone: &[&str]) -> Notes {
    notes.iter().filter(|(key, _)| !gone.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// Removes seeds that neither the configuration nor the running guest has.
pub(super) async fn sweep_seeds(task: &Task<'_>) -> Result<(), Fault> {
    let domain = found(task).await?;
    let machines = domain.iter().flat_map(|d| std::iter::once(&d.configured).chain(&d.running));
    let keep: Vec<_> = machines.filter_map(|m| m.seed.clone()).collect();
    if !seed::has_old(&task.world.data_dir, task.uid, &keep) {
        return Ok(());
    }
    let (folder, uid) = (&task.world.data_dir, task.uid);
    task.effect("sweep-seeds", Value::Null, async { seed::sweep(folder, uid, &keep) }).await
}

/// Puts our record on a machine that is there, and changes nothing else.
pub(super) async fn adopt(task: &Task<'_>, spec: &VmSpec) -> Result<(), Fault> {
    let name = task.reference.name.as_str();
    let gone = || Fault::new(FaultKind::NotFound, format!("there is no domain {name}"));
    let domain = task.world.vms.find(name).await?.ok_or_else(gone)?;
    if domain.record.as_ref().is_some_and(|r| r.mark.uid == task.uid) {
        return Ok(());
    }
    let mut record = Record {
        mark: task.mark(Some(machine::applied(spec)?)),
        disks: std::collections::BTreeMap::new(),
        plugs: std::collections::BTreeMap::new(),
        notes: std::collections::BTreeMap::new(),
    };
    for (nic, link) in &domain.configured.links {
        let network = spec.nics.get(nic).and_then(|n| n.network.clone());
        if let Some((network, link)) = network.zip(link.clone()) {
            record.plugs.insert(nic.clone(), crate::drivers::guest::Plug { network, link });
        }
    }
    let target = Target { name, uuid: domain.uuid, owner: None };
    task.effect("adopt", json!({"uuid": domain.uuid}), task.world.vms.set_record(&target, &record)).await
}

/// Removes a machine; its volumes are kept as orphans unless data is to be destroyed.
pub(super) async fn delete(task: &Task<'_>, live: &VmLive) -> Result<(), Fault> {
    let Some(domain) = found(task).await? else { return remove_seeds(task, task.uid).await };
    let origins = own_disks(&domain);
    for (_, origin) in &origins {
        check_volume(task, origin).await?;
    }
    let target = target(task, &domain);
    power::stop(task, &target, live.spec.stop_timeout(), true).await?;
    for (name, origin) in &origins {
        if task.options.destroy_data {
            volumes::destroy(task, origin).await?;
        } else {
            volumes::let_go(task, name.as_str(), origin, State::Orphan).await?;
        }
    }
    remove_seeds(task, task.uid).await?;
    task.effect("undefine", json!({"uuid": domain.uuid}), task.world.vms.undefine(&target)).await
}

fn own_disks(domain: &Domain) -> Vec<(Name, crate::drivers::guest::Origin)> {
    let disks = domain.record.iter().flat_map(|r| r.disks.clone());
    disks.filter(|(_, o)| o.resource.is_none() && o.storage.is_some()).collect()
}

/// Refuses before anything is done when a volume cannot be read or is another's.
async fn check_volume(task: &Task<'_>, origin: &crate::drivers::guest::Origin) -> Result<(), Fault> {
    let Some((storage, volume)) = origin.storage.as_ref().zip(origin.volume.as_deref()) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage)?;
    volumes::own(task, &*storage, volume).await.map(drop)
}

async fn remove_seeds(task: &Task<'_>, uid: Uid) -> Result<(), Fault> {
    if !seed::has_old(&task.world.data_dir, uid, &[]) {
        return Ok(());
    }
    task.effect("sweep-seeds", Value::Null, async { seed::sweep(&task.world.data_dir, uid, &[]) }).await
}

/// Clears away what an effect that never finished left behind.
pub(super) async fn undo(task: &Task<'_>, effect: &str, detail: &Value) -> Result<(), Fault> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).map(str::to_owned);
    let disks: Vec<(String, String)> = match effect {
        "volume" => text("disk").zip(text("storage")).into_iter().collect(),
        "create" | "prepare" => {
            let disks = detail.get("disks").and_then(Value::as_object).into_iter().flatten();
            disks.filter_map(|(disk, storage)| Some((disk.clone(), storage.as_str()?.to_owned()))).collect()
        }
        "seed" | "sweep-seeds" => Vec::new(),
        _ => return Ok(()),
    };
    let domain = task.world.vms.find(task.reference.name.as_str()).await?;
    let record = domain.and_then(|d| d.record).filter(|r| r.mark.uid == task.uid);
    let ours = record.is_some();
    for (disk, storage) in disks {
        let Ok(storage) = Name::new(&storage) else { continue };
        let used = |volume: &str| {
            let mut origins = record.iter().flat_map(|r| r.disks.values());
            origins.any(|o| o.storage.as_ref() == Some(&storage) && o.volume.as_deref() == Some(volume))
        };
        volumes::undo(task, &storage, &disk, &used).await?;
    }
    if ours { sweep_seeds(task).await } else { remove_seeds(task, task.uid).await }
}
