//! For any manifest: made and looked at again it plans empty, and so does any manifest applied over any other.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::base::{Disruption, Severity};
use crate::kinds::KindName;
use crate::kinds::vm::form::settle;
use crate::kinds::vm::spec::VmSpec;
use crate::plan::diff::diff;

fn maybe(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop_oneof![2 => Just(Value::Null), 3 => value]
}

fn words(options: &'static [&'static str]) -> impl Strategy<Value = Value> {
    maybe(prop::sample::select(options).prop_map(|w| json!(w)))
}

fn flag() -> impl Strategy<Value = Value> {
    maybe(any::<bool>().prop_map(|b| json!(b)))
}

prop_compose! {
    fn disk()(
        size in 1u64..40, cdrom in prop::bool::weighted(0.2), bus in words(&["virtio", "scsi", "usb"]),
        cache in words(&["none", "writeback", "directsync"]), discard in flag(), backup in flag(), serial in words(&["a1", "b2"]),
        iops in maybe((1u64..1000).prop_map(|n| json!(n))), bandwidth in words(&["1Mi", "3M"]), read_only in flag(),
    ) -> Value {
        if cdrom {
            return json!({"media": "cdrom", "bus": "sata", "path": (size > 20).then_some("/srv/x.iso"), "serial": serial});
        }
        json!({
            "storage": "fast", "size": format!("{size}Gi"), "bus": bus, "cache": cache, "discard": discard,
            "backup": backup, "serial": serial, "limits": {"iops": iops, "bandwidth": bandwidth}, "readOnly": read_only
        })
    }
}

prop_compose! {
    fn nic()(
        network in prop::sample::select(&["lan", "dmz"][..]), model in words(&["virtio", "e1000"]), link in flag(),
        rate in words(&["100Mbps", "1234kbps", "1Gbps"]), mac in words(&["52:54:00:AB:CD:0E"]),
    ) -> Value {
        json!({"network": network, "model": model, "linkUp": link, "rate": rate, "mac": mac})
    }
}

prop_compose! {
    fn machine()(
        (cores, spare, sockets) in (1u32..5, 0u32..5, 1u32..3), model in words(&["host", "EPYC"]),
        limit in maybe((1u32..400).prop_map(|n| json!(f64::from(n) / 100.0))), weight in maybe((1u32..1000).prop_map(|n| json!(n))),
        pinning in maybe(prop::collection::vec((0u32..8, 0u32..8), 0..4).prop_map(|ranges| {
            json!(ranges.iter().map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))).collect::<Vec<_>>())
        })),
    ) -> Value {
        json!({
            "sockets": sockets, "cores": cores, "maxCores": (spare > 0).then_some((cores + spare) * sockets),
            "model": model, "limit": limit, "weight": weight, "pinning": pinning
        })
    }
}

prop_compose! {
    fn settings()(
        machine in words(&["q35", "pc-q35-7.2"]), accelerator in words(&["auto", "tcg"]), tags in maybe(Just(json!(["b", "a"]))),
        description in words(&["one", "two\nlines", ""]), firmware in maybe(Just(json!({"type": "uefi", "secureBoot": true}))),
        tpm in maybe(Just(json!({}))), serial in flag(), rng in maybe(Just(json!({"enabled": false}))),
        watchdog in maybe(Just(json!({"action": "poweroff"}))), display in maybe(Just(json!({"type": "spice", "listen": "::1"}))),
        smbios in maybe(Just(json!({"serial": "7"}))),
    ) -> Value {
        json!({
            "machine": machine, "accelerator": accelerator, "tags": tags, "description": description, "firmware": firmware,
            "tpm": tpm, "serial": serial, "rng": rng, "watchdog": watchdog, "display": display, "smbios": smbios
        })
    }
}

