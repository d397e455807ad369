//! What a change costs a container as it is now, which changes must not be made, and changes that no field shows.

use serde_json::{Value, json};

use super::form;
use super::live::CtLive;
use super::spec::{CtSpec, RunStrategy};
use crate::base::{Disruption, Fault, FaultKind, Mark, Name, Size, Uid};
use crate::drivers::container::{Ended, Intent, Power, can_live};
use crate::kinds::{Have, KindName};
use crate::plan::model::{Cause, FieldChange};

/// The path of a change of power.
pub(super) const POWER: &str = "power";
/// The section of volumes whose mounts are taken out.
pub(super) const VOLUMES: &str = "volumes";

/// Fields that stay as they are when they are taken out of the manifest.
const RELEASED: &[&str] = &["mac", "size", "image", "node"];

pub(super) fn have(live: &CtLive) -> Have {
    // The host name is always set by then, so no name is needed to fill it in.
    let form = |spec: &CtSpec| form::canonical(&placeholder(), spec);
    Have {
        configured: form(&live.spec),
        running: live.running.as_ref().filter(|_| live.power.active()).map(form),
        active: live.power.active(),
        mark: live.mark.as_ref().map(|m| Mark { applied: live.applied.as_ref().map(form), ..m.clone() }),
        must_be_marked: true,
    }
}

/// Whose container it is, when no field of it differs.
pub(super) fn as_wanted(name: &Name, spec: &CtSpec, live: &CtLive, node: &Name) -> Option<Uid> {
    let elsewhere = spec.node.as_ref().is_some_and(|n| n != node);
    if elsewhere || live.running.is_some() && live.power.active() {
        return None;
    }
    let (want, have) = (form::settled(name, spec), form::settled(&placeholder(), &live.spec));
    want.met_by(&have, live.applied.as_ref()).then_some(live.mark.as_ref()?.uid)
}

fn placeholder() -> Name {
    // A constant that is a name.
    Name::new("ct").unwrap_or_else(|_| unreachable!("ct is a name"))
}

/// Whether taking the field out of the manifest leaves the container as it is.
pub(super) fn released(change: &FieldChange) -> bool {
    let unmanaged = match change.path.split('.').collect::<Vec<_>>().as_slice() {
        ["memory", _] => false,
        [.., last] => RELEASED.contains(last),
        [] => false,
    };
    change.want.is_null() && unmanaged
}

/// What the guest has now: what runs, else what is configured.
fn now(live: &CtLive) -> &CtSpec {
    live.running.as_ref().unwrap_or(&live.spec)
}

pub(super) fn cost(change: &FieldChange, live: &CtLive) -> Disruption {
    if change.path == POWER {
        return if change.want == "stopped" { Disruption::Restart } else { Disruption::None };
    }
    if change.head() == VOLUMES || released(change) {
        return Disruption::None;
    }
    if change.path == "node" {
        return Disruption::Migrate;
    }
    if !live.power.active() {
        return Disruption::None;
    }
    let declared = KindName::Container.shape().find(&change.path).map_or(Disruption::Restart, |(_, cost)| cost);
    match declared {
        Disruption::None | Disruption::Migrate | Disruption::Destroy => declared,
        _ if can_live(&change.path, now(live), !change.want.is_null()) => Disruption::Live,
        _ => Disruption::Restart,
    }
}

/// Why these changes must not be made.
pub(super) fn refuse(changes: &[FieldChange], live: &CtLive) -> Option<Fault> {
    let _ = live;
    changes.iter().filter(|c| !released(c)).find_map(|change| {
        let parts: Vec<&str> = change.path.split('.').collect();
        let text = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
        let (have, want) = (text(&change.have), text(&change.want));
        let (message, help) = match parts.as_slice() {
            ["unprivileged"] => (
                "whether a container has privileges cannot be changed: all its files would have other owners"
                    .to_owned(),
                "put it back; or make a new container and copy what it has to keep".to_owned(),
            ),
            ["rootfs", "size"] | ["mounts", _, "size"] => return size(&change.path, change),
            ["rootfs", "storage" | "hostPath"] => (
                format!("the root file system is on {have} and the manifest says {want}; moving it is not done yet"),
                "put it back".to_owned(),
            ),
            ["mounts", name, "storage" | "volume" | "hostPath"] => (
                format!("mount {name} is from {have} and the manifest says {want}; moving a mount is not done yet"),
                format!("put it back, or give the new mount another name; {name} is then detached and kept"),
            ),
            ["rootfs"] => (
                "the root file system cannot be taken away or replaced".to_owned(),
                "put `rootfs` back as it was".to_owned(),
            ),
            _ => return None,
        };
        Some(Fault::new(FaultKind::Invalid, message).help(help))
    })
}

/// A file system never shrinks.
fn size(path: &str, change: &FieldChange) -> Option<Fault> {
    let parse = |value: &Value| value.as_str().and_then(|s| s.parse::<Size>().ok());
    let (have, want) = (parse(&change.have)?, parse(&change.want)?);
    (want < have).then(|| {
        Fault::new(FaultKind::Invalid, format!("{path} is {have} and cannot shrink to {want}"))
            .help(format!("set it to {have} or more; for a smaller one add a new mount and copy inside the guest"))
    })
}

/// Changes that no field shows: power, and work that was broken off.
pub(super) fn extra(spec: &CtSpec, live: &CtLive) -> Vec<FieldChange> {
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
    for mount in &live.leftover {
        push(format!("{VOLUMES}.{mount}"), "attached", "detached");
    }
    if let Some(want) = power(spec.run_strategy(), live) {
        push(POWER.to_owned(), word(live.power), want);
    }
    changes
}

/// What a container's power shall become, when it shall change.
fn power(strategy: RunStrategy, live: &CtLive) -> Option<&'static str> {
    let active = live.power.active();
    let start = match strategy {
        RunStrategy::Halted => return active.then_some("stopped"),
        _ if active => false,
        RunStrategy::Always => true,
        _ if live.intent == Intent::Restart => true,
        RunStrategy::Manual => false,
        RunStrategy::RerunOnFailure => match live.intent {
            Intent::Stop => false,
            Intent::None => true,
            Intent::Run | Intent::Restart => live.ended != Some(Ended::Halted),
        },
    };
    start.then_some("running")
}

/// The word for a container's power.
pub(super) fn word(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Frozen => "frozen",
        Power::Changing => "changing",
        Power::Stopped => "stopped",
    }
}
