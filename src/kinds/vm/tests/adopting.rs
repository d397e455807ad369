//! Taking over machines that are there already.

use std::path::PathBuf;

use serde_json::json;

use super::stage::{Crashing, Stage, name, spec};
use crate::drivers::guest::{Link, Machine, Power};
use crate::drivers::storage::{Attachment, Format};
use crate::kinds::vm::VmKind;
use crate::kinds::{Kind as _, KindName, Spec};

/// A machine as someone made it by hand: names from targets and addresses.
fn foreign() -> Machine {
    let mut machine = Machine {
        spec: spec(json!({
            "machine": "pc-i440fx-6.2", "accelerator": "tcg", "description": "old faithful",
            "cpu": {"cores": 2, "model": "qemu64"}, "memory": {"size": "512Mi"}, "rng": {"enabled": false},
            "disks": {"vda": {"bus": "virtio", "cache": "writeback"}, "hdc": {"media": "cdrom", "bus": "ide"}},
            "nics": {"nic-00ab01": {"mac": "52:54:00:00:ab:01", "model": "e1000"}}
        })),
        ..Machine::default()
    };
    let file = |path: &str, format| Some(Attachment::File { path: PathBuf::from(path), format });
    machine.disks.insert(name("vda"), file("/var/lib/libvirt/images/old.qcow2", Format::Qcow2));
    machine.disks.insert(name("hdc"), None);
    machine.links.insert(name("nic-00ab01"), Some(Link::Network { name: "lan".into() }));
    machine
}

async fn adopt(stage: &mut Stage) {
    let live = stage.live().await;
    let written = VmKind::spec_of(&live).unwrap();
    stage.want(serde_json::to_value(&written).unwrap());
    let shape = KindName::VirtualMachine.shape();
    let spec = Spec::VirtualMachine(stage.spec());
    let scope = crate::kinds::Scope::of(&stage.catalog);
    let changes =
        crate::plan::diff::diff(&spec.want(&stage.vm.name, &scope), &VmKind::have(&live).configured, None, shape);
    assert_eq!(changes, []);
    assert_eq!(VmKind::extra(&stage.spec(), &live, &scope), []);
    assert_eq!(stage.check(), []);
    let journal = Crashing::default();
    stage.task(&journal, async |task| VmKind::adopt(task, &stage.spec(), &live).await).await.unwrap();
}

#[tokio::test]
async fn an_adopted_machine_is_only_marked_and_plans_empty() {
    for power in [Power::Running, Power::Stopped] {
        let mut stage = Stage::new();
        stage.fake.put_foreign("web-1", &foreign(), power);
        adopt(&mut stage).await;
        assert_eq!(stage.fake.calls(), ["set_record web-1"]);
        stage.assert_settled().await;
        assert_eq!(stage.live().await.power, power, "adoption starts and stops nothing");
        let journal = Crashing::default();
        stage.task(&journal, async |task| VmKind::adopt(task, &stage.spec(), &stage.live().await).await).await.unwrap();
        assert_eq!(stage.fake.calls().len(), 1, "adopting again does nothing");
    }
}

#[tokio::test]
async fn the_written_manifest_says_no_more_than_it_must() {
    let stage = Stage::new();
    stage.fake.put_foreign("web-1", &foreign(), Power::Running);
    let written = serde_json::to_value(VmKind::spec_of(&stage.live().await).unwrap()).unwrap();
    assert_eq!(
        written,
        json!({
            "machine": "pc-i440fx-6.2", "accelerator": "tcg", "description": "old faithful",
            "cpu": {"cores": 2, "model": "qemu64"}, "memory": {"size": "512Mi"}, "rng": {"enabled": false},
            "disks": {
                "hdc": {"media": "cdrom"},
                "vda": {"path": "/var/lib/libvirt/images/old.qcow2", "format": "qcow2", "cache": "writeback"}
            },
            "nics": {"nic-00ab01": {"mac": "52:54:00:00:ab:01", "model": "e1000", "network": "lan"}}
        })
    );
}

#[tokio::test]
async fn an_adopted_machine_is_changed_like_any_other() {
    let mut stage = Stage::new();
    stage.fake.put_foreign("web-1", &foreign(), Power::Running);
    adopt(&mut stage).await;
    let mut spec = serde_json::to_value(&*stage.spec()).unwrap();
    spec["disks"]["data"] = json!({"storage": "fast", "size": "2Gi"});
    spec["nics"]["nic-00ab01"]["network"] = json!("dmz");
    spec["cpu"]["weight"] = json!(50);
    stage.want(spec.clone());
    stage.apply().await.unwrap();
    stage.assert_settled().await;
    // What was attached by hand afterwards is nobody's business.
    spec["disks"].as_object_mut().unwrap().shift_remove("vda");
    stage.want(spec);
    stage.apply().await.unwrap();
    stage.assert_settled().await;
}
