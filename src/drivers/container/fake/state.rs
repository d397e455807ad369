//! What the fake keeps, and how it answers as a real runtime would.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::running::unseen;
use super::super::{Ended, Intent, Place, Power, Record, Seen};
use crate::base::Size;
use crate::kinds::container::CtSpec;

/// Everything.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub containers: BTreeMap<String, Entry>,
    pub filled: BTreeMap<PathBuf, Option<PathBuf>>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub record: Option<Record>,
    pub configured: CtSpec,
    pub rootfs: Option<Place>,
    pub running: Option<CtSpec>,
    pub power: Power,
    pub ended: Ended,
}

impl Entry {
    /// A container that was just defined.
    pub fn new(record: &Record) -> Self {
        Self {
            configured: sized(record),
            rootfs: Some(record.rootfs.place.clone()),
            record: Some(record.clone()),
            running: None,
            power: Power::Stopped,
            ended: Ended::Never,
        }
    }

    /// A container someone else defined.
    pub fn foreign(spec: &CtSpec, power: Power) -> Self {
        let path = spec.rootfs.as_ref().and_then(|r| r.host_path.clone()).unwrap_or_default();
        Self {
            record: None,
            configured: spec.clone(),
            rootfs: Some(Place::Directory(path.into())),
            running: power.active().then(|| spec.clone()),
            power,
            ended: Ended::Never,
        }
    }

    /// The container as the trait promises it.
    pub fn seen(&self) -> Seen {
        let running = self.running.clone().map(|mut running| {
            unseen(&mut running, &self.configured);
            running
        });
        Seen {
            configured: self.configured.clone(),
            running,
            record: self.record.clone(),
            power: self.power,
            ended: (!self.power.active()).then_some(self.ended),
            init: self.power.active().then_some(1),
            rootfs: self.rootfs.clone(),
            foreign: Vec::new(),
        }
    }

    /// Configures it anew; only growing changes the sizes of its file systems.
    pub fn configure(&mut self, new: &Record) {
        let mut record = new.clone();
        if let Some(old) = &self.record {
            if record.rootfs.place == old.rootfs.place {
                record.rootfs.size = old.rootfs.size;
            }
            for (name, backing) in &mut record.mounts {
                if let Some(was) = old.mounts.get(name).filter(|was| was.place == backing.place) {
                    backing.size = was.size;
                }
            }
            record.intent = old.intent;
        }
        self.configured = sized(&record);
        self.record = Some(record);
    }

    /// Starts it with what is configured.
    pub fn start(&mut self) {
        self.intend(Intent::Run);
        if !self.power.active() {
            self.running = Some(self.configured.clone());
        }
        self.power = Power::Running;
    }

    /// Ends it, when it runs.
    pub fn end(&mut self, how: Ended) {
        if self.power.active() {
            (self.power, self.ended, self.running) = (Power::Stopped, how, None);
        }
    }

    /// Notes what is wanted of its power.
    pub fn intend(&mut self, intent: Intent) {
        if let Some(record) = &mut self.record {
            record.intent = intent;
        }
    }
}

/// The spec with the sizes that the file systems have.
fn sized(record: &Record) -> CtSpec {
    let mut spec = record.spec.clone();
    let keep = |size: &mut Option<Size>, has: Option<Size>| *size = has.or(*size);
    if let Some(rootfs) = &mut spec.rootfs {
        keep(&mut rootfs.size, record.rootfs.size);
    }
    for (name, mount) in &mut spec.mounts {
        keep(&mut mount.size, record.mounts.get(name).and_then(|b| b.size));
    }
    spec
}
