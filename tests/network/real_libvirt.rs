//! Networks on the libvirt of this machine; needs the lab to be up.

use std::path::Path;
use std::process::Command;

use reeve::base::{FaultKind, Name};
use reeve::drivers::guest::libvirt::connection::{Pool, SYSTEM};
use reeve::drivers::network::Networks;
use reeve::drivers::network::libvirt::LibvirtNetworks;
use serde_json::json;

use super::contract::{Subject, contract, mark, spec};

/// Runs a program that must succeed; gives what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {said} (is the lab up?)");
    String::from_utf8(out.stdout).unwrap()
}

/// Removes a network however the test ends.
struct Gone(&'static str);

impl Drop for Gone {
    fn drop(&mut self) {
        for verb in ["net-destroy", "net-undefine"] {
            // Most tests have removed it themselves.
            let _ = Command::new("virsh").args(["-q", "-c", SYSTEM, verb, self.0]).output();
        }
    }
}

struct Lab {
    networks: LibvirtNetworks,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { networks: LibvirtNetworks::new(Pool::new(SYSTEM), dir.path()), dir }
    }
}

impl Subject for Lab {
    fn driver(&self) -> &dyn Networks {
        &self.networks
    }

    fn plug(&self, _network: &Name, bridge: &str, interface: &str) {
        run("ip", &["tuntap", "add", "dev", interface, "mode", "tap"]);
        run("ip", &["link", "set", "dev", interface, "master", bridge, "up"]);
    }

    fn unplug(&self, _network: &Name, interface: &str) {
        run("ip", &["link", "delete", "dev", interface]);
    }
}

fn index(bridge: &str) -> String {
    std::fs::read_to_string(Path::new("/sys/class/net").join(bridge).join("ifindex")).unwrap()
}

#[tokio::test]
async fn libvirt_keeps_the_contract() {
    let _gone = Gone("image-lv");
    let lab = Lab::new();
    contract(&lab, "image-lv", 2).await;
    assert_eq!(std::fs::read_dir(lab.dir.path().join("networks")).unwrap().count(), 0, "no mark is left");
}

#[tokio::test]
async fn dhcp_and_names_change_while_the_network_is_up() {
    let _gone = Gone("image-live");
    let lab = Lab::new();
    let name: Name = "image-live".parse().unwrap();
    let ours = mark(&name);
    let host = |octet: u8| json!({"mac": "52:54:00:aa:00:01", "address": format!("10.213.3.{octet}")});
    let steps = [
        json!({"type": "nat", "cidr": "10.213.3.1/24"}),
        json!({"type": "nat", "cidr": "10.213.3.1/24", "dhcp": {"range": ["10.213.3.100", "10.213.3.150"]}}),
        json!({"type": "nat", "cidr": "10.213.3.1/24",
            "dhcp": {"range": ["10.213.3.100", "10.213.3.200"], "lease": "2h", "hosts": {"web": host(9)}},
            "dns": {"hosts": {"gate": "10.213.3.1", "door": "10.213.3.1", "far": "192.0.2.1"}}}),
        json!({"type": "nat", "cidr": "10.213.3.1/24",
            "dhcp": {"range": ["10.213.3.100", "10.213.3.200"], "lease": "2h", "hosts": {"web": host(10)}},
            "dns": {"hosts": {"gate": "10.213.3.1", "far": "192.0.2.2"}}}),
        json!({"type": "nat", "cidr": "10.213.3.1/24", "dhcp": {"hosts": {"web": host(10)}}}),
        json!({"type": "nat", "cidr": "10.213.3.1/24"}),
    ];
    let first = spec(&name, steps[0].clone());
    lab.networks.create(&name, &first, &ours).await.unwrap();
    let bridge = first.bridge.unwrap();
    let before = index(&bridge);
    for step in &steps {
        let wanted = spec(&name, step.clone());
        lab.networks.change(&name, &wanted, &ours, false).await.unwrap_or_else(|f| panic!("{step}: {f}"));
        let seen = lab.networks.find(&name).await.unwrap().unwrap();
        assert_eq!(seen.spec, Ok(wanted.clone()), "configured");
        assert_eq!(seen.running, Some(wanted), "in force");
    }
    assert_eq!(index(&bridge), before, "the bridge is the same one all along");
    lab.networks.delete(&name, &ours).await.unwrap();
}

#[tokio::test]
async fn every_field_comes_back_from_libvirt_as_it_was_given() {
    for (name, gone, value) in [
        (
            "image-full",
            Gone("image-full"),
            json!({
            "type": "nat", "cidr": "10.213.4.1/24", "cidr6": "fd00:213:4::1/64", "mtu": 9000, "device": "eth0",
            "domain": "lan.example.org", "dns": {"forwarders": ["192.0.2.53"], "hosts": {"gate": "10.213.4.1"}},
            "dhcp": {"range": ["10.213.4.100", "10.213.4.200"], "lease": "90m",
                "hosts": {"web": {"mac": "52:54:00:aa:00:04", "address": "10.213.4.9"}}}}),
        ),
        (
            "image-routed",
            Gone("image-routed"),
            json!({"type": "routed", "cidr": "10.213.5.1/26", "dns": {"enabled": false}}),
        ),
        ("image-isolated-and-long", Gone("image-isolated-and-long"), json!({"type": "isolated"})),
    ] {
        let lab = Lab::new();
        let name: Name = name.parse().unwrap();
        let (wanted, ours) = (spec(&name, value), mark(&name));
        lab.networks.create(&name, &wanted, &ours).await.unwrap();
        let seen = lab.networks.find(&name).await.unwrap().unwrap();
        assert_eq!(seen.spec, Ok(wanted.clone()));
        assert_eq!(seen.running, Some(wanted));
        lab.networks.delete(&name, &ours).await.unwrap();
        drop(gone);
    }
}

