//! Looks at every network of the node: libvirt's, the bridges Reeve made, and the host's own that manifests name.

use std::collections::BTreeMap;

use super::{NetworkKind, NetworkLive, NetworkSpec};
use crate::base::{Fault, Name};
use crate::drivers::network::Seen;
use crate::kinds::{AsKind, KindName, Observed, Scope, World};

/// What is there, by name.
///
/// Where libvirt does not answer, only the networks that it keeps are unknown.
pub async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<NetworkLive>>, Fault> {
    let specs: Vec<(Name, NetworkSpec)> = scope
        .catalog()
        .of(KindName::Network)
        .filter_map(|r| Some((r.name().clone(), AsKind::<NetworkKind>::as_kind(&r.spec)?.canonical(r.name()))))
        .collect();
    let named = |name: &Name| specs.iter().find(|(n, _)| n == name).map(|(_, s)| s);
    let mut all = BTreeMap::new();
    let listed = match &world.networks.libvirt {
        Some(libvirt) => libvirt.list().await,
        None => Ok(Vec::new()),
    };
    match listed {
        // The manifest of a bridge is not about libvirt's network of that name.
        Ok(seen) => {
            all.extend(seen.into_iter().filter(|s| named(&s.name).is_none_or(NetworkSpec::by_libvirt)).map(present))
        }
        Err(fault) => {
            let kept = specs.iter().filter(|(_, s)| s.by_libvirt());
            all.extend(kept.map(|(name, _)| (name.clone(), Observed::Unknown(fault.message.clone()))));
        }
    }
    for seen in world.networks.bridge.list().await? {
        if named(&seen.name).is_none_or(|s| !s.by_libvirt() && s.made()) {
            all.entry(seen.name.clone()).or_insert_with(|| present(seen).1);
        }
    }
    for (name, spec) in specs.iter().filter(|(_, s)| !s.made()) {
        let bridge = spec.bridge.as_deref().unwrap_or_default();
        let live = (world.networks.host)(bridge).map(|plugged| NetworkLive {
            spec: spec.clone(),
            running: Some(spec.clone()),
            autostart: true,
            plugged,
            mark: None,
        });
        all.insert(name.clone(), live.map_or(Observed::Absent, Observed::Present));
    }
    Ok(all)
}

fn present(seen: Seen) -> (Name, Observed<NetworkLive>) {
    let Seen { name, spec, running, autostart, plugged, mark } = seen;
    let observed = match spec {
        Ok(spec) => Observed::Present(NetworkLive { spec, running, autostart, plugged, mark }),
        Err(why) => Observed::Unknown(why),
    };
    (name, observed)
}
