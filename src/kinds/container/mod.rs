//! A system container.
//!
//! ```text
//! spec      what a manifest says          check    what is wrong with it, offline
//! form      the one canonical form        diff     costs, refusals, changes that no field shows
//! live      what is observed              record   from the spec to what a driver is given
//! volumes   file systems on storages      apply    create, update, delete, adopt
//! power     start, stop, restart
//! ```

mod apply;
mod check;
mod diff;
mod form;
mod live;
mod power;
mod record;
mod spec;
mod volumes;

pub use apply::volume_grew;
pub use live::CtLive;
pub use spec::*;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use crate::base::{Disruption, Fault, Name, Uid};
use crate::drivers::container::Target;
use crate::kinds::{
    Claim, Console, Have, Kind, KindName, Observed, PowerRequest, Reference, Report, Scope, Task, World,
};
use crate::plan::model::FieldChange;

/// The kind `Container`.
#[derive(Debug)]
pub struct ContainerKind;

#[async_trait]
impl Kind for ContainerKind {
    type Spec = CtSpec;
    type Live = CtLive;

    fn check(name: &Name, spec: &CtSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
        check::check(name, spec, scope, report);
    }

    fn references(spec: &CtSpec) -> Vec<Reference> {
        let mut found = Vec::new();
        let rootfs = spec.rootfs.as_ref();
        let mut put = |kind: KindName, name: Option<&Name>, path: String| {
            found.extend(name.map(|name| Reference::required(kind, name, path)));
        };
        put(KindName::Storage, rootfs.and_then(|r| r.storage.as_ref()), "rootfs.storage".to_owned());
        put(KindName::Image, rootfs.and_then(|r| r.image.as_ref()), "rootfs.image".to_owned());
        for (name, mount) in &spec.mounts {
            put(KindName::Storage, mount.storage.as_ref(), format!("mounts.{name}.storage"));
            put(KindName::Volume, mount.volume.as_ref(), format!("mounts.{name}.volume"));
        }
        for (name, nic) in &spec.nics {
            put(KindName::Network, nic.network.as_ref(), format!("nics.{name}.network"));
        }
        found
    }

    fn claims(_name: &Name, spec: &CtSpec) -> Vec<Claim> {
        check::claims(spec)
    }

    fn want(name: &Name, spec: &CtSpec, _scope: &Scope<'_>) -> Value {
        form::canonical(name, spec)
    }

    fn have(live: &CtLive) -> Have {
        diff::have(live)
    }

    fn as_wanted(name: &Name, spec: &CtSpec, live: &CtLive, node: &Name) -> Option<Uid> {
        diff::as_wanted(name, spec, live, node)
    }

    fn extra(spec: &CtSpec, live: &CtLive, _scope: &Scope<'_>) -> Vec<FieldChange> {
        diff::extra(spec, live)
    }

    fn cost(change: &FieldChange, live: &CtLive) -> Disruption {
        diff::cost(change, live)
    }

    fn refuse(changes: &[FieldChange], live: &CtLive) -> Option<Fault> {
        diff::refuse(changes, live)
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<CtLive>>, Fault> {
        live::observe(world, scope).await
    }

    async fn create(task: &Task<'_>, spec: &CtSpec) -> Result<(), Fault> {
        apply::create(task, spec).await
    }

    async fn update(task: &Task<'_>, spec: &CtSpec, live: &CtLive, changes: &[FieldChange]) -> Result<(), Fault> {
        apply::update(task, spec, live, changes).await
    }

    async fn delete(task: &Task<'_>, _live: &CtLive) -> Result<(), Fault> {
        apply::delete(task).await
    }

    async fn undo(task: &Task<'_>, _spec: Option<&CtSpec>, effect: &str, detail: &Value) -> Result<(), Fault> {
        apply::undo(task, effect, detail).await
    }

    async fn power(task: &Task<'_>, _live: &CtLive, to: PowerRequest) -> Result<(), Fault> {
        power::request(task, to).await
    }

    fn spec_of(live: &CtLive) -> Option<CtSpec> {
        Some(live.spec.clone())
    }

    fn columns(live: Option<&CtLive>) -> Vec<(&'static str, String, bool)> {
        let text = |f: &dyn Fn(&CtLive) -> String| live.map(f).unwrap_or_default();
        let or_all = |value: Option<String>| value.unwrap_or_else(|| "no limit".to_owned());
        let addresses = |l: &CtLive| {
            let all: Vec<&str> = l.spec.nics.values().flat_map(|n| &n.addresses).map(String::as_str).collect();
            all.join(" ")
        };
        vec![
            ("POWER", text(&|l| diff::word(l.power).to_owned()), false),
            ("CORES", text(&|l| or_all(l.spec.cpu().cores.map(|c| c.to_string()))), false),
            ("MEMORY", text(&|l| or_all(l.spec.memory().size.map(|s| s.to_string()))), false),
            ("ADDRESSES", text(&addresses), false),
            ("UNPRIVILEGED", text(&|l| l.spec.unprivileged().to_string()), true),
            ("MOUNTS", text(&|l| l.spec.mounts.len().to_string()), true),
        ]
    }

    async fn console(world: &World, name: &Name, live: &CtLive) -> Result<Console, Fault> {
        let target = Target { name, owner: live.mark.as_ref().map(|m| m.uid) };
        world.cts.console(&target).await.map(Console::Program)
    }

    async fn adopt(task: &Task<'_>, spec: &CtSpec, _live: &CtLive) -> Result<(), Fault> {
        apply::adopt(task, spec).await
    }
}
