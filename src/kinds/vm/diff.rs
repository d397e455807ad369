//! What a change costs a machine as it is now, which changes must not be made, and changes that no field shows.

use serde_json::{Value, json};

use super::form::{canonical, settle};
use super::live::VmLive;
use super::spec::{Bus, Media, RunStrategy, VmSpec};
use crate::base::{Disruption, Fault, FaultKind, Mark, Name, Size, Uid};
use crate::drivers::guest::{Power, Stop};
use crate::kinds::{Have, KindName};
use crate::plan::model::{Cause, FieldChange};

/// The path of a change of power.
pub(super) const POWER: &str = "power";
/// The path of a seed file that has to be written again.
pub(super) const SEED: &str = "cloudInit.seed";
/// The path of a restart that was begun and is done.
pub(super) const RESTART: &str = "restart";
/// The section of volumes whose disks are detached.
pub(super) const VOLUMES: &str = "volumes";

/// Fields that stay as they are when they are taken out of the manifest.
const RELEASED: &[&str] = &["mac", "size", "format", "nvram", "loader", "node"];

pub(super) fn have(live: &VmLive) -> Have {
    let applied = live.applied.as_ref().map(canonical);
    Have {
        configured: canonical(&live.spec),
        running: live.running.as_ref().filter(|_| live.power.active()).map(canonical),
        active: live.power.active(),
        mark: live.mark.as_ref().map(|m| Mark { applied, ..m.clone() }),
        must_be_marked: true,
    }
}

/// Whose machine it is, when no field of it differs.
pub(super) fn as_wanted(spec: &VmSpec, live: &VmLive, node: &Name) -> Option<Uid> {
    let elsewhere = spec.node.as_ref().is_some_and(|n| n != node);
    if elsewhere || live.running.is_some() && live.power.active() {
        return None;
    }
    let (mut want, mut have) = (spec.clone(), live.spec.clone());
    settle(&mut want);
    settle(&mut have);
    want.met_by(&have, live.applied.as_ref()).then_some(live.mark.as_ref()?.uid)
}

/// Whether taking the field out of the manifest leaves the machine as it is.
pub(super) fn released(change: &FieldChange) -> bool {
    let last = change.path.rsplit('.').next().unwrap_or_default();
    change.want.is_null() && RELEASED.contains(&last)
}

pub(super) fn cost(change: &FieldChange, live: &VmLive) -> Disruption {
    if change.path == POWER {
        return if change.want == "stopped" { Disruption::Restart } else { Disruption::None };
    }
    if matches!(change.head(), VOLUMES | RESTART) || released(change) {
        return Disruption::None;
    }
    if change.path == "node" {
        return Disruption::Migrate;
    }
    if !live.power.active() {
        return Disruption::None;
    }
    let refused = live.odd.refused.iter().any(|path| around(path, &change.path));
    let declared = KindName::VirtualMachine.shape().find(&change.path).map_or(Disruption::Restart, |(_, c)| c);
    let cost = match change.head() {
        "cpu" => processors(change, live, declared),
        "memory" => memory(change, live, declared),
        "disks" => disk(change, live, declared),
        "cloudInit" if now(live).cloud_init.is_none() || change.path == "cloudInit" => Disruption::Restart,
        "cloudInit" => Disruption::Live,
        _ => declared,
    };
    if refused && cost == Disruption::Live { Disruption::Restart } else { cost }
}

