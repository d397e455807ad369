//! Bridges made by Reeve on this machine; needs root.

use reeve::base::{FaultKind, Name};
use reeve::drivers::network::Networks;
use reeve::drivers::network::bridge::{Bridges, ports_of};
use serde_json::{Value, json};

use super::contract::{Subject, contract, mark, spec};
use super::real_libvirt::run;

struct Host(Bridges, #[allow(dead_code, reason = "the directory lasts as long as this")] tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self(Bridges::new(dir.path()), dir)
    }
}

impl Subject for Host {
    fn driver(&self) -> &dyn Networks {
        &self.0
    }

    fn plug(&self, _network: &Name, bridge: &str, interface: &str) {
        run("ip", &["tuntap", "add", "dev", interface, "mode", "tap"]);
        run("ip", &["link", "set", "dev", interface, "master", bridge]);
    }

    fn unplug(&self, _network: &Name, interface: &str) {
        run("ip", &["link", "delete", "dev", interface]);
    }

    fn adapt(&self, mut spec: Value) -> Value {
        spec["type"] = "bridge".into();
        spec["create"] = true.into();
        spec["bridge"] = "imgbr-contract".into();
        spec
    }

    fn restarts(&self) -> bool {
        false
    }
}

/// Removes interfaces however the test ends.
struct Gone(&'static [&'static str]);

impl Drop for Gone {
    fn drop(&mut self) {
        for interface in self.0 {
            // Most tests have removed it themselves.
            let _ = std::process::Command::new("ip").args(["link", "delete", "dev", interface]).output();
        }
    }
}

#[tokio::test]
async fn bridges_keep_the_contract() {
    let _gone = Gone(&["imgbr-contract", "imgtest7"]);
    contract(&Host::new(), "image-bridge", 7).await;
    assert_eq!(ports_of("imgbr-contract"), None);
}

#[tokio::test]
async fn ports_come_and_go_and_the_hosts_own_address_is_safe() {
    let _gone = Gone(&["imgbr-ports", "imgport0", "imgport1", "imgguest0"]);
    let host = Host::new();
    let name: Name = "image-ports".parse().unwrap();
    let with = |ports: Value| {
        spec(
            &name,
            json!({"type": "bridge", "create": true, "bridge": "imgbr-ports", "ports": ports, "cidr": "10.213.8.1/24"}),
        )
    };
    for port in ["imgport0", "imgport1", "imgguest0"] {
        run("ip", &["tuntap", "add", "dev", port, "mode", "tap"]);
    }
    let marked = |spec: &reeve::kinds::network::NetworkSpec, uid| {
        let mut mark = mark(&name);
        mark.applied = Some(serde_json::to_value(spec).unwrap());
        mark.uid = uid;
        mark
    };
    let uid = reeve::base::Uid::fresh();
    let (one, two) = (with(json!(["imgport0"])), with(json!(["imgport1"])));
    host.0.create(&name, &one, &marked(&one, uid)).await.unwrap();
    run("ip", &["link", "set", "dev", "imgguest0", "master", "imgbr-ports"]);
    let seen = host.0.find(&name).await.unwrap().unwrap();
    assert_eq!((seen.spec, seen.plugged), (Ok(one.clone()), vec!["imgguest0".to_owned()]));
    host.0.change(&name, &two, &marked(&two, uid), false).await.unwrap();
    let seen = host.0.find(&name).await.unwrap().unwrap();
    assert_eq!((seen.spec, seen.plugged), (Ok(two.clone()), vec!["imgguest0".to_owned()]));
    run("ip", &["address", "add", "10.213.9.1/24", "dev", "imgport0"]);
    let fault = host.0.change(&name, &one, &marked(&one, uid), false).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
    assert!(fault.message.contains("imgport0 has the address 10.213.9.1/24"), "{fault}");
    run("ip", &["link", "delete", "dev", "imgguest0"]);
    host.0.delete(&name, &marked(&one, uid)).await.unwrap();
}

#[tokio::test]
async fn a_bridge_of_the_host_is_not_taken() {
    let _gone = Gone(&["imgbr-host"]);
    run("ip", &["link", "add", "name", "imgbr-host", "type", "bridge"]);
    let host = Host::new();
    let name: Name = "image-host".parse().unwrap();
    let (wanted, ours) = (spec(&name, json!({"type": "bridge", "create": true, "bridge": "imgbr-host"})), mark(&name));
    let fault = host.0.create(&name, &wanted, &ours).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Exists, "{fault}");
    assert_eq!(ports_of("imgbr-host"), Some(vec![]));
    host.0.delete(&name, &ours).await.unwrap();
    assert_eq!(ports_of("imgbr-host"), Some(vec![]), "it is still there");
}
