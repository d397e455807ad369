//! Create, update and delete.

use serde_json::json;

use super::stage::{Crashing, Stage, name};
use crate::base::{Disruption, FaultKind, Size};
use crate::drivers::guest::fake::Trouble;
use crate::drivers::guest::{Link, Power, Stop, VmDriver as _};
use crate::plan::model::Readiness;

fn web() -> serde_json::Value {
    json!({
        "description": "front web server", "tags": ["web", "prod"], "machine": "q35",
        "cpu": {"cores": 2, "maxCores": 8, "limit": 1.5, "pinning": [0, 1]},
        "memory": {"size": "2Gi", "balloonMin": "1Gi", "max": "8Gi"},
        "disks": {
            "root": {"storage": "fast", "size": "20Gi", "discard": true, "bootOrder": 1},
            "cd": {"media": "cdrom", "bus": "sata"}
        },
        "nics": {"eth0": {"network": "lan"}},
        "startup": {"order": 10, "upDelay": "5s"}
    })
}

fn with(path: &str, value: serde_json::Value) -> serde_json::Value {
    let mut spec = web();
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut here = &mut spec;
    for key in parents.split('.').filter(|k| !k.is_empty()) {
        if here.get(key).is_none() {
            here[key] = json!({});
        }
        here = &mut here[key];
    }
    here[last] = value;
    spec
}

async fn made() -> Stage {
    let mut stage = Stage::new();
    stage.want(web());
    stage.apply().await.unwrap();
    stage
}