/// Whether `outer` is `path` or something around it.
fn around(outer: &str, path: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What the guest has now: what runs, else what is configured.
fn now(live: &VmLive) -> &VmSpec {
    live.running.as_ref().unwrap_or(&live.spec)
}

/// Cores are added while the guest runs as long as there is room; they are not taken away.
fn processors(change: &FieldChange, live: &VmLive, declared: Disruption) -> Disruption {
    if change.path != "cpu.cores" {
        return declared;
    }
    let cpu = now(live).cpu();
    let wanted = change.want.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    let count = cpu.sockets().saturating_mul(wanted).saturating_mul(cpu.threads());
    if (cpu.count()..=cpu.most()).contains(&count) { Disruption::Live } else { declared }
}

/// Memory moves with the balloon up to what the guest was started with.
fn memory(change: &FieldChange, live: &VmLive, declared: Disruption) -> Disruption {
    let memory = now(live).memory();
    let wanted = change.want.as_str().and_then(|s| s.parse::<Size>().ok());
    match (change.path.as_str(), wanted) {
        ("memory.size", Some(size)) if memory.balloon() && size <= memory.most() => Disruption::Live,
        _ => declared,
    }
}

fn disk(change: &FieldChange, live: &VmLive, declared: Disruption) -> Disruption {
    let Some(name) = change.device() else { return declared };
    let field = change.path.split('.').nth(2);
    let media = |text: Option<&Value>| text.and_then(Value::as_str) == Some("cdrom");
    let drive = Name::new(name).ok().and_then(|n| live.spec.disks.get(&n)).is_some_and(|d| d.media() == Media::Cdrom);
    match field {
        None => {
            let whole = if change.want.is_null() { &change.have } else { &change.want };
            let bus = whole.get("bus").and_then(|b| serde_json::from_value::<Bus>(b.clone()).ok());
            let hot = matches!(bus, Some(Bus::Virtio | Bus::Scsi | Bus::Usb)) && !media(whole.get("media"));
            if hot { Disruption::Live } else { Disruption::Restart }
        }
        Some("image" | "path") if drive => Disruption::Live,
        // Where its bytes are; refused anyway.
        Some("storage" | "volume" | "path") => Disruption::Migrate,
        Some(_) => declared,
    }
}

/// Why these changes must not be made.
pub(super) fn refuse(changes: &[FieldChange], live: &VmLive) -> Option<Fault> {
    changes.iter().filter(|c| c.head() == "disks" && !released(c)).find_map(|change| {
        let name = change.device()?;
        let disk = live.spec.disks.get(name)?;
        let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
        let (have, want) = (text(&change.have), text(&change.want));
        let (message, help) = match (change.path.split('.').nth(2)?, disk.media()) {
            ("size", Media::Disk) => return size(name, change),
            ("storage" | "volume" | "path", Media::Disk) => (
                format!("disk {name} is on {have} and the manifest says {want}; moving a disk is not done yet"),
                format!("put it back, or give the new disk another name; {name} is then detached and kept"),
            ),
            ("format", Media::Disk) => (
                format!("disk {name} is {have} and cannot become {want}"),
                "put it back, or add a new disk of that format and copy inside the guest".to_owned(),
            ),
            ("media", _) => (
                format!("disk {name} is a {have} and cannot become a {want}"),
                "give the new one another name".to_owned(),
            ),
            _ => return None,
        };
        Some(Fault::new(FaultKind::Invalid, message).help(help))
    })
}

/// A disk never shrinks, and one whose volume is gone is not made anew.
fn size(name: &str, change: &FieldChange) -> Option<Fault> {
    let parse = |value: &Value| value.as_str().and_then(|s| s.parse::<Size>().ok());
    match (parse(&change.have), parse(&change.want)) {
        (Some(have), Some(want)) if want < have => {
            Some(Fault::new(FaultKind::Invalid, format!("disk {name} has {have} and cannot shrink to {want}")).help(
                format!("set size to {have} or more; for a smaller disk add a new one and copy inside the guest"),
            ))
        }
        (None, Some(want)) => Some(
            Fault::new(
                FaultKind::NotFound,
                format!("the volume of disk {name}, {want} in size, is not on its storage"),
            )
            .help("put the volume back from a backup, or take the disk out of the manifest"),
        ),
        _ => None,
    }
}

/// Changes that no field shows: power, the seed's file, and work that was broken off.
pub(super) fn extra(spec: &VmSpec, live: &VmLive) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let mut push = |path: String, have: &str, want: &str| {
        changes.push(FieldChange {
            path,
            have: json!(have),
            want: json!(want),
            disruption: Disruption::Live,
            cause: Cause::Drift,
            pending: false,
        });
    };
    for disk in &live.odd.leftover {
        push(format!("{VOLUMES}.{disk}"), "attached", "detached");
    }
    if live.odd.seed_lost && spec.cloud_init.is_some() {
        push(SEED.to_owned(), "missing", "written");
    }
    if live.odd.restarting && live.power.active() {
        push(RESTART.to_owned(), "begun", "done");
    }
    if let Some(want) = power(spec.run_strategy(), live) {
        push(POWER.to_owned(), word(live.power), want);
    }
    changes
}

/// What a machine's power shall become, when it shall change.
fn power(strategy: RunStrategy, live: &VmLive) -> Option<&'static str> {
    let active = live.power.active();
    let start = match strategy {
        RunStrategy::Halted => return active.then_some("stopped"),
        _ if active => false,
        RunStrategy::Always => true,
        _ if live.odd.restarting => true,
        RunStrategy::Manual => false,
        RunStrategy::RerunOnFailure => {
            live.power == Power::Crashed
                || !matches!(live.stop, Some(Stop::Shutdown | Stop::Destroyed | Stop::Saved | Stop::Migrated))
        }
    };
    start.then_some("running")
}

/// The word for a machine's power.
pub(super) fn word(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Paused => "paused",
        Power::Halted => "halted",
        Power::ShuttingDown => "shutting down",
        Power::Stopped => "stopped",
        Power::Crashed => "crashed",
    }
}
