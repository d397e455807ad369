//! What the fake keeps, and how it answers as a real hypervisor would.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{Domain, Machine, Power, Record, Stop};
use crate::base::Name;
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
}

impl Entry {
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
