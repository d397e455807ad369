//! What guests' network interfaces are plugged into.

mod bridge;
mod spec;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

pub use self::bridge::bridge_name;
pub use self::spec::{Dhcp, Dns, Host, NetworkSpec, NetworkType};
use crate::base::{Fault, FaultKind, Mark, Name};
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
    /// The network as it is configured.
    pub spec: NetworkSpec,
    /// Whether it is up.
    pub up: bool,
    /// The guests' interfaces that are plugged in.
    pub plugged: Vec<String>,
    /// Our mark.
    pub mark: Option<Mark>,
}

#[async_trait]
impl Kind for NetworkKind {
    type Spec = NetworkSpec;
    type Live = NetworkLive;

    fn check(_name: &Name, _spec: &NetworkSpec, _scope: &Scope<'_>, _report: &mut Report<'_>) {}

    fn references(_spec: &NetworkSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn want(_name: &Name, spec: &NetworkSpec, _scope: &Scope<'_>) -> Value {
        serde_json::to_value(spec).unwrap_or_default()
    }

    fn have(live: &NetworkLive) -> Have {
        Have {
            configured: serde_json::to_value(&live.spec).unwrap_or_default(),
            mark: live.mark.clone(),
            must_be_marked: true,
            ..Have::default()
        }
    }

    async fn observe(_world: &World, _scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<NetworkLive>>, Fault> {
        Ok(BTreeMap::new())
    }

    async fn create(_task: &Task<'_>, _spec: &NetworkSpec) -> Result<(), Fault> {
        Ok(())
    }

    async fn update(
        _task: &Task<'_>,
        _spec: &NetworkSpec,
        _live: &NetworkLive,
        _changes: &[FieldChange],
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn delete(_task: &Task<'_>, _live: &NetworkLive) -> Result<(), Fault> {
        Ok(())
    }
}
