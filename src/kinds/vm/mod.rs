//! A virtual machine.
//!
//! ```text
//! spec      what a manifest says          check    what is wrong with it, offline
//! form      the one canonical form        diff     costs, refusals, changes that no field shows
//! live      what is observed              machine  from the spec to what a driver is given
//! volumes   disks on storages             seed     what cloud-init reads
//! apply     create, delete, adopt, undo   update   live and staged changes
//! power     start, stop, restart
//! ```

mod apply;
mod check;
mod diff;
mod form;
mod live;
mod machine;
mod power;
mod seed;
mod spec;
mod update;
mod volumes;

#[cfg(test)]
mod tests;

pub use live::{Oddities, VmLive};
pub use spec::*;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use crate::base::{Disruption, Fault, Name, Uid};
use crate::drivers::guest::Target;
use crate::kinds::{
    Claim, Console, Have, Kind, KindName, Observed, PowerRequest, Reference, Report, Scope, Task, World,
};
use crate::plan::model::FieldChange;

/// The kind `VirtualMachine`.
#[derive(Debug)]
pub struct VmKind;

#[async_trait]
impl Kind for VmKind {
    type Spec = VmSpec;
    type Live = VmLive;

    fn check(name: &Name, spec: &VmSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
        check::check(name, spec, scope, report);
    }

    fn references(spec: &VmSpec) -> Vec<Reference> {
        let mut found = Vec::new();
        for (name, disk) in &spec.disks {
            if let Some(storage) = &disk.storage {
                found.push(Reference::required(KindName::Storage, storage, format!("disks.{name}.storage")));
            }
            if let Some(image) = &disk.image {
                found.push(Reference::required(KindName::Image, image, format!("disks.{name}.image")));
            }
            if let Some(volume) = &disk.volume {
                found.push(Reference::required(KindName::Volume, volume, format!("disks.{name}.volume")));
            }
        }
        for (name, nic) in &spec.nics {
            if let Some(network) = &nic.network {
                found.push(Reference::required(KindName::Network, network, format!("nics.{name}.network")));
            }
        }
        found
    }

    fn claims(_name: &Name, spec: &VmSpec) -> Vec<Claim> {
        let macs = spec.nics.iter().filter_map(|(name, nic)| Some((name, nic.mac.as_ref()?)));
        let volumes = spec.disks.iter().filter_map(|(name, disk)| Some((name, disk.volume.as_ref()?)));
        let macs = macs.map(|(name, mac)| Claim::mac(mac, format!("nics.{name}.mac")));
        let volumes = volumes.map(|(name, volume)| Claim::volume(volume, format!("disks.{name}.volume")));
        macs.chain(volumes).collect()
    }

    fn want(_name: &Name, spec: &VmSpec, _scope: &Scope<'_>) -> Value {
        form::canonical(spec)
    }

    fn have(live: &VmLive) -> Have {
        diff::have(live)
    }

    fn as_wanted(_name: &Name, spec: &VmSpec, live: &VmLive, node: &Name) -> Option<Uid> {
        diff::as_wanted(spec, live, node)
    }

    fn extra(spec: &VmSpec, live: &VmLive, _scope: &Scope<'_>) -> Vec<FieldChange> {
        diff::extra(spec, live)
    }

    fn cost(change: &FieldChange, live: &VmLive) -> Disruption {
        diff::cost(change, live)
    }

    fn refuse(changes: &[FieldChange], live: &VmLive) -> Option<Fault> {
        diff::refuse(changes, live)
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<VmLive>>, Fault> {
        live::observe(world, scope).await
    }

    async fn observe_one(world: &World, scope: &Scope<'_>, name: &Name) -> Option<Result<Observed<VmLive>, Fault>> {
        Some(live::observe_one(world, scope, name).await)
    }

    async fn create(task: &Task<'_>, spec: &VmSpec) -> Result<(), Fault> {
        apply::create(task, spec).await
    }

    async fn update(task: &Task<'_>, spec: &VmSpec, live: &VmLive, changes: &[FieldChange]) -> Result<(), Fault> {
        update::update(task, spec, live, changes).await
    }

    async fn delete(task: &Task<'_>, live: &VmLive) -> Result<(), Fault> {
        apply::delete(task, live).await
    }

    async fn undo(task: &Task<'_>, _spec: Option<&VmSpec>, effect: &str, detail: &Value) -> Result<(), Fault> {
        apply::undo(task, effect, detail).await
    }

    async fn power(task: &Task<'_>, live: &VmLive, to: PowerRequest) -> Result<(), Fault> {
        power::request(task, live.spec.stop_timeout(), to).await
    }

    fn spec_of(live: &VmLive) -> Option<VmSpec> {
        Some(form::plain(&live.spec))
    }

    fn columns(live: Option<&VmLive>) -> Vec<(&'static str, String, bool)> {
        let text = |f: &dyn Fn(&VmLive) -> String| live.map(f).unwrap_or_default();
        vec![
            ("POWER", text(&|l| diff::word(l.power).to_owned()), false),
            ("CPUS", text(&|l| l.spec.cpu().count().to_string()), false),
            ("MEMORY", text(&|l| l.spec.memory().size().to_string()), false),
            ("DISKS", text(&|l| l.spec.disks.len().to_string()), true),
            ("NICS", text(&|l| l.spec.nics.len().to_string()), true),
            ("UUID", text(&|l| l.uuid.to_string()), true),
        ]
    }

    async fn console(world: &World, name: &Name, live: &VmLive) -> Result<Console, Fault> {
        let owner = live.mark.as_ref().map(|m| m.uid);
        let target = Target { name: name.as_str(), uuid: live.uuid, owner };
        world.vms.console(&target).await.map(Console::Device)
    }

    async fn adopt(task: &Task<'_>, spec: &VmSpec, _live: &VmLive) -> Result<(), Fault> {
        apply::adopt(task, spec).await
    }
}