#[tokio::test]
async fn a_network_of_someone_else_is_not_touched() {
    let _gone = Gone("image-foreign");
    let lab = Lab::new();
    let name: Name = "image-foreign".parse().unwrap();
    let file = lab.dir.path().join("net.xml");
    std::fs::write(&file, "<network><name>image-foreign</name><bridge name='imgforeign'/></network>").unwrap();
    run("virsh", &["-q", "-c", SYSTEM, "net-define", file.to_str().unwrap()]);
    let seen = lab.networks.find(&name).await.unwrap().unwrap();
    assert_eq!((seen.mark, seen.running.is_some(), seen.autostart), (None, false, false));
    let (wanted, ours) = (spec(&name, json!({"type": "isolated", "bridge": "imgforeign"})), mark(&name));
    for fault in [
        lab.networks.create(&name, &wanted, &ours).await.unwrap_err(),
        lab.networks.change(&name, &wanted, &ours, true).await.unwrap_err(),
        lab.networks.delete(&name, &ours).await.unwrap_err(),
    ] {
        assert_eq!(fault.kind, FaultKind::Identity, "{fault}");
        assert!(fault.help.as_ref().unwrap().contains("reeve adopt"), "{fault:?}");
    }
    lab.networks.remark(&name, None, &ours).await.unwrap();
    let seen = lab.networks.find(&name).await.unwrap().unwrap();
    assert_eq!(seen.mark.as_ref(), Some(&ours));
    lab.networks.change(&name, &wanted, &ours, false).await.unwrap();
    let seen = lab.networks.find(&name).await.unwrap().unwrap();
    assert!(seen.running.is_some() && seen.autostart, "an adopted network is brought up");
    lab.networks.delete(&name, &ours).await.unwrap();
}

#[tokio::test]
async fn a_network_is_not_taken_from_a_machine_that_is_off() {
    let _gone = Gone("image-used");
    let lab = Lab::new();
    let name: Name = "image-used".parse().unwrap();
    let (wanted, ours) = (spec(&name, json!({"type": "isolated"})), mark(&name));
    lab.networks.create(&name, &wanted, &ours).await.unwrap();
    let file = lab.dir.path().join("domain.xml");
    let xml = "<domain type='qemu'><name>image-user</name><memory>65536</memory><os><type arch='x86_64'>hvm</type></os>
        <devices><interface type='network'><source network='image-used'/></interface></devices></domain>";
    std::fs::write(&file, xml).unwrap();
    run("virsh", &["-q", "-c", SYSTEM, "define", file.to_str().unwrap()]);
    let fault = lab.networks.delete(&name, &ours).await.unwrap_err();
    run("virsh", &["-q", "-c", SYSTEM, "undefine", "image-user"]);
    assert_eq!(fault.kind, FaultKind::Busy, "{fault}");
    assert!(fault.message.contains("the machine image-user would lose it"), "{fault}");
    lab.networks.delete(&name, &ours).await.unwrap();
}

#[tokio::test]
async fn what_a_broken_off_restart_left_unplugged_is_plugged_in_by_the_next_run() {
    let _gone = Gone("image-replug");
    let lab = Lab::new();
    let name: Name = "image-replug".parse().unwrap();
    let (wanted, ours) = (spec(&name, json!({"type": "isolated"})), mark(&name));
    lab.networks.create(&name, &wanted, &ours).await.unwrap();
    // As after a kill between the stop of the network and the end of the change.
    run("ip", &["tuntap", "add", "dev", "imgreplug", "mode", "tap"]);
    let file = lab.dir.path().join("networks/image-replug.json");
    let mut marked: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    marked["replug"] = json!(["imgreplug", "gone0"]);
    std::fs::write(&file, marked.to_string()).unwrap();
    lab.networks.change(&name, &wanted, &ours, false).await.unwrap();
    let plugged = lab.networks.find(&name).await.unwrap().unwrap().plugged;
    run("ip", &["link", "delete", "dev", "imgreplug"]);
    assert_eq!(plugged, ["imgreplug"]);
    lab.networks.delete(&name, &ours).await.unwrap();
}

#[tokio::test]
async fn addresses_the_host_has_already_are_refused_with_advice() {
    let _gone = Gone("image-clash");
    let lab = Lab::new();
    let name: Name = "image-clash".parse().unwrap();
    run("ip", &["tuntap", "add", "dev", "imgclash", "mode", "tap"]);
    run("ip", &["address", "add", "10.213.6.1/24", "dev", "imgclash"]);
    run("ip", &["link", "set", "dev", "imgclash", "up"]);
    let (wanted, ours) = (spec(&name, json!({"type": "nat", "cidr": "10.213.6.1/24"})), mark(&name));
    let fault = lab.networks.create(&name, &wanted, &ours).await;
    run("ip", &["link", "delete", "dev", "imgclash"]);
    let fault = fault.unwrap_err();
    assert!(fault.message.contains("imgclash"), "{fault}");
    assert!(fault.help.as_ref().unwrap().contains("another cidr"), "{fault:?}");
    // It is ours, and down; the next run brings it up.
    lab.networks.create(&name, &wanted, &ours).await.unwrap();
    lab.networks.delete(&name, &ours).await.unwrap();
}
