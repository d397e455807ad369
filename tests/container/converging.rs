//! An applied manifest plans empty; every change costs what it says, and is done, staged or refused accordingly.

use std::sync::Arc;

use reeve::base::{Disruption, Name, Size};
use reeve::drivers::container::fake::Fake;
use reeve::drivers::container::{CtDriver as _, Ended, Intent, Power};
use reeve::kinds::container::CtSpec;
use reeve::kinds::{KindName, PowerRequest, Ref};
use reeve::plan::model::Readiness;
use serde_json::{Value, json};

use super::bench::Bench;

pub async fn bench() -> (Bench, Arc<Fake>) {
    let fake = Arc::new(Fake::new());
    // The fake unpacks nothing: an empty tar archive will do.
    let mut archive = vec![0; 1024];
    archive[257..262].copy_from_slice(b"ustar");
    (Bench::new(fake.clone(), "br0", &archive).await, fake)
}

pub fn full() -> Value {
    json!({
        "description": "names", "tags": ["prod", "dns"], "node": "n1", "runStrategy": "Always",
        "rootfs": {"storage": "local", "size": "64Mi", "image": "small"},
        "mounts": {
            "data": {"path": "/srv", "storage": "local", "size": "32Mi"},
            "conf": {"path": "/etc/dns", "hostPath": "/usr", "readOnly": true}
        },
        "cpu": {"cores": 1, "limit": 0.5, "weight": 100}, "memory": {"size": "256Mi", "swap": "128Mi"},
        "nics": {"eth0": {"network": "lan", "addresses": ["10.40.0.53/24"], "gateway": "10.40.0.1"}},
        "hostname": "dns", "nameservers": ["10.40.0.1"], "searchdomain": "example.org",
        "env": {"A": "b"}, "devices": {"null": {"path": "/dev/null"}}, "startup": {"order": 1}
    })
}

fn set(spec: &mut Value, path: &str, value: Value) {
    let mut here = spec;
    let parts: Vec<&str> = path.split('.').collect();
    for part in &parts[..parts.len() - 1] {
        here = here.as_object_mut().unwrap().entry(*part).or_insert_with(|| json!({}));
    }
    let (map, last) = (here.as_object_mut().unwrap(), parts[parts.len() - 1]);
    if value.is_null() { drop(map.remove(last)) } else { drop(map.insert(last.to_owned(), value)) }
}

#[tokio::test]
async fn an_applied_manifest_plans_empty() {
    for spec in [full(), json!({"rootfs": {"storage": "local", "size": "64Mi", "image": "small"}})] {
        let (mut bench, fake) = bench().await;
        let ct = bench.say(KindName::Container, "dns-1", spec);
        bench.effects();
        bench.apply(&ct).await.unwrap();
        let effects = bench.effects();
        assert_eq!(effects[..3], ["volume", "fill", "mark-volume"]);
        assert_eq!(effects[effects.len() - 2..], ["define", "start"]);
        assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
        fake.forget_calls();
        bench.apply(&ct).await.unwrap();
        assert_eq!(fake.calls(), Vec::<String>::new(), "a second apply changes nothing");
        let seen = fake.find(&ct.name).await.unwrap().unwrap();
        assert_eq!(seen.power, Power::Running);
        for nic in seen.configured.nics.values() {
            assert!(nic.mac.as_ref().unwrap().starts_with("52:54:00:"), "a MAC follows from the UID");
        }
        let filled = fake.filled();
        assert!(filled.values().any(Option::is_some), "the image was unpacked: {filled:?}");
    }
}

