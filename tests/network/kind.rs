//! The kind `Network` on fakes: what is planned, what is done, what is left alone.

use std::sync::Arc;

use reeve::base::{Disruption, Fault, FaultKind};
use reeve::drivers::network::fake::FakeNetworks;
use reeve::drivers::network::{NetworkDrivers, Seen};
use reeve::kinds::network::{Link, link};
use reeve::kinds::{KindName, Observed};
use serde_json::json;

use crate::scene::Scene;

struct Fakes {
    libvirt: Arc<FakeNetworks>,
    bridge: Arc<FakeNetworks>,
}

fn scene() -> (Scene, Fakes) {
    let fakes = Fakes { libvirt: Arc::default(), bridge: Arc::default() };
    let mut scene = Scene::new();
    scene.world.networks = NetworkDrivers {
        libvirt: Some(fakes.libvirt.clone()),
        bridge: fakes.bridge.clone(),
        host: |bridge| (bridge == "br0").then(|| vec!["eth0".into()]),
    };
    (scene, fakes)
}

fn nat() -> serde_json::Value {
    json!({"type": "nat", "cidr": "10.40.0.1/24", "dhcp": {"range": ["10.40.0.100", "10.40.0.200"]}})
}

#[tokio::test]
async fn an_applied_network_plans_empty_and_a_second_apply_does_nothing() {
    let (mut scene, fakes) = scene();
    for (name, spec) in [
        ("lan", nat()),
        ("dmz", json!({"type": "isolated"})),
        ("wire", json!({"type": "bridge", "create": true, "bridge": "br7", "ports": ["eth2", "eth1"], "mtu": 9000})),
    ] {
        let network = scene.say(KindName::Network, name, spec);
        assert_eq!(scene.look(&network).await, Observed::Absent);
        scene.apply(&network).await.unwrap();
        assert_eq!(scene.changes(&network).await, [], "{name}");
        scene.apply(&network).await.unwrap();
    }
    assert_eq!(fakes.libvirt.calls(), ["create lan", "create dmz"]);
    assert_eq!(fakes.bridge.calls(), ["create wire"]);
    assert_eq!(scene.open_effects(), [""; 0]);
}

#[tokio::test]
async fn drift_and_change_cost_what_is_plugged_in() {
    let (mut scene, fakes) = scene();
    let network = scene.say(KindName::Network, "lan", nat());
    scene.apply(&network).await.unwrap();
    fakes.libvirt.alter(&network.name, |seen| {
        let mut spec = seen.spec.clone().unwrap();
        spec.domain = Some("drifted.example".into());
        seen.spec = Ok(spec);
        seen.running = None;
        seen.autostart = false;
    });
    let changes = scene.changes(&network).await;
    let paths: Vec<&str> = changes.iter().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["domain", "up", "autostart"]);
    let live = scene.live(&network).await;
    assert!(changes.iter().all(|c| live.cost(c) == Disruption::None), "nothing is plugged in");
    scene.apply(&network).await.unwrap();
    assert_eq!(scene.changes(&network).await, []);

    fakes.libvirt.alter(&network.name, |seen| seen.plugged.push("vnet0".into()));
    let mut wider = nat();
    wider["mtu"] = 9000.into();
    wider["dhcp"]["range"][1] = "10.40.0.210".into();
    scene.say(KindName::Network, "lan", wider);
    let live = scene.live(&network).await;
    let costs: Vec<(String, Disruption)> =
        scene.changes(&network).await.iter().map(|c| (c.path.clone(), live.cost(c))).collect();
    assert_eq!(costs, [("dhcp.range".into(), Disruption::Live), ("mtu".into(), Disruption::Restart)]);
}

#[tokio::test]
async fn a_bridge_of_the_host_is_only_looked_at() {
    let (mut scene, fakes) = scene();
    let there = scene.say(KindName::Network, "host", json!({"type": "bridge", "bridge": "br0"}));
    assert_eq!(scene.changes(&there).await, []);
    scene.delete(&there).await.unwrap();
    let missing = scene.say(KindName::Network, "none", json!({"type": "bridge", "bridge": "br9"}));
    assert_eq!(scene.look(&missing).await, Observed::Absent);
    let fault = scene.apply(&missing).await.unwrap_err();
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::NotFound, "this host has no bridge br9"));
    assert_eq!(fakes.bridge.calls(), [""; 0]);
}

#[tokio::test]
async fn where_libvirt_is_silent_its_networks_are_unknown_and_bridges_are_not() {
    let (mut scene, fakes) = scene();
    let lan = scene.say(KindName::Network, "lan", nat());
    let wire = scene.say(KindName::Network, "wire", json!({"type": "bridge", "create": true, "bridge": "br7"}));
    scene.apply(&wire).await.unwrap();
    let silent = || Fault::new(FaultKind::Unavailable, "libvirtd does not answer");
    fakes.libvirt.fail_after(0, silent());
    assert_eq!(scene.look(&lan).await, Observed::Unknown("libvirtd does not answer".into()));
    fakes.libvirt.fail_after(0, silent());
    assert!(matches!(scene.look(&wire).await, Observed::Present(_)));
}

#[tokio::test]
async fn what_no_manifest_can_say_is_unknown() {
    let (mut scene, fakes) = scene();
    let lan = scene.say(KindName::Network, "lan", nat());
    fakes.libvirt.put(Seen {
        name: lan.name.clone(),
        spec: Err("its forward mode is \"hostdev\", which no manifest can say".into()),
        running: None,
        autostart: true,
        plugged: Vec::new(),
        mark: None,
    });
    assert!(matches!(scene.look(&lan).await, Observed::Unknown(why) if why.contains("hostdev")));
}

#[test]
fn guests_learn_what_to_plug_into() {
    let (mut scene, _) = scene();
    let of = |scene: &Scene, name: &str| link(&scene.scope(), &name.parse().unwrap());
    scene.say(KindName::Network, "lan", nat());
    scene.say(KindName::Network, "wire", json!({"type": "bridge", "bridge": "br0"}));
    assert_eq!(of(&scene, "lan").unwrap(), Link::Network { name: "lan".into(), bridge: "rv-lan".into() });
    assert_eq!(of(&scene, "wire").unwrap(), Link::Bridge { bridge: "br0".into() });
    assert_eq!(of(&scene, "none").unwrap_err().message, "network/none is in no manifest");
}
