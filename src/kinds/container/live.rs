//! What is observed of a container: the runtime's view, in the shape of the spec.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::form;
use super::spec::{CtSpec, RunStrategy};
use crate::base::{Fault, Mark, Name};
use crate::drivers::container::{Ended, Intent, Power, Record, Seen};
use crate::kinds::{Catalog, KindName, Observed, Scope, World, network};

/// What is observed of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CtLive {
    /// Whether it runs.
    pub power: Power,
    /// How its last run ended, when it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// What we last wanted of its power.
    #[serde(default)]
    pub intent: Intent,
    /// Our mark, when it carries one; what was applied is in `applied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The spec that was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<CtSpec>,
    /// What is configured.
    pub spec: CtSpec,
    /// What the running guest has, where that is not what is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<CtSpec>,
    /// Mounts that are taken out, and whose volumes do not say so yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftover: Vec<Name>,
    /// Settings of the runtime that are not ours; they are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
}

/// Every container of this node.
pub(super) async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<CtLive>>, Fault> {
    let networks = scope.catalog().view(Networks::find);
    let seen = world.cts.list().await?;
    let look = |(name, seen): (Name, Result<Seen, Fault>)| {
        let observed = match seen {
            Ok(seen) => Observed::Present(live(&name, &seen, world, scope, &networks)),
            Err(fault) => Observed::Unknown(fault.message),
        };
        (name, observed)
    };
    Ok(seen.into_iter().map(look).collect())
}

/// Which Network a bridge belongs to.
struct Networks(HashMap<String, Name>);

impl Networks {
    fn find(catalog: &Catalog) -> Self {
        let scope = Scope::of(catalog);
        let of = |name: &Name| Some((network::link(&scope, name).ok()?.bridge().to_owned(), name.clone()));
        Self(catalog.of(KindName::Network).filter_map(|r| of(r.name())).collect())
    }
}

fn live(name: &Name, seen: &Seen, world: &World, scope: &Scope<'_>, networks: &Networks) -> CtLive {
    let record = seen.record.as_ref();
    let complete = |spec: &CtSpec| {
        let mut spec = form::plain(name, spec);
        spec.node = Some(world.node.clone());
        interfaces(&mut spec, record, scope, networks);
        if record.is_none() && !seen.power.active() {
            spec.run_strategy = Some(RunStrategy::Manual);
        }
        spec.prune();
        spec
    };
    let spec = complete(&seen.configured);
    let running = seen.running.as_ref().map(complete);
    CtLive {
        power: seen.power,
        ended: seen.ended,
        intent: record.map(|r| r.intent).unwrap_or_default(),
        mark: record.map(|r| Mark { applied: None, ..r.mark.clone() }),
        applied: record.and_then(|r| r.mark.applied.as_ref()).map(|a| CtSpec::deserialize(a).unwrap_or_default()),
        leftover: record.map(|r| leftover(r, &seen.configured)).unwrap_or_default(),
        running: running.filter(|r| *r != spec),
        spec,
        foreign: seen.foreign.clone(),
    }
}

/// Says which Network an interface is on, where its bridge is still that Network's or no record says otherwise.
fn interfaces(spec: &mut CtSpec, record: Option<&Record>, scope: &Scope<'_>, networks: &Networks) {
    for (name, nic) in &mut spec.nics {
        let recorded = record.and_then(|r| r.bridges.get(name));
        if let (Some(network), Some(bridge)) = (&nic.network, recorded)
            && network::link(scope, network).is_ok_and(|link| link.bridge() != bridge)
        {
            // The Network has another bridge by now.
            (nic.network, nic.bridge) = (None, Some(bridge.clone()));
        }
        let network = nic.bridge.as_ref().and_then(|bridge| match record {
            None => networks.0.get(bridge),
            // An adopted container's configuration names the bridge, and its record the Network.
            Some(record) => record
                .spec
                .nics
                .get(name)
                .and_then(|recorded| recorded.network.as_ref())
                .filter(|n| network::link(scope, n).is_ok_and(|link| link.bridge() == bridge)),
        });
        if let Some(network) = network {
            (nic.network, nic.bridge) = (Some(network.clone()), None);
        }
    }
}

fn leftover(record: &Record, configured: &CtSpec) -> Vec<Name> {
    let own = record.mounts.iter().filter(|(_, b)| b.storage.is_some() && b.resource.is_none());
    own.filter(|(name, _)| !configured.mounts.contains_key(*name)).map(|(name, _)| name.clone()).collect()
}