/// Changes of a running container: the path that is set, to what, the path that differs then, and what it costs.
fn table() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    vec![
        ("description", json!("other"), "description", "none"),
        ("description", Value::Null, "description", "none"),
        ("tags", json!(["x"]), "tags", "none"),
        ("runStrategy", json!("Manual"), "runStrategy", "none"),
        ("startup.order", json!(7), "startup.order", "none"),
        ("stopTimeout", json!("5s"), "stopTimeout", "none"),
        ("mounts.data.backup", json!(false), "mounts.data.backup", "none"),
        ("cpu.cores", json!(2), "cpu.cores", "live"),
        ("cpu.cores", Value::Null, "cpu.cores", "live"),
        ("cpu.limit", Value::Null, "cpu.limit", "live"),
        ("cpu.weight", json!(500), "cpu.weight", "live"),
        ("memory.size", json!("512Mi"), "memory.size", "live"),
        ("memory.swap", json!("0"), "memory.swap", "live"),
        ("memory", Value::Null, "memory.size", "live"),
        ("hostname", json!("other"), "hostname", "live"),
        ("hostname", Value::Null, "hostname", "live"),
        ("nameservers", json!(["9.9.9.9", "1.1.1.1"]), "nameservers", "live"),
        ("searchdomain", Value::Null, "searchdomain", "live"),
        ("nics.eth0.addresses", json!(["10.40.0.54/24"]), "nics.eth0.addresses", "live"),
        ("nics.eth0.gateway", Value::Null, "nics.eth0.gateway", "live"),
        ("nics.eth0.mac", json!("52:54:00:00:00:01"), "nics.eth0.mac", "live"),
        ("nics.eth0.mtu", json!(1400), "nics.eth0.mtu", "live"),
        ("nics.eth0.rate", json!("10Mbps"), "nics.eth0.rate", "live"),
        ("nics.eth0.vlan", json!(20), "nics.eth0.vlan", "live"),
        ("nics.eth0.linkUp", json!(false), "nics.eth0.linkUp", "live"),
        ("nics.eth0.dhcp6", json!(true), "nics.eth0.dhcp6", "restart"),
        ("nics.eth1", json!({"network": "lan"}), "nics.eth1", "live"),
        ("nics", Value::Null, "nics.eth0", "live"),
        ("rootfs.size", json!("96Mi"), "rootfs.size", "live"),
        ("mounts.data.size", json!("64Mi"), "mounts.data.size", "live"),
        ("mounts.more", json!({"path": "/m", "storage": "local", "size": "32Mi"}), "mounts.more", "live"),
        ("mounts.host", json!({"path": "/h", "hostPath": "/srv"}), "mounts.host", "live"),
        ("mounts.conf", Value::Null, "mounts.conf", "restart"),
        ("mounts.data", Value::Null, "mounts.data", "restart"),
        ("mounts.data.path", json!("/other"), "mounts.data.path", "restart"),
        ("mounts.data.readOnly", json!(true), "mounts.data.readOnly", "restart"),
        ("mounts.data.mountOptions", json!(["noexec"]), "mounts.data.mountOptions", "restart"),
        ("devices.zero", json!({"path": "/dev/zero"}), "devices.zero", "live"),
        ("devices.null", Value::Null, "devices.null", "restart"),
        ("devices.null.mode", json!("0600"), "devices.null.mode", "restart"),
        ("rootfs.readOnly", json!(true), "rootfs.readOnly", "restart"),
        ("features.nesting", json!(true), "features.nesting", "restart"),
        ("features.fuse", json!(true), "features.fuse", "restart"),
        ("features.keyctl", json!(true), "features.keyctl", "restart"),
        ("env.A", json!("c"), "env.A", "restart"),
        ("env.B", json!("c"), "env.B", "restart"),
        ("env", Value::Null, "env.A", "restart"),
        ("entrypoint", json!(["/bin/sleep", "9"]), "entrypoint", "restart"),
        ("arch", json!("i386"), "arch", "restart"),
    ]
}

