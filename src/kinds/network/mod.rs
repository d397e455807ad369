//! What guests' network interfaces are plugged into.
//!
//! A network of type `nat`, `routed` or `isolated` is libvirt's; one of type `bridge` is a bridge of the host, made by Reeve
//! (`create: true`) or there already, in which case Reeve only looks at it. The first two are managed in full: a field
//! left out is a field at its default. Guests learn from [`link`] what to plug into.

mod bridge;
mod change;
mod check;
mod clash;
mod observe;
mod spec;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use self::bridge::bridge_name;
pub use self::spec::{Dhcp, Dns, Host, NetworkSpec, NetworkType};
use crate::base::{Disruption, Fault, FaultKind, Mark, Name};
use crate::kinds::{Have, Kind, KindName, Observed, Reference, Report, Scope, Spec, Task, World};
use crate::plan::model::FieldChange;

/// The kind `Network`.
#[derive(Debug)]
pub struct NetworkKind;

/// How a guest's interface reaches a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A network of libvirt's; a container plugs into its bridge.
    Network {
        /// Its name for libvirt.
        name: String,
        /// Its bridge on the host.
        bridge: String,
    },
    /// A bridge of the host that libvirt knows nothing of.
    Bridge {
        /// The bridge's name.
        bridge: String,
    },
}

impl Link {
    /// The bridge on the host.
    pub fn bridge(&self) -> &str {
        match self {
            Self::Network { bridge, .. } | Self::Bridge { bridge } => bridge,
        }
    }
}

/// How a guest's interface reaches the network that the manifests call `name`.
pub fn link(scope: &Scope<'_>, name: &Name) -> Result<Link, Fault> {
    let Some(Spec::Network(spec)) = scope.spec(KindName::Network, name) else {
        return Err(Fault::new(FaultKind::NotFound, format!("network/{name} is in no manifest"))
            .help("add a Network manifest of that name, or give its file on the command line"));
    };
    let bridge = bridge_name(name, spec);
    Ok(match spec.kind {
        NetworkType::Bridge => Link::Bridge { bridge },
        NetworkType::Nat | NetworkType::Routed | NetworkType::Isolated => {
            Link::Network { name: name.to_string(), bridge }
        }
    })
}

/// What is observed of a network.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkLive {
    /// The network as it is configured, in canonical form.
    pub spec: NetworkSpec,
    /// The network as it is in force; `None` when it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<NetworkSpec>,
    /// Whether it comes up with the host by itself.
    pub autostart: bool,
    /// The interfaces that are plugged in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugged: Vec<String>,
    /// Our mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

#[async_trait]
impl Kind for NetworkKind {
    type Spec = NetworkSpec;
    type Live = NetworkLive;

    fn check(name: &Name, spec: &NetworkSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
        check::check(name, spec, scope, report);
    }

    fn references(_spec: &NetworkSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn want(name: &Name, spec: &NetworkSpec, _scope: &Scope<'_>) -> Value {
        change::want(&spec.canonical(name))
    }

    fn have(live: &NetworkLive) -> Have {
        let value = |spec: &NetworkSpec| serde_json::to_value(spec).unwrap_or_default();
        Have {
            configured: value(&live.spec),
            running: live.running.as_ref().map(value),
            active: live.running.is_some() && !live.plugged.is_empty(),
            mark: live.mark.clone(),
            must_be_marked: live.spec.made(),
        }
    }

    fn extra(_spec: &NetworkSpec, live: &NetworkLive, _scope: &Scope<'_>) -> Vec<FieldChange> {
        change::extra(live)
    }

    fn cost(change: &FieldChange, live: &NetworkLive) -> Disruption {
        match (Self::have(live).active, live.spec.by_libvirt()) {
            (false, _) => Disruption::None,
            // The kernel changes a bridge under its ports.
            (true, false) => change.disruption.min(Disruption::Live),
            (true, true) => change.disruption,
        }
    }

    fn refuse(changes: &[FieldChange], live: &NetworkLive) -> Option<Fault> {
        change::refuse(changes, live)
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<NetworkLive>>, Fault> {
        observe::observe(world, scope).await
    }

    async fn create(task: &Task<'_>, spec: &NetworkSpec) -> Result<(), Fault> {
        let spec = spec.canonical(&task.meta.name);
        let bridge = spec.bridge.clone().unwrap_or_default();
        if !spec.made() {
            return Err(Fault::new(FaultKind::NotFound, format!("this host has no bridge {bridge}"))
                .help("make the bridge, or let reeve make it with create: true"));
        }
        let mark = task.mark(Some(change::want(&spec)));
        let driver = task.world.networks.of(&spec)?;
        task.effect("make-network", json!({"bridge": bridge}), driver.create(&task.meta.name, &spec, &mark)).await
    }

    async fn update(
        task: &Task<'_>,
        spec: &NetworkSpec,
        live: &NetworkLive,
        changes: &[FieldChange],
    ) -> Result<(), Fault> {
        let name = &task.meta.name;
        let change::Made { spec, applied, restart } = change::make(name, spec, live, changes)?;
        let mark = task.mark(Some(applied));
        let driver = task.world.networks.of(&spec)?;
        let paths: Vec<&str> = changes.iter().map(|c| c.path.as_str()).collect();
        task.effect("change-network", json!({ "fields": paths }), driver.change(name, &spec, &mark, restart)).await
    }

    async fn delete(task: &Task<'_>, live: &NetworkLive) -> Result<(), Fault> {
        if !live.spec.made() {
            return Ok(());
        }
        let driver = task.world.networks.of(&live.spec)?;
        let mark = task.mark(None);
        task.effect("remove-network", Value::Null, driver.delete(&task.meta.name, &mark)).await
    }

    async fn adopt(task: &Task<'_>, spec: &NetworkSpec, live: &NetworkLive) -> Result<(), Fault> {
        if !live.spec.made() {
            return Ok(());
        }
        let name = &task.meta.name;
        let driver = task.world.networks.of(&live.spec)?;
        let mark = task.mark(Some(change::want(&spec.canonical(name))));
        task.effect("mark-network", Value::Null, driver.remark(name, live.mark.as_ref(), &mark)).await
    }

    async fn undo(task: &Task<'_>, spec: Option<&NetworkSpec>, effect: &str, _detail: &Value) -> Result<(), Fault> {
        if spec.is_some() || effect != "make-network" {
            return Ok(());
        }
        let drivers = &task.world.networks;
        for driver in drivers.libvirt.iter().chain([&drivers.bridge]) {
            match driver.delete(&task.meta.name, &task.mark(None)).await {
                // What is there is not what this resource made.
                Err(fault) if fault.kind == FaultKind::Identity => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn spec_of(live: &NetworkLive) -> Option<NetworkSpec> {
        Some(live.spec.clone())
    }
}
