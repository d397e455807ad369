//! What the fake keeps, and how it answers as a real hypervisor would.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{Domain, Machine, Power, Record, Snapshot, Stop};
use crate::base::{Name, Size};
use crate::kinds::vm::{Accelerator, VmSpec};

/// What `q35` is here.
pub(super) const Q35: &str = "pc-q35-7.2";
/// What `pc` is here.
pub(super) const PC: &str = "pc-i440fx-7.2";

/// All machines.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub domains: BTreeMap<String, Entry>,
    /// How many milliseconds every changing call takes.
    #[serde(default)]
    pub delay: u64,
}

/// One machine; both forms are kept as they were given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub uuid: Uuid,
    pub record: Option<Record>,
    pub power: Power,
    pub stop: Option<Stop>,
    pub configured: Machine,
    pub running: Option<Machine>,
    pub unnamed: BTreeMap<String, Vec<Name>>,
    /// How often it was started while it did not run.
    #[serde(default)]
    pub starts: u64,
    /// What it can be taken back to, oldest first; with what it was then.
    #[serde(default)]
    pub moments: Vec<Moment>,
    /// The snapshot that the present state builds on.
    #[serde(default)]
    pub moment: Option<Name>,
}

/// A snapshot, and what the machine was when it was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Moment {
    pub snapshot: Snapshot,
    power: Power,
    configured: Machine,
    running: Option<Machine>,
    record: Option<Record>,
}

impl Entry {
    /// Keeps what it is now.
    pub fn keep(&mut self, name: &Name, taken: i64, memory: bool) {
        let snapshot = Snapshot { name: name.clone(), taken, memory, parent: self.moment.replace(name.clone()) };
        let (configured, running) = (self.configured.clone(), self.running.clone());
        self.moments.push(Moment { snapshot, power: self.power, configured, running, record: self.record.clone() });
    }

    /// Makes it what it was; without the memory it does not run.
    pub fn take_back(&mut self, name: &Name) -> bool {
        let Some(moment) = self.moments.iter().find(|m| m.snapshot.name == *name).cloned() else { return false };
        (self.configured, self.record) = (moment.configured, moment.record);
        (self.power, self.running) = match moment.snapshot.memory {
            true => (moment.power, moment.running),
            false => (Power::Stopped, None),
        };
        self.stop = (!self.power.active()).then_some(Stop::Unknown);
        self.moment = Some(name.clone());
        true
    }

    /// Forgets one; those that build on it build on the one before.
    pub fn forget(&mut self, name: &Name) {
        let Some(at) = self.moments.iter().position(|m| m.snapshot.name == *name) else { return };
        let gone = self.moments.remove(at).snapshot;
        for moment in self.moments.iter_mut().filter(|m| m.snapshot.parent.as_ref() == Some(name)) {
            moment.snapshot.parent = gone.parent.clone();
        }
        if self.moment.as_ref() == Some(name) {
            self.moment = gone.parent;
        }
    }
}

impl Entry {
    /// What it has while it runs.
    pub fn memory(&self) -> Option<Size> {
        self.running.as_ref().filter(|_| self.power == Power::Running).map(|m| m.spec.memory().size())
    }

    /// A machine that was just defined.
    pub fn new(uuid: Uuid, machine: &Machine, record: &Record) -> Self {
        Self {
            uuid,
            record: Some(record.clone()),
            power: Power::Stopped,
            stop: Some(Stop::Never),
            configured: machine.clone(),
            running: None,
            unnamed: BTreeMap::new(),
            starts: 0,
            moments: Vec::new(),
            moment: None,
        }
    }

    /// A machine someone else defined.
    pub fn foreign(uuid: Uuid, machine: &Machine, power: Power) -> Self {
        let names = |keys: Vec<&Name>| keys.into_iter().cloned().collect::<Vec<_>>();
        let spec = &machine.spec;
        let unnamed = [
            ("disks", names(spec.disks.keys().collect())),
            ("nics", names(spec.nics.keys().collect())),
            ("usb", names(spec.usb.keys().collect())),
            ("pci", names(spec.pci.keys().collect())),
        ];
        Self {
            uuid,
            record: None,
            power,
            stop: (!power.active()).then_some(Stop::Unknown),
            configured: machine.clone(),
            running: power.active().then(|| machine.clone()),
            unnamed: unnamed.into_iter().filter(|(_, n)| !n.is_empty()).map(|(s, n)| (s.to_owned(), n)).collect(),
            starts: 0,
            moments: Vec::new(),
            moment: None,
        }
    }

    /// The machine as the trait promises it.
    pub fn domain(&self, name: &str) -> Domain {
        Domain {
            name: name.to_owned(),
            uuid: self.uuid,
            record: self.record.clone(),
            power: self.power,
            stop: self.stop,
            configured: seen(&self.configured, false),
            running: self.running.as_ref().map(|m| seen(m, true)),
            unnamed: self.unnamed.clone(),
        }
    }

    /// Starts it with what is configured.
    pub fn start(&mut self) {
        if !self.power.active() {
            self.running = Some(self.configured.clone());
            self.starts += 1;
        }
        (self.power, self.stop) = (Power::Running, None);
    }

    /// Ends it, when it runs.
    pub fn end(&mut self, how: Stop) {
        if self.power.active() {
            self.power = if how == Stop::Crashed { Power::Crashed } else { Power::Stopped };
            (self.stop, self.running) = (Some(how), None);
        }
    }
}

/// A machine without what only the record knows.
fn seen(machine: &Machine, running: bool) -> Machine {
    let mut machine = machine.clone();
    let spec = &mut machine.spec;
    forget(spec);
    for disk in spec.disks.values_mut() {
        (disk.storage, disk.volume, disk.path, disk.image) = (None, None, None, None);
        (disk.backup, disk.on_remove, disk.format) = (None, None, None);
        if !running {
            disk.size = None;
        }
    }
    for nic in spec.nics.values_mut() {
        nic.network = None;
    }
    spec.machine = Some(match spec.machine().as_str() {
        "q35" => Q35.to_owned(),
        "pc" => PC.to_owned(),
        versioned => versioned.to_owned(),
    });
    if spec.accelerator() == Accelerator::Auto {
        spec.accelerator = Some(Accelerator::Tcg);
    }
    machine
}

fn forget(spec: &mut VmSpec) {
    spec.tags.clear();
    (spec.node, spec.run_strategy, spec.reconcile, spec.startup) = (None, None, None, None);
    (spec.stop_timeout, spec.cloud_init, spec.boot) = (None, None, spec.boot.take());
    if let Some(boot) = &mut spec.boot {
        boot.order.clear();
    }
    if let Some(memory) = &mut spec.memory {
        memory.balloon_min = None;
    }
    if let Some(display) = &mut spec.display {
        display.password = None;
    }
}