#[tokio::test]
async fn every_change_costs_what_it_says_and_is_done() {
    let (mut bench, fake) = bench().await;
    for (number, (path, value, differs, cost)) in table().into_iter().enumerate() {
        let name = format!("ct-{number}");
        bench.options.allow = Disruption::Live;
        let ct = bench.say(KindName::Container, &name, full());
        bench.apply(&ct).await.unwrap();
        let mut spec = full();
        set(&mut spec, path, value.clone());
        bench.say(KindName::Container, &name, spec);
        let changes = bench.changes(&ct).await;
        let change = changes.iter().find(|c| c.starts_with(&format!("{differs}: ")));
        let change = change.unwrap_or_else(|| panic!("{path} = {value}: {changes:?}"));
        assert!(change.ends_with(&format!("({cost})")), "{path} = {value}: {change}");
        bench.apply(&ct).await.unwrap();
        let seen = fake.find(&ct.name).await.unwrap().unwrap();
        assert_eq!(seen.power, Power::Running, "{path}");
        if cost == "restart" {
            let waiting = bench.changes(&ct).await;
            assert!(!waiting.is_empty() && waiting.iter().all(|c| c.ends_with("pending)")), "{path}: {waiting:?}");
            let readiness = bench.readiness(&ct).await;
            assert!(matches!(readiness, Some(Readiness::Pending(_))), "{path}: {readiness:?}");
            fake.forget_calls();
            bench.apply(&ct).await.unwrap();
            assert_eq!(fake.calls(), Vec::<String>::new(), "{path}: what waits is left alone");
            bench.options.allow = Disruption::Restart;
            bench.apply(&ct).await.unwrap();
            assert!(fake.calls().contains(&format!("start {name}")), "{path}: {:?}", fake.calls());
        }
        assert_eq!(bench.changes(&ct).await, Vec::<String>::new(), "{path} = {value}");
        let seen = fake.find(&ct.name).await.unwrap().unwrap();
        assert_eq!(seen.power, Power::Running, "{path}");
        let seen_as = |spec: &CtSpec| spec.canonical();
        assert_eq!(seen_as(&seen.running.unwrap()), seen_as(&seen.configured), "{path}");
    }
}

