//! From a spec to the machine a driver is given: names of the manifests become paths, links and addresses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::form::settle;
use super::spec::{Disk, Media, VmSpec};
use super::{seed, volumes};
use crate::base::secret::{SecretField, SecretString};
use crate::base::{Attempt, Fault, FaultKind, Name};
use crate::drivers::guest::{Domain, Link, Machine, Origin, Plug, Record, SecretValues};
use crate::drivers::storage::{Attachment, Format};
use crate::kinds::{Task, image, network, volume};

/// What a machine shall be, and what its record shall say.
pub(super) struct Wanted {
    /// The machine.
    pub machine: Machine,
    /// The record.
    pub record: Record,
    /// Secrets the driver needs to define it.
    pub secrets: SecretValues,
}

/// What is wanted; volumes that are not there are made on the way, and with `seed` the cloud-init seed as well.
pub(super) async fn wanted(task: &Task<'_>, spec: &VmSpec, now: Option<&Domain>, seed: bool) -> Result<Wanted, Fault> {
    let before = now.and_then(|d| d.record.as_ref());
    let mut machine = Machine { spec: spec.clone(), ..Machine::default() };
    settle(&mut machine.spec);
    machine.spec.fill();
    addresses(task, &mut machine.spec, now);
    let mut record = Record {
        mark: task.mark(Some(applied(spec)?)),
        disks: BTreeMap::new(),
        plugs: BTreeMap::new(),
        notes: before.map(|r| r.notes.clone()).unwrap_or_default(),
    };
    for (name, disk) in &spec.disks {
        let kept = before.and_then(|r| r.disks.get(name)).filter(|o| still(o, disk));
        // What is attached already stays as it is reached now.
        let attached = now.and_then(|d| d.configured.disks.get(name)).and_then(Option::as_ref);
        let origin = match kept.filter(|o| o.attachment.is_some() && o.attachment.as_ref() == attached) {
            Some(origin) => origin.clone(),
            None => origin(task, name, disk).await?,
        };
        machine.disks.insert(name.clone(), origin.attachment.clone());
        if let Some(drive) = machine.spec.disks.get_mut(name).filter(|d| d.media() == Media::Disk) {
            drive.format = origin.format;
        }
        record.disks.insert(name.clone(), origin);
    }
    for (name, nic) in &spec.nics {
        let Some(network) = &nic.network else { continue };
        let link = Link::from(network::link(&task.scope, network)?);
        machine.links.insert(name.clone(), Some(link.clone()));
        record.plugs.insert(name.clone(), Plug { network: network.clone(), link });
    }
    machine.seed = match now {
        Some(domain) if !seed => domain.configured.seed.clone(),
        _ => seed::ensure(task, spec, &machine.spec).await?,
    };
    Ok(Wanted { machine, record, secrets: secrets(task, spec)? })
}

/// What is kept as applied: the spec without what is read once at a first boot, which may be long and secret.
pub(super) fn applied(spec: &VmSpec) -> Result<serde_json::Value, Fault> {
    let mut spec = spec.clone();
    if let Some(init) = &mut spec.cloud_init {
        init.first_boot = None;
    }
    spec.prune();
    serde_json::to_value(&spec).map_err(|e| Fault::other(format!("the spec cannot be written down: {e}")))
}

/// Every network card's address: what the manifest says, what it has, or one that follows from the machine's UID.
fn addresses(task: &Task<'_>, spec: &mut VmSpec, now: Option<&Domain>) {
    for (name, nic) in &mut spec.nics {
        if nic.mac.is_none() {
            let has = now.and_then(|d| d.configured.spec.nics.get(name)).and_then(|n| n.mac.clone());
            nic.mac = Some(has.unwrap_or_else(|| task.uid.mac(name.as_str())));
        }
    }
}

/// Whether a disk is still where it came from.
fn still(origin: &Origin, disk: &Disk) -> bool {
    let on_storage = origin.storage.as_ref().filter(|_| origin.resource.is_none());
    let path = || origin.attachment.as_ref().is_some_and(|a| disk.path.as_deref().is_some_and(|p| leads_to(a, p)));
    match disk.media() {
        Media::Disk if disk.path.is_some() => path(),
        Media::Disk => on_storage == disk.storage.as_ref() && origin.resource == disk.volume,
        // A medium stays in the drive when its image is made anew under the same name.
        Media::Cdrom => origin.image == disk.image && (disk.image.is_some() || path()),
    }
}

fn leads_to(attachment: &Attachment, path: &str) -> bool {
    matches!(attachment, Attachment::File { path: p, .. } | Attachment::Block { path: p } if p.as_os_str() == path)
}

/// Where a disk comes from; makes its volume when it is the machine's own.
async fn origin(task: &Task<'_>, name: &Name, disk: &Disk) -> Result<Origin, Fault> {
    let mut origin =
        Origin { storage: None, volume: None, resource: None, image: None, attachment: None, format: None };
    if let Some(path) = &disk.path {
        let (path, format) = (PathBuf::from(path), disk.format.unwrap_or(Format::Raw));
        let block = path.starts_with("/dev");
        origin.format = (disk.media() == Media::Disk).then_some(format);
        origin.attachment = Some(if block { Attachment::Block { path } } else { Attachment::File { path, format } });
    } else if disk.media() == Media::Cdrom {
        if let Some(image) = &disk.image {
            let local = image::local(task.world, &task.scope, image).await?;
            origin.attachment = Some(Attachment::File { path: local.path, format: Format::Raw });
            origin.image = Some(image.clone());
        }
    } else if let Some(resource) = &disk.volume {
        let (storage_name, called) = volume::locate(&task.scope, resource)?;
        let storage = task.world.storage(&task.scope, &storage_name)?;
        let info = storage.find(&called).await?.ok_or_else(|| {
            Fault::new(FaultKind::NotFound, format!("volume/{resource} is not on storage/{storage_name} yet"))
        })?;
        origin.attachment = Some(storage.attachment(&called).await?);
        (origin.storage, origin.volume) = (Some(storage_name), Some(called));
        (origin.resource, origin.format) = (Some(resource.clone()), Some(info.format));
    } else {
        return volumes::ensure(task, name, disk).await;
    }
    Ok(origin)
}

/// The secrets a driver needs.
fn secrets(task: &Task<'_>, spec: &VmSpec) -> Result<SecretValues, Fault> {
    let mut values = SecretValues::new();
    if let Some(field) = spec.display.as_ref().and_then(|d| d.password.as_ref()) {
        values.insert("display.password".into(), secret(task, field)?);
    }
    Ok(values)
}

/// One secret's value.
pub(super) fn secret(task: &Task<'_>, field: &SecretField) -> Result<SecretString, Fault> {
    let found = task.world.secrets.get(&field.secret_ref).map_err(|e| {
        Fault::new(FaultKind::NotFound, e.to_string()).help("put the value into that file, readable by Reeve only")
    });
    found.attempt(|| format!("prepare {}", task.reference))
}