#[tokio::test]
async fn a_machine_is_made_started_and_then_left_alone() {
    let stage = made().await;
    assert_eq!(stage.fake.calls(), ["define web-1", "start web-1"]);
    assert_eq!(stage.shelf.calls(), ["create vm-web-1-root", "remark vm-web-1-root"]);
    let domain = stage.fake.find("web-1").await.unwrap().unwrap();
    assert_eq!(domain.uuid, stage.uid.uuid());
    assert_eq!(domain.configured.links[&name("eth0")], Some(Link::Network { name: "lan".into() }));
    assert_eq!(domain.configured.spec.nics[&name("eth0")].mac, Some(stage.uid.mac("eth0")));
    assert_eq!(domain.configured.disks[&name("cd")], None);
    assert!(domain.configured.disks[&name("root")].is_some());
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_domain_of_that_name_that_is_not_ours_is_not_touched() {
    let mut stage = Stage::new();
    stage.fake.put_foreign("web-1", &Default::default(), Power::Running);
    stage.want(web());
    let step = stage.step().await;
    assert!(matches!(&step.readiness, Readiness::Blocked(why) if why.contains("reeve adopt")), "{step:?}");
    let journal = Crashing::default();
    let fault = stage.task(&journal, async |task| crate::kinds::vm::apply::create(task, &stage.spec()).await);
    assert_eq!(fault.await.unwrap_err().kind, FaultKind::Exists);
    assert_eq!(stage.fake.calls(), [""; 0]);
}

#[tokio::test]
async fn live_changes_are_made_while_the_guest_runs() {
    for (path, value) in [
        ("cpu.limit", json!(0.5)),
        ("cpu.weight", json!(300)),
        ("cpu.pinning", json!(["0-3"])),
        ("cpu.cores", json!(4)),
        ("memory.size", json!("4Gi")),
        ("memory.size", json!("1Gi")),
        ("disks.root.size", json!("30Gi")),
        ("disks.root.limits", json!({"iops": 500})),
        ("disks.data", json!({"storage": "fast", "size": "5Gi"})),
        ("disks.data", json!({"storage": "fast", "size": "5Gi", "bus": "scsi"})),
        ("disks.cd.path", json!("/srv/x.iso")),
        ("nics.eth0.network", json!("dmz")),
        ("nics.eth0.linkUp", json!(false)),
        ("nics.eth0.rate", json!("100Mbps")),
        ("nics.eth0.model", json!("e1000e")),
        ("nics.eth1", json!({"network": "dmz", "vlan": 20})),
        ("usb.key", json!({"vendor": "046d", "product": "c52b"})),
    ] {
        let mut stage = made().await;
        stage.want(with(path, value));
        let step = stage.step().await;
        assert_eq!((step.disruption, &step.readiness), (Disruption::Live, &Readiness::Ready), "{path}: {step:#?}");
        stage.apply().await.unwrap();
        let calls = stage.fake.calls();
        assert!(!calls.iter().any(|c| c.starts_with("shutdown") || c.contains("later")), "{path}: {calls:?}");
        stage.assert_settled().await;
    }
}

#[tokio::test]
async fn what_only_reeve_knows_costs_nothing_and_is_recorded() {
    for (path, value) in [
        ("tags", json!(["a"])),
        ("runStrategy", json!("Always")),
        ("startup.order", json!(3)),
        ("stopTimeout", json!("5s")),
        ("memory.balloonMin", json!("512Mi")),
        ("disks.root.backup", json!(false)),
        ("disks.root.onRemove", json!("retain")),
        ("nics.eth0.mac", json!(null)),
    ] {
        let mut stage = made().await;
        stage.want(with(path, value));
        if stage.plan().await.steps.is_empty() {
            assert_eq!(path, "nics.eth0.mac");
            continue;
        }
        assert_eq!(stage.step().await.disruption, Disruption::None, "{path}");
        stage.fake.forget_calls();
        stage.apply().await.unwrap();
        assert_eq!(stage.fake.calls(), ["set_record web-1"], "{path}");
        stage.assert_settled().await;
    }
}

#[tokio::test]
async fn what_needs_a_restart_is_configured_and_shown_as_pending_until_it_is_allowed() {
    for (path, value) in [
        ("cpu.sockets", json!(2)),
        ("cpu.cores", json!(1)),
        ("cpu.maxCores", json!(16)),
        ("cpu.model", json!("EPYC")),
        ("memory.max", json!("16Gi")),
        ("memory.hugepages", json!("2Mi")),
        ("machine", json!("pc")),
        ("firmware", json!({"type": "uefi"})),
        ("tpm", json!({"version": "2.0"})),
        ("disks.root.cache", json!("writeback")),
        ("disks.root.bus", json!("scsi")),
        ("disks.more", json!({"storage": "fast", "size": "1Gi", "bus": "sata"})),
        ("disks.cd2", json!({"media": "cdrom"})),
        ("nics.eth0.bootOrder", json!(2)),
        ("pci.gpu", json!({"address": "0000:01:00.0"})),
        ("serial", json!(false)),
        ("boot.kernel", json!("/boot/vmlinuz")),
        ("cloudInit", json!({"reconcile": {"hostname": "w"}})),
    ] {
        let mut stage = made().await;
        stage.want(with(path, value));
        let step = stage.step().await;
        assert_eq!(step.disruption, Disruption::Restart, "{path}: {step:#?}");
        assert!(matches!(step.readiness, Readiness::Partly(_)), "{path}: {step:#?}");
        stage.apply().await.unwrap();
        let step = stage.step().await;
        assert!(step.fields.iter().all(|f| f.pending), "{path}: {step:#?}");
        assert!(matches!(step.readiness, Readiness::Pending(_)), "{path}: {step:#?}");
        let calls = stage.fake.calls().len();
        stage.apply().await.unwrap();
        assert_eq!(stage.fake.calls().len(), calls, "{path}");
        stage.allow(Disruption::Restart);
        stage.apply().await.unwrap();
        let calls = stage.fake.calls();
        assert!(calls.contains(&"shutdown web-1".to_owned()) && !calls.contains(&"destroy web-1".to_owned()), "{path}");
        assert_eq!(stage.live().await.power, Power::Running);
        stage.assert_settled().await;
    }
}

#[tokio::test]
async fn a_guest_that_restarts_by_itself_takes_what_was_pending() {
    let mut stage = made().await;
    stage.want(with("cpu.model", json!("EPYC")));
    stage.apply().await.unwrap();
    stage.fake.end("web-1", Stop::Crashed);
    assert_eq!(stage.changes().await, [r#"power "crashed" -> "running" (none)"#]);
    stage.apply().await.unwrap();
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_stopped_machine_is_changed_at_no_cost() {
    let mut stage = made().await;
    stage.fake.end("web-1", Stop::Shutdown);
    let mut spec = with("cpu.sockets", json!(2));
    spec["disks"]["root"]["size"] = json!("40Gi");
    stage.want(spec);
    assert_eq!(stage.step().await.disruption, Disruption::None);
    stage.apply().await.unwrap();
    assert_eq!(stage.shelf.volumes()["vm-web-1-root"].size, Size::gib(40));
    assert_eq!(stage.live().await.power, Power::Stopped, "a guest's own shutdown is respected");
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_deaf_guest_is_not_cut_off_for_a_restart() {
    let mut stage = made().await;
    stage.fake.deafen("web-1");
    stage.want(with("cpu.model", json!("EPYC")));
    stage.allow(Disruption::Restart);
    let fault = stage.apply().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadline);
    assert!(fault.help.unwrap().contains("reeve stop --force"), "it says what to do");
    assert!(!stage.fake.calls().contains(&"destroy web-1".to_owned()));
    assert!(stage.step().await.fields.iter().any(|f| f.pending));
}

#[tokio::test]
async fn what_a_guest_refuses_is_told_and_then_waits() {
    let mut stage = made().await;
    stage.fake.stiffen("cpu.cores");
    stage.want(with("cpu.cores", json!(4)));
    let fault = stage.apply().await.unwrap_err();
    assert!(fault.message.contains("cpu.cores (the guest does not take it)"), "{fault}");
    assert_eq!(stage.changes().await, ["cpu.cores 2 -> 4 (restart, pending)"]);
    stage.allow(Disruption::Restart);
    stage.apply().await.unwrap();
    stage.assert_settled().await;
}

#[tokio::test]
async fn power_follows_the_run_strategy() {
    for (strategy, how, again) in [
        ("Always", Stop::Shutdown, true),
        ("Always", Stop::Destroyed, true),
        ("RerunOnFailure", Stop::Shutdown, false),
        ("RerunOnFailure", Stop::Destroyed, false),
        ("RerunOnFailure", Stop::Crashed, true),
        ("RerunOnFailure", Stop::Unknown, true),
        ("Manual", Stop::Crashed, false),
    ] {
        let mut stage = made().await;
        stage.want(with("runStrategy", json!(strategy)));
        stage.apply().await.unwrap();
        stage.fake.end("web-1", how);
        let planned = stage.changes().await.iter().any(|c| c.starts_with("power"));
        assert_eq!(planned, again, "{strategy} {how:?}");
        stage.apply().await.unwrap();
        assert_eq!(stage.live().await.power.active(), again, "{strategy} {how:?}");
        stage.assert_settled().await;
    }
    let mut stage = made().await;
    stage.want(with("runStrategy", json!("Halted")));
    assert_eq!(stage.step().await.disruption, Disruption::Restart);
    stage.apply().await.unwrap();
    assert!(stage.live().await.power.active(), "stopping was not allowed");
    stage.allow(Disruption::Restart);
    stage.fake.deafen("web-1");
    stage.apply().await.unwrap();
    assert!(!stage.live().await.power.active());
    assert!(stage.fake.calls().contains(&"destroy web-1".to_owned()), "after the grace the plug is pulled");
    stage.assert_settled().await;
}

#[tokio::test]
async fn manual_and_halted_machines_are_made_and_not_started() {
    for strategy in ["Manual", "Halted"] {
        let mut stage = Stage::new();
        stage.want(with("runStrategy", json!(strategy)));
        stage.apply().await.unwrap();
        assert_eq!(stage.fake.calls(), ["define web-1"]);
        stage.assert_settled().await;
    }
}

#[tokio::test]
async fn a_disk_taken_out_is_detached_and_kept_and_comes_back_with_its_data() {
    let mut stage = made().await;
    let full = with("disks.data", json!({"storage": "fast", "size": "5Gi"}));
    stage.want(full.clone());
    stage.apply().await.unwrap();
    stage.want(web());
    assert_eq!(stage.step().await.disruption, Disruption::Live);
    stage.apply().await.unwrap();
    assert_eq!(stage.shelf.state("vm-web-1-data"), "detached");
    assert!(!stage.shelf.calls().iter().any(|c| c.starts_with("delete")));
    stage.assert_settled().await;
    stage.want(full);
    stage.apply().await.unwrap();
    assert_eq!(stage.shelf.state("vm-web-1-data"), "attached");
    assert_eq!(stage.shelf.volumes().len(), 2, "the same volume is attached again");
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_disk_never_shrinks_moves_or_changes_its_format() {
    for (path, value, says) in [
        ("disks.root.size", json!("10Gi"), "cannot shrink to 10Gi"),
        ("disks.root.storage", json!("slow"), "moving a disk"),
        ("disks.root.format", json!("raw"), "cannot become raw"),
        ("disks.root.path", json!("/srv/x"), "moving a disk"),
    ] {
        let mut stage = made().await;
        stage.want(with(path, value));
        let calls = stage.fake.calls().len();
        let fault = stage.apply().await.unwrap_err();
        assert!(fault.message.contains(says), "{path}: {fault}");
        assert_eq!(stage.fake.calls().len(), calls);
    }
}

#[tokio::test]
async fn a_disk_whose_volume_is_lost_is_said_and_never_made_anew() {
    let stage = made().await;
    stage.shelf.lose("vm-web-1-root");
    let fault = stage.apply().await.unwrap_err();
    assert!(fault.message.contains("is not on its storage"), "{fault}");
    assert!(stage.shelf.volumes().is_empty());
}

#[tokio::test]
async fn a_storage_that_does_not_answer_makes_the_machine_unknown() {
    let stage = made().await;
    stage.shelf.break_down(true);
    let fault = stage.apply().await.unwrap_err();
    assert!(fault.message.contains("storage/fast cannot be read"), "{fault}");
}

#[tokio::test]
async fn drift_is_seen_and_mended_and_devices_of_others_are_left_alone() {
    let stage = made().await;
    stage.fake.meddle("web-1", |m| {
        m.spec.cpu.as_mut().unwrap().weight = Some(7);
        m.links.insert(name("eth0"), Some(Link::Bridge { bridge: "br9".into() }));
    });
    let step = stage.step().await;
    assert!(step.fields.iter().all(|f| f.cause == crate::plan::model::Cause::Drift), "{step:#?}");
    assert_eq!(stage.changes().await, ["cpu.weight 7 -> 100 (live)", r#"nics.eth0.network null -> "lan" (live)"#]);
    stage.apply().await.unwrap();
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_new_machine_of_an_old_name_gets_new_volumes() {
    let mut stage = made().await;
    stage.delete_with(&Crashing::default()).await.unwrap();
    assert_eq!(stage.shelf.state("vm-web-1-root"), "orphan");
    stage.uid = "6e2e1d0c-8a52-4a6e-9b06-1f5d2b7f0002".parse().unwrap();
    stage.apply().await.unwrap();
    assert_eq!(stage.shelf.volumes().keys().collect::<Vec<_>>(), ["vm-web-1-root", "vm-web-1-root-2"]);
    stage.assert_settled().await;
}

#[tokio::test]
async fn a_delete_shuts_down_then_pulls_the_plug_and_keeps_the_data() {
    let stage = made().await;
    stage.fake.deafen("web-1");
    stage.fake.forget_calls();
    stage.delete_with(&Crashing::default()).await.unwrap();
    assert_eq!(stage.fake.calls(), ["shutdown web-1", "destroy web-1", "undefine web-1"]);
    assert_eq!(stage.shelf.state("vm-web-1-root"), "orphan");
}

#[tokio::test]
async fn a_delete_with_its_data_deletes_only_what_is_ours() {
    let mut stage = made().await;
    stage.options.destroy_data = true;
    stage.delete_with(&Crashing::default()).await.unwrap();
    assert!(stage.shelf.volumes().is_empty());

    let stage = made().await;
    let mut mine = stage.shelf.volumes()["vm-web-1-root"].clone();
    mine.mark.as_mut().unwrap().uid = crate::base::Uid::fresh();
    stage.shelf.replace(mine);
    stage.fake.forget_calls();
    let fault = stage.delete_with(&Crashing::default()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Identity);
    assert_eq!(stage.fake.calls(), [""; 0], "nothing was stopped before the checks passed");
}

#[tokio::test]
async fn a_failing_hypervisor_leaves_a_machine_that_the_next_run_finishes() {
    for trouble in [Trouble::Fails(FaultKind::Busy), Trouble::FailsAfter(FaultKind::Deadline)] {
        for call in 1..=2 {
            let mut stage = Stage::new();
            stage.want(web());
            stage.fake.trouble(call, trouble);
            stage.apply().await.unwrap_err();
            stage.fake.calm();
            stage.apply().await.unwrap();
            assert_eq!(stage.shelf.volumes().len(), 1);
            stage.assert_settled().await;
        }
    }
}