#[tokio::test]
async fn a_stopped_container_is_changed_at_no_cost() {
    let (mut bench, fake) = bench().await;
    let mut spec = full();
    set(&mut spec, "runStrategy", json!("Halted"));
    let ct = bench.say(KindName::Container, "off", spec.clone());
    bench.apply(&ct).await.unwrap();
    assert_eq!(fake.find(&ct.name).await.unwrap().unwrap().power, Power::Stopped);
    set(&mut spec, "features.nesting", json!(true));
    set(&mut spec, "mounts.conf", Value::Null);
    bench.say(KindName::Container, "off", spec);
    assert!(bench.changes(&ct).await.iter().all(|c| c.ends_with("(none)")), "{:?}", bench.changes(&ct).await);
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_must_not_be_done_is_refused() {
    let (mut bench, fake) = bench().await;
    let ct = bench.say(KindName::Container, "safe", full());
    bench.apply(&ct).await.unwrap();
    fake.forget_calls();
    for (path, value, says) in [
        ("unprivileged", json!(false), "cannot be changed"),
        ("rootfs.size", json!("32Mi"), "cannot shrink"),
        ("mounts.data.size", json!("16Mi"), "cannot shrink"),
        ("rootfs.storage", json!("other"), "moving it is not done"),
        ("mounts.data", json!({"path": "/srv", "hostPath": "/srv"}), "moving a mount is not done"),
    ] {
        let mut spec = full();
        set(&mut spec, path, value);
        bench.say(KindName::Container, "safe", spec);
        match bench.readiness(&ct).await {
            Some(Readiness::Blocked(why)) => assert!(why.contains(says), "{path}: {why}"),
            other => panic!("{path}: {other:?}"),
        }
        assert!(bench.apply(&ct).await.is_err());
    }
    assert_eq!(fake.calls(), Vec::<String>::new(), "nothing was touched");
}

#[tokio::test]
async fn drift_is_seen_and_taken_back() {
    let (mut bench, fake) = bench().await;
    let ct = bench.say(KindName::Container, "dns-1", full());
    bench.apply(&ct).await.unwrap();
    fake.meddle("dns-1", |spec| spec.memory.get_or_insert_default().size = Some(Size::mib(32)));
    assert_eq!(bench.changes(&ct).await, ["memory.size: \"32Mi\" -> \"256Mi\" (live)"]);
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    // Only what runs was changed, by hand: it can be put right at once, so it does not wait for a restart.
    fake.meddle_running("dns-1", |spec| {
        spec.cpu.get_or_insert_default().limit = None;
        spec.nics.clear();
    });
    let changes = bench.changes(&ct).await;
    assert!(changes.iter().all(|c| c.ends_with("(live, pending)")), "{changes:?}");
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    // What nobody declared and nobody manages is left alone.
    fake.meddle("dns-1", |spec| spec.nics.get_mut("eth0").unwrap().mac = Some("52:54:00:00:00:77".into()));
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
}

#[tokio::test]
async fn power_follows_the_strategy() {
    // Strategy, how the guest ended and what was wanted of it, whether it is started again.
    for (strategy, ended, stopped_by_us, starts) in [
        ("Always", Ended::Halted, false, true),
        ("Always", Ended::Failed, true, true),
        ("RerunOnFailure", Ended::Halted, false, false),
        ("RerunOnFailure", Ended::Failed, false, true),
        ("RerunOnFailure", Ended::Halted, true, false),
        ("Manual", Ended::Failed, false, false),
    ] {
        let (mut bench, fake) = bench().await;
        let mut spec = full();
        set(&mut spec, "runStrategy", json!(strategy));
        let ct = bench.say(KindName::Container, "pow", spec);
        bench.apply(&ct).await.unwrap();
        let running = fake.find(&ct.name).await.unwrap().unwrap().power == Power::Running;
        assert_eq!(running, strategy != "Manual");
        bench.power(&ct, PowerRequest::Start).await.unwrap();
        if stopped_by_us {
            bench.power(&ct, PowerRequest::Stop { force: ended == Ended::Failed }).await.unwrap();
        } else {
            fake.end("pow", ended);
        }
        let changes = bench.changes(&ct).await;
        let expected: &[&str] = if starts { &["power: \"stopped\" -> \"running\" (none)"] } else { &[] };
        assert_eq!(changes, expected, "{strategy} {ended:?} {stopped_by_us}");
        bench.apply(&ct).await.unwrap();
        assert_eq!(fake.find(&ct.name).await.unwrap().unwrap().power.active(), starts);
    }
}

#[tokio::test]
async fn halting_costs_a_restart_and_a_deaf_guest_is_switched_off() {
    let (mut bench, fake) = bench().await;
    let ct = bench.say(KindName::Container, "pow", full());
    bench.apply(&ct).await.unwrap();
    let mut spec = full();
    set(&mut spec, "runStrategy", json!("Halted"));
    bench.say(KindName::Container, "pow", spec);
    bench.apply(&ct).await.unwrap();
    assert!(matches!(bench.readiness(&ct).await, Some(Readiness::Pending(_))));
    assert!(fake.find(&ct.name).await.unwrap().unwrap().power.active());
    fake.deafen("pow");
    assert!(
        bench.power(&ct, PowerRequest::Stop { force: false }).await.unwrap_err().message.contains("did not shut down")
    );
    bench.options.allow = Disruption::Restart;
    bench.apply(&ct).await.unwrap();
    assert!(!fake.find(&ct.name).await.unwrap().unwrap().power.active());
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    // A person's restart is finished even when it is broken off in between.
    let mut spec = full();
    set(&mut spec, "runStrategy", json!("Manual"));
    bench.say(KindName::Container, "pow", spec);
    bench.apply(&ct).await.unwrap();
    bench.power(&ct, PowerRequest::Start).await.unwrap();
    let own = reeve::drivers::container::Target { name: &ct.name, owner: Some(bench.uids[&ct]) };
    fake.kill(&own, Intent::Restart).await.unwrap();
    assert_eq!(bench.changes(&ct).await, ["power: \"stopped\" -> \"running\" (none)"]);
}

#[tokio::test]
async fn mounts_and_containers_leave_their_data() {
    let (mut bench, fake) = bench().await;
    bench.options.allow = Disruption::Restart;
    let ct = bench.say(KindName::Container, "dns-1", full());
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.volumes().await, ["ct-dns-1-data 32Mi attached", "ct-dns-1-rootfs 64Mi attached"]);
    let mut spec = full();
    set(&mut spec, "mounts.data", Value::Null);
    bench.say(KindName::Container, "dns-1", spec);
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    assert_eq!(bench.volumes().await[0], "ct-dns-1-data 32Mi detached");
    // Put back, it is the same volume with what is on it, and larger.
    let before = fake.filled();
    let mut spec = full();
    set(&mut spec, "mounts.data.size", json!("48Mi"));
    bench.say(KindName::Container, "dns-1", spec);
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.volumes().await[0], "ct-dns-1-data 48Mi attached");
    assert_eq!(fake.filled(), before, "nothing was formatted");
    for _ in 0..2 {
        bench.apply(&ct).await.unwrap();
    }
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    bench.delete(&ct).await.unwrap();
    assert_eq!(fake.list().await.unwrap().len(), 0);
    assert_eq!(bench.volumes().await, ["ct-dns-1-data 48Mi orphan", "ct-dns-1-rootfs 64Mi orphan"]);
    // Another container of that name gets volumes of its own.
    bench.uids.insert(ct.clone(), reeve::base::Uid::fresh());
    bench.apply(&ct).await.unwrap();
    let volumes = bench.volumes().await;
    assert_eq!(volumes.len(), 4, "{volumes:?}");
    assert!(volumes.contains(&"ct-dns-1-rootfs-2 64Mi attached".to_owned()), "{volumes:?}");
    bench.options.destroy_data = true;
    bench.delete(&ct).await.unwrap();
    assert_eq!(bench.volumes().await, ["ct-dns-1-data 48Mi orphan", "ct-dns-1-rootfs 64Mi orphan"]);
}

