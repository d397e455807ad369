//! From a spec to what a driver is given: names of the manifests become places and bridges.

use std::collections::BTreeMap;
use std::path::Path;

use super::spec::{CtNic, CtSpec, Mount};
use super::{form, volumes};
use crate::base::{Fault, FaultKind, Name};
use crate::drivers::container::{Backing, Fill, Place, Record, Seen};
use crate::kinds::image::ImageType;
use crate::kinds::{Task, image, network, volume};

/// The record of what is wanted; volumes that are not there are made on the way.
pub(super) async fn wanted(task: &Task<'_>, spec: &CtSpec, now: Option<&Seen>) -> Result<Record, Fault> {
    let before = now.and_then(|s| s.record.as_ref());
    let mut full = form::plain(&task.reference.name, spec);
    full.fill();
    addresses(task, &mut full, now);
    let mut mounts = BTreeMap::new();
    for (name, mount) in &spec.mounts {
        let kept = before.and_then(|r| r.mounts.get(name)).filter(|b| still(b, mount));
        let backing = match kept {
            Some(backing) => backing.clone(),
            None => mounted(task, name, mount, spec.unprivileged()).await?,
        };
        mounts.insert(name.clone(), backing);
    }
    let rootfs = match before {
        Some(record) => record.rootfs.clone(),
        None => root(task, spec).await?,
    };
    let mut bridges = BTreeMap::new();
    for (name, nic) in &spec.nics {
        bridges.insert(name.clone(), bridge(task, name, nic)?);
    }
    Ok(Record {
        mark: task.mark(Some(applied(spec)?)),
        spec: full,
        rootfs,
        mounts,
        bridges,
        intent: before.map(|r| r.intent).unwrap_or_default(),
    })
}

/// What is kept as applied.
pub(super) fn applied(spec: &CtSpec) -> Result<serde_json::Value, Fault> {
    let mut spec = spec.clone();
    spec.prune();
    serde_json::to_value(&spec).map_err(|e| Fault::other(format!("the spec cannot be written down: {e}")))
}

/// Every interface's address: what the manifest says, what it has, or one that follows from the container's UID.
fn addresses(task: &Task<'_>, spec: &mut CtSpec, now: Option<&Seen>) {
    for (name, nic) in &mut spec.nics {
        if nic.mac.is_none() {
            let has = now.and_then(|s| s.configured.nics.get(name)).and_then(|n| n.mac.clone());
            nic.mac = Some(has.unwrap_or_else(|| task.uid.mac(name.as_str())));
        }
    }
}

fn bridge(task: &Task<'_>, name: &Name, nic: &CtNic) -> Result<String, Fault> {
    match (&nic.network, &nic.bridge) {
        (Some(network), _) => Ok(network::link(&task.scope, network)?.bridge().to_owned()),
        (None, Some(bridge)) => Ok(bridge.clone()),
        (None, None) => Err(Fault::new(FaultKind::Invalid, format!("interface {name} has no network"))),
    }
}

/// Whether a mount still comes from where it came from.
fn still(backing: &Backing, mount: &Mount) -> bool {
    match &mount.host_path {
        Some(path) => backing.storage.is_none() && backing.place.path() == Path::new(path),
        None => {
            let storage = backing.storage.as_ref().filter(|_| backing.resource.is_none());
            storage == mount.storage.as_ref() && backing.resource == mount.volume
        }
    }
}

async fn root(task: &Task<'_>, spec: &CtSpec) -> Result<Backing, Fault> {
    let missing = || Fault::new(FaultKind::Invalid, format!("{} has no root file system", task.reference));
    let rootfs = spec.rootfs.as_ref().ok_or_else(missing)?;
    if let Some(path) = &rootfs.host_path {
        return Ok(Backing::host(Place::Directory(path.into())));
    }
    let (storage, size) = rootfs.storage.as_ref().zip(rootfs.size).ok_or_else(missing)?;
    let name = rootfs.image.as_ref().ok_or_else(missing)?;
    let local = image::local(task.world, &task.scope, name).await?;
    if local.kind != ImageType::Rootfs {
        let message = format!("image/{name} is of type {}, and a container starts from one of type rootfs", local.kind);
        return Err(Fault::new(FaultKind::Invalid, message).help("take an image of type rootfs"));
    }
    let image = Some((name.clone(), local.path));
    let wanted = volumes::Wanted { disk: volumes::ROOT, storage, size, image, unprivileged: spec.unprivileged() };
    volumes::ensure(task, &wanted).await
}

/// Where a mount comes from; makes its volume when it is the container's own.
async fn mounted(task: &Task<'_>, name: &Name, mount: &Mount, unprivileged: bool) -> Result<Backing, Fault> {
    if let Some(path) = &mount.host_path {
        let seen = std::fs::metadata(path).map_err(|e| {
            Fault::from(e)
                .context(format!("mount {name} of {}: {path}", task.reference))
                .help("make it on the host first")
        })?;
        let place = if seen.is_dir() { Place::Directory(path.into()) } else { Place::File(path.into()) };
        return Ok(Backing::host(place));
    }
    if let Some(resource) = &mount.volume {
        let (storage_name, volume) = volume::locate(&task.scope, resource)?;
        let storage = task.world.storage(&task.scope, &storage_name)?;
        let info = storage.find(&volume).await?.ok_or_else(|| {
            Fault::new(FaultKind::NotFound, format!("volume/{resource} is not on storage/{storage_name} yet"))
        })?;
        let place = volumes::place(storage.attachment(&volume).await?)?;
        let fill = Fill { place: place.clone(), unprivileged, archive: None, keep: true };
        let detail = serde_json::json!({"volume": volume});
        task.effect("prepare-volume", detail, task.world.cts.fill(&fill)).await?;
        return Ok(Backing {
            storage: Some(storage_name),
            volume: Some(volume),
            resource: Some(resource.clone()),
            size: Some(info.size),
            ..Backing::host(place)
        });
    }
    let missing = || Fault::new(FaultKind::Invalid, format!("mount {name} has no storage or no size"));
    let (storage, size) = mount.storage.as_ref().zip(mount.size).ok_or_else(missing)?;
    let wanted = volumes::Wanted { disk: name.as_str(), storage, size, image: None, unprivileged };
    volumes::ensure(task, &wanted).await
}

/// The record of a container that is taken over as it is.
pub(super) fn adopted(task: &Task<'_>, spec: &CtSpec, seen: &Seen) -> Result<Record, Fault> {
    let missing = || Fault::new(FaultKind::Invalid, format!("{} has no root file system", task.reference));
    let mut full = form::plain(&task.reference.name, spec);
    full.fill();
    let mut bridges = BTreeMap::new();
    for (name, nic) in &spec.nics {
        bridges.insert(name.clone(), bridge(task, name, nic)?);
    }
    let place = |path: &String| Backing::host(Place::Directory(path.into()));
    let mounts =
        spec.mounts.iter().filter_map(|(name, m)| Some((name.clone(), place(m.host_path.as_ref()?)))).collect();
    Ok(Record {
        mark: task.mark(Some(applied(spec)?)),
        spec: full,
        rootfs: Backing::host(seen.rootfs.clone().ok_or_else(missing)?),
        mounts,
        bridges,
        intent: Default::default(),
    })
}