prop_compose! {
    fn spec()(
        mut spec in settings(), cpu in machine(), (size, more) in (1u64..8, 0u64..8), balloon in flag(),
        disks in prop::collection::btree_map("[a-d]", disk(), 0..4), nics in prop::collection::btree_map("e[0-1]", nic(), 0..2),
        strategy in words(&["Always", "Manual", "Halted", "RerunOnFailure"]), startup in maybe(Just(json!({"order": 3}))),
    ) -> Value {
        let max = (more > 0 && balloon != json!(false)).then(|| format!("{}Gi", size + more));
        spec["memory"] = json!({"size": format!("{size}Gi"), "max": max, "balloon": balloon});
        spec["cpu"] = cpu;
        let order: Vec<&String> = disks.keys().take(2).collect();
        spec["boot"] = json!({"order": order});
        spec["disks"] = json!(disks);
        spec["nics"] = json!(nics);
        spec["runStrategy"] = strategy;
        spec["startup"] = startup;
        spec
    }
}

/// Gives the second manifest's disks no less than the first's, and nothing that is refused.
fn only_grow(before: &Value, after: &mut Value) {
    let Some(disks) = after["disks"].as_object_mut() else { return };
    for (name, disk) in disks.iter_mut() {
        let Some(old) = before["disks"].get(name) else { continue };
        if (old.get("media"), old.get("storage")) != (disk.get("media"), disk.get("storage")) {
            *disk = old.clone();
        }
        let number = |d: &Value| d["size"].as_str().and_then(|s| s.trim_end_matches("Gi").parse::<u64>().ok());
        if let (Some(a), Some(b)) = (number(old), number(disk)) {
            disk["size"] = json!(format!("{}Gi", a.max(b)));
        }
    }
}

/// The first, with a few sections of the second.
fn merged(mut first: Value, second: &Value) -> Value {
    let digest = second["description"].as_str().map_or(0, str::len) + second["tags"].as_array().map_or(0, Vec::len);
    let sections = ["nics", "tpm", "disks", "startup", "boot"];
    for section in sections.iter().skip(digest % 5).take(1) {
        first[*section] = second[*section].clone();
    }
    first
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_called_as_wanted_differs_in_nothing(
        want in spec(), have in spec(), applied in prop_oneof![spec().prop_map(Some), Just(None)], same in any::<bool>(),
    ) {
        let typed = |value: Value| {
            let mut spec: VmSpec = serde_json::from_value(value).unwrap();
            settle(&mut spec);
            spec
        };
        // What differs in a field or two is nearer to the question than what differs in all of them.
        let nearly = if same { merged(want.clone(), &have) } else { have };
        let (want, have, applied) = (typed(want), typed(nearly), applied.map(typed));
        let shape = KindName::VirtualMachine.shape();
        let (as_text, before) = (have.canonical(), applied.as_ref().map(VmSpec::canonical));
        let changes = diff(&want.canonical(), &as_text, before.as_ref(), shape);
        prop_assert_eq!(want.met_by(&have, applied.as_ref()), changes.is_empty(), "{:?}", changes);
    }

    #[test]
    fn what_was_made_plans_empty(spec in spec()) {
        run(async {
            let mut stage = Stage::new();
            stage.want(spec);
            assert!(stage.check().iter().all(|d| d.severity != Severity::Error), "{:?}", stage.check());
            stage.apply().await.unwrap();
            stage.assert_settled().await;
        });
    }

    #[test]
    fn any_manifest_over_any_other_converges_and_loses_no_volume(before in spec(), mut after in spec()) {
        only_grow(&before, &mut after);
        run(async {
            let mut stage = Stage::new();
            stage.want(before);
            stage.apply().await.unwrap();
            let volumes = stage.shelf.volumes();
            stage.want(after);
            stage.allow(Disruption::Restart);
            stage.apply().await.unwrap();
            stage.assert_settled().await;
            for (name, old) in volumes {
                let new = &stage.shelf.volumes()[&name];
                assert!(new.size >= old.size);
            }
        });
    }
}