#[tokio::test]
async fn a_volume_outlives_its_containers() {
    let (mut bench, _fake) = bench().await;
    bench.options.allow = Disruption::Restart;
    let volume = bench.say(KindName::Volume, "keep", json!({"storage": "local", "size": "32Mi", "content": "rootdir"}));
    bench.apply(&volume).await.unwrap();
    let mut spec = full();
    set(&mut spec, "mounts.keep", json!({"path": "/keep", "volume": "keep"}));
    let ct = bench.say(KindName::Container, "dns-1", spec);
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    bench.options.destroy_data = true;
    bench.delete(&ct).await.unwrap();
    let volumes = bench.volumes().await;
    assert_eq!(volumes.len(), 1);
    assert!(volumes[0].starts_with("vol-keep 32Mi"), "{volumes:?}");
}

#[tokio::test]
async fn strangers_are_adopted_unchanged_or_left_alone() {
    let (mut bench, fake) = bench().await;
    let mut spec: CtSpec = serde_json::from_value(json!({
        "unprivileged": false, "rootfs": {"hostPath": "/var/lib/lxc/old/rootfs"}, "hostname": "old",
        "nics": {"eth0": {"bridge": "br0", "mac": "52:54:00:00:00:01"}, "eth1": {"bridge": "lxcbr0"}}
    }))
    .unwrap();
    spec.fill();
    fake.put_foreign("old", &spec, Power::Running);
    let ct = bench.say(KindName::Container, "old", full());
    match bench.readiness(&ct).await {
        Some(Readiness::Blocked(why)) => assert!(why.contains("adopt"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(bench.delete(&ct).await.is_err(), "and never deleted");
    let live = bench.look().await;
    let found = live.present(&ct).unwrap().spec().unwrap().to_value();
    assert_eq!(found["nics"]["eth0"]["network"], "lan", "the bridge is a Network's");
    assert_eq!(found["nics"]["eth1"]["bridge"], "lxcbr0", "this one is nobody's");
    bench.say(KindName::Container, "old", found);
    bench.adopt(&ct).await.unwrap();
    assert_eq!(fake.calls(), ["set_record old"]);
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    bench.options.allow = Disruption::Restart;
    bench.delete(&ct).await.unwrap();
    assert_eq!(fake.list().await.unwrap().len(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_neither_absent_nor_stopped() {
    let (mut bench, fake) = bench().await;
    let ct = bench.say(KindName::Container, "dns-1", full());
    bench.apply(&ct).await.unwrap();
    fake.hide("dns-1");
    assert!(matches!(bench.readiness(&ct).await, Some(Readiness::Blocked(_))));
    fake.forget_calls();
    assert!(bench.apply(&ct).await.is_err() && bench.delete(&ct).await.is_err());
    assert_eq!(fake.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_network_that_gets_another_bridge_moves_its_guests() {
    let (mut bench, fake) = bench().await;
    let ct = bench.say(KindName::Container, "dns-1", full());
    bench.apply(&ct).await.unwrap();
    bench.say(KindName::Network, "lan", json!({"type": "bridge", "bridge": "br9"}));
    let changes = bench.changes(&ct).await;
    assert!(
        !changes.is_empty() && changes.iter().all(|c| c.starts_with("nics.eth0.") && c.contains("(live")),
        "{changes:?}"
    );
    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new());
    let record = fake.find(&ct.name).await.unwrap().unwrap().record.unwrap();
    assert_eq!(record.bridges[&Name::new("eth0").unwrap()], "br9");
}

#[tokio::test]
async fn manifests_are_checked() {
    let (mut bench, _fake) = bench().await;
    let bad = json!({
        "tags": ["a b"], "nameservers": ["nine"], "memory": {"size": "1Mi"}, "features": {"mknod": true},
        "rootfs": {"storage": "local", "size": "1Mi"}, "env": {"1A": "x"}, "entrypoint": ["sleep"],
        "mounts": {
            "a": {"path": "/srv", "hostPath": "relative"}, "b": {"path": "/srv", "storage": "local"},
            "c": {"path": "/proc", "hostPath": "/x", "mountOptions": ["discard"]}, "d": {"path": "/d"},
            "rootfs": {"hostPath": "/x"}
        },
        "devices": {"d": {"path": "/etc/passwd"}},
        "nics": {
            "a-very-long-interface": {"network": "lan"}, "eth0": {"addresses": ["10.0.0.1"]},
            "eth1": {"bridge": "br0", "addresses": ["10.0.0.2/24"], "gateway": "10.9.0.1", "mac": "ff:54:00:00:00:01"},
            "eth2": {"network": "lan", "rate": "1kbps"}
        }
    });
    let ct = bench.say(KindName::Container, "bad", bad);
    let codes = problems(&bench, &ct);
    let expected = [
        "ct/address",
        "ct/device-path",
        "ct/entrypoint",
        "ct/env-name",
        "ct/gateway-unreachable",
        "ct/mac-multicast",
        "ct/memory-too-small",
        "ct/mknod-unprivileged",
        "ct/mount-name",
        "ct/mount-option",
        "ct/mount-path",
        "ct/mount-path-taken",
        "ct/mount-source",
        "ct/mount-without-path",
        "ct/nameserver",
        "ct/nic-name",
        "ct/nic-without-network",
        "ct/path",
        "ct/rate-too-low",
        "ct/rootfs-without-image",
        "ct/size",
        "ct/tag",
        "ct/without-size",
    ];
    assert_eq!(codes, expected);
    let good = bench.say(KindName::Container, "good", full());
    assert_eq!(problems(&bench, &good), Vec::<&str>::new());
}

fn problems(bench: &Bench, ct: &Ref) -> Vec<&'static str> {
    let mut found = Vec::new();
    let place = |_: &str| None;
    let mut report = reeve::kinds::Report::new(&place, &mut found);
    let scope = reeve::kinds::Scope::of(&bench.catalog);
    bench.catalog.get(ct).unwrap().spec.check(&ct.name, &scope, &mut report);
    let mut codes: Vec<&str> = found.iter().map(|d| d.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}
