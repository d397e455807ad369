//! What can be changed in a running guest, and how what runs is known after it was: the same for every runtime.

use crate::base::{Name, Size};
use crate::kinds::container::CtSpec;

/// Whether a change at `path` can be made in a guest that runs as `running`; `stays` when something shall be there then.
///
/// New mounts and devices can be added; what is mounted already is changed by a restart.
pub fn can_live(path: &str, running: &CtSpec, stays: bool) -> bool {
    let mut parts = path.split('.');
    let (head, entry, field) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    match (head, entry, field) {
        ("cpu" | "memory" | "hostname" | "nameservers" | "searchdomain", ..) => true,
        ("description" | "tags" | "node" | "runStrategy" | "reconcile" | "startup" | "stopTimeout", ..) => true,
        ("nics", _, Some("dhcp4" | "dhcp6")) => false,
        ("nics", Some(_), _) => true,
        ("rootfs", Some("size" | "image"), _) | ("mounts", _, Some("size" | "backup")) => true,
        ("mounts", Some(name), _) => stays && !running.mounts.contains_key(name),
        ("devices", Some(name), _) => stays && !running.devices.contains_key(name),
        _ => false,
    }
}

/// Whether the mount or device at a path shall be there.
pub fn stays(path: &str, spec: &CtSpec) -> bool {
    let mut parts = path.split('.');
    match (parts.next(), parts.next()) {
        (Some("mounts"), Some(name)) => spec.mounts.contains_key(name),
        (Some("devices"), Some(name)) => spec.devices.contains_key(name),
        _ => true,
    }
}

/// Notes in `running` that the change at `path` was made, as `new` says.
pub fn note(running: &mut CtSpec, new: &CtSpec, path: &str) {
    let mut parts = path.splitn(3, '.');
    match (parts.next().unwrap_or_default(), parts.next().and_then(|e| Name::new(e).ok())) {
        ("cpu", _) => running.cpu.clone_from(&new.cpu),
        ("memory", _) => running.memory.clone_from(&new.memory),
        ("hostname", _) => running.hostname.clone_from(&new.hostname),
        ("nameservers", _) => running.nameservers.clone_from(&new.nameservers),
        ("searchdomain", _) => running.searchdomain.clone_from(&new.searchdomain),
        ("nics", Some(name)) => match new.nics.get(&name) {
            Some(nic) => drop(running.nics.insert(name, nic.clone())),
            None => drop(running.nics.remove(&name)),
        },
        ("mounts", Some(name)) if !running.mounts.contains_key(&name) => {
            running.mounts.extend(new.mounts.get(&name).map(|m| (name.clone(), m.clone())));
        }
        ("devices", Some(name)) if !running.devices.contains_key(&name) => {
            running.devices.extend(new.devices.get(&name).map(|d| (name.clone(), d.clone())));
        }
        _ => {}
    }
    unseen(running, new);
}

/// Notes in a spec that a file system has a new size.
pub fn resize(spec: &mut CtSpec, mount: Option<&Name>, to: Size) {
    match mount {
        None => spec.rootfs.iter_mut().for_each(|r| r.size = Some(to)),
        Some(mount) => spec.mounts.get_mut(mount).into_iter().for_each(|m| m.size = Some(to)),
    }
}

/// Puts the fields that no guest can see, and that so have no running state, as they are configured.
pub fn unseen(running: &mut CtSpec, configured: &CtSpec) {
    running.description.clone_from(&configured.description);
    running.tags.clone_from(&configured.tags);
    running.node.clone_from(&configured.node);
    running.run_strategy = configured.run_strategy;
    running.reconcile = configured.reconcile;
    running.startup.clone_from(&configured.startup);
    running.stop_timeout = configured.stop_timeout;
    for (name, mount) in &mut running.mounts {
        if let Some(now) = configured.mounts.get(name) {
            mount.backup = now.backup;
        }
    }
}
