//! What a change does: to the configuration always, to a running guest where hotplug can.

use super::super::{Changed, Machine};
use super::device;
use super::state::Entry;
use crate::base::Fault;
use crate::kinds::vm::{Bus, Media, VmSpec};

/// Makes `new` of the machine below `paths`.
pub(super) fn apply(
    entry: &mut Entry,
    new: &Machine,
    paths: &[String],
    stiff: &[String],
    now: bool,
) -> Result<Changed, Fault> {
    let mut changed = Changed::default();
    for path in paths {
        copy(&mut entry.configured, new, path)?;
        if !now {
            changed.staged.push((path.clone(), None));
            continue;
        }
        let Some(running) = &mut entry.running else {
            changed.live.push(path.clone());
            continue;
        };
        if stiff.contains(path) {
            changed.staged.push((path.clone(), Some("the guest does not take it".into())));
        } else if takes(running, new, path) {
            copy(running, new, path)?;
            changed.live.push(path.clone());
        } else {
            changed.staged.push((path.clone(), Some("this hypervisor cannot do it while the guest runs".into())));
        }
    }
    name(entry, new);
    Ok(changed)
}

/// Devices of the new machine are ours from now on.
fn name(entry: &mut Entry, new: &Machine) {
    let VmSpec { disks, nics, usb, pci, .. } = &new.spec;
    for (section, names) in &mut entry.unnamed {
        names.retain(|n| match section.as_str() {
            "disks" => !disks.contains_key(n),
            "nics" => !nics.contains_key(n),
            "usb" => !usb.contains_key(n),
            _ => !pci.contains_key(n),
        });
    }
    entry.unnamed.retain(|_, names| !names.is_empty());
}

/// Whether a running guest takes the change.
fn takes(running: &Machine, new: &Machine, path: &str) -> bool {
    if let Some((name, field)) = device(path, "disks") {
        let disk = new.spec.disks.get(&name).or_else(|| running.spec.disks.get(&name));
        let Some(disk) = disk else { return true };
        let bus = disk.bus_on(&new.spec.machine());
        let field = field.map(|f| f.split('.').next().unwrap_or_default());
        return match field {
            None => matches!(bus, Bus::Virtio | Bus::Scsi | Bus::Usb),
            Some("size" | "limits") => true,
            Some("image" | "path") => disk.media() == Media::Cdrom,
            Some(_) => false,
        };
    }
    if let Some((_, field)) = device(path, "nics") {
        return field != Some("bootOrder");
    }
    let (old, cpu) = (running.spec.cpu(), new.spec.cpu());
    let (memory, had) = (new.spec.memory(), running.spec.memory());
    match path {
        "cpu.limit" | "cpu.weight" | "cpu.pinning" | "description" => true,
        "cpu.cores" => {
            (old.sockets(), old.threads()) == (cpu.sockets(), cpu.threads())
                && (old.count()..=old.most()).contains(&cpu.count())
        }
        "memory.size" => had.balloon() && memory.size() <= had.most(),
        _ => {
            path.starts_with("usb.") || (path.starts_with("cloudInit") && running.seed.is_some() && new.seed.is_some())
        }
    }
}

/// Copies what stands at `path` from one machine to the other.
fn copy(to: &mut Machine, from: &Machine, path: &str) -> Result<(), Fault> {
    if let Some((name, _)) = device(path, "disks") {
        match from.disks.get(&name) {
            Some(attachment) => drop(to.disks.insert(name, attachment.clone())),
            None => drop(to.disks.remove(&name)),
        }
    } else if let Some((name, _)) = device(path, "nics") {
        match from.links.get(&name) {
            Some(link) => drop(to.links.insert(name, link.clone())),
            None => drop(to.links.remove(&name)),
        }
    } else if path.starts_with("cloudInit") {
        to.seed.clone_from(&from.seed);
        return Ok(());
    }
    let failed = |e: serde_json::Error| Fault::other(format!("the fake hypervisor cannot change {path}: {e}"));
    let source = serde_json::to_value(&from.spec).map_err(failed)?;
    let mut target = serde_json::to_value(&to.spec).map_err(failed)?;
    let keys: Vec<&str> = path.split('.').collect();
    let wanted = keys.iter().try_fold(&source, |here, key| here.get(key)).cloned();
    set(&mut target, &keys, wanted);
    to.spec = serde_json::from_value(target).map_err(failed)?;
    Ok(())
}

fn set(here: &mut serde_json::Value, keys: &[&str], value: Option<serde_json::Value>) {
    let [key, rest @ ..] = keys else { return };
    if here.is_null() {
        *here = serde_json::json!({});
    }
    let Some(map) = here.as_object_mut() else { return };
    match (rest.is_empty(), value) {
        (true, None) => drop(map.shift_remove(*key)),
        (true, Some(value)) => drop(map.insert((*key).to_owned(), value)),
        (false, value) => {
            if value.is_some() || map.contains_key(*key) {
                set(map.entry(*key).or_insert_with(|| serde_json::json!({})), rest, value);
            }
        }
    }
}
