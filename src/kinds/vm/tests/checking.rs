//! What is wrong with manifests, each with its code and place.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::stage::{Stage, name};
use crate::base::Severity;
use crate::kinds::vm::VmKind;
use crate::kinds::{Kind as _, Report, Scope};

/// The codes and places found for the machine's manifest.
fn found(stage: &Stage) -> Vec<(String, String)> {
    let asked = Mutex::new(Vec::new());
    let mut problems = Vec::new();
    let place = |path: &str| {
        asked.lock().unwrap().push(path.to_owned());
        None
    };
    let mut report = Report::new(&place, &mut problems);
    VmKind::check(&stage.vm.name, &stage.spec(), &Scope::of(&stage.catalog), &mut report);
    assert!(problems.iter().all(|p| p.help.is_some()), "every problem says what to do: {problems:?}");
    let places = asked.into_inner().unwrap();
    assert_eq!(places.len(), problems.len());
    problems.iter().map(|p| p.code.to_string()).zip(places).collect()
}

fn one(spec: Value) -> Vec<(String, String)> {
    let mut stage = Stage::new();
    stage.put("Image", "debian", json!({"type": "disk", "source": {"file": "/x"}, "minSize": "4Gi"}));
    stage.put("Image", "netinst", json!({"type": "iso", "source": {"file": "/y"}}));
    stage.put("Storage", "media", json!({"driver": "shelf", "content": ["iso"]}));
    stage.put("Storage", "far", json!({"driver": "shelf", "nodes": ["n2"]}));
    stage.want(spec);
    found(&stage)
}

fn disk(fields: Value) -> Value {
    let mut disk = json!({"storage": "fast", "size": "10Gi"});
    disk.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"disks": {"root": disk}})
}

fn nic(fields: Value) -> Value {
    let mut nic = json!({"network": "lan"});
    nic.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"nics": {"eth0": nic}})
}

fn net(fields: Value) -> Value {
    json!({"nics": {"eth0": {"network": "lan"}}, "cloudInit": {"reconcile": {"network": {"eth0": fields}}}})
}

fn first(fields: Value) -> Value {
    json!({"cloudInit": {"firstBoot": fields}})
}

#[test]
fn a_boot_order_may_be_given_twice_when_both_agree() {
    let both = json!({"boot": {"order": ["root", "eth0"]}, "nics": {"eth0": {"network": "lan"}},
                      "disks": {"root": {"storage": "fast", "size": "1Gi", "bootOrder": 1}}});
    assert_eq!(one(both), []);
}

#[test]
fn every_rule_finds_what_it_is_for() {
    let cases = [
        (json!({"description": "a\u{1}b"}), "vm/text", "description"),
        (json!({"tags": ["a b"]}), "vm/tag", "tags"),
        (json!({"smbios": {"serial": " x"}}), "vm/text", "smbios.serial"),
        (json!({"firmware": {"secureBoot": true}}), "vm/secure-boot-needs-uefi", "firmware.secureBoot"),
        (
            json!({"machine": "pc", "firmware": {"type": "uefi", "secureBoot": true}}),
            "vm/secure-boot-needs-q35",
            "firmware.secureBoot",
        ),
        (json!({"firmware": {"nvram": "/x"}}), "vm/firmware-field-unused", "firmware.nvram"),
        (json!({"firmware": {"type": "uefi", "loader": "x"}}), "vm/path", "firmware.loader"),
        (json!({"watchdog": {"model": "ib700"}}), "vm/watchdog-not-on-machine", "watchdog.model"),
        (json!({"cpu": {"cores": 4, "maxCores": 2}}), "vm/max-cores-too-small", "cpu.maxCores"),
        (json!({"cpu": {"sockets": 2, "maxCores": 3}}), "vm/max-cores-uneven", "cpu.maxCores"),
        (json!({"cpu": {"cores": 300}}), "vm/too-many-processors", "cpu"),
        (json!({"cpu": {"limit": 2.5}}), "vm/limit-unused", "cpu.limit"),
        (json!({"memory": {"size": "8Mi"}}), "vm/memory-too-small", "memory.size"),
        (json!({"memory": {"size": "1G"}}), "vm/memory-uneven", "memory.size"),
        (json!({"memory": {"size": "2Gi", "max": "1Gi"}}), "vm/memory-max-too-small", "memory.max"),
        (json!({"memory": {"size": "1Gi", "balloonMin": "2Gi"}}), "vm/balloon-too-large", "memory.balloonMin"),
        (json!({"memory": {"balloon": false, "max": "2Gi"}}), "vm/balloon-off", "memory.balloon"),
        (json!({"memory": {"size": "1025Mi", "hugepages": "2Mi"}}), "vm/hugepages-uneven", "memory.hugepages"),
        (json!({"display": {"listen": "here"}}), "vm/address", "display.listen"),
        (json!({"display": {"type": "none", "port": 5900}}), "vm/display-field-unused", "display"),
        (json!({"boot": {"kernel": "vmlinuz"}}), "vm/path", "boot.kernel"),
        (json!({"boot": {"initrd": "/x"}}), "vm/boot-needs-kernel", "boot.initrd"),
        (json!({"boot": {"kernel": "/x", "cmdline": "a\nb"}}), "vm/text", "boot.cmdline"),
        (json!({"boot": {"order": ["nope"]}}), "vm/boot-order-device", "boot.order"),
        (json!({"rng": {"source": "urandom"}}), "vm/path", "rng.source"),
        (json!({"usb": {"a": {"vendor": "046d"}}}), "vm/usb-device", "usb.a"),
        (json!({"pci": {"a": {}}}), "vm/pci-device", "pci.a"),
        (
            json!({"pci": {"a": {"address": "0000:01:00.0"}, "b": {"address": "0000:01:00.0"}}}),
            "vm/device-twice",
            "pci.b",
        ),
        (json!({"disks": {"root": {}}}), "vm/disk-source", "disks.root"),
        (json!({"disks": {"root": {"storage": "fast"}}}), "vm/disk-without-size", "disks.root"),
        (disk(json!({"path": "/x"})), "vm/disk-source", "disks.root"),
        (json!({"disks": {"root": {"volume": "v", "size": "1Gi"}}}), "vm/disk-field-unused", "disks.root.size"),
        (disk(json!({"size": "1000"})), "vm/disk-size", "disks.root.size"),
        (disk(json!({"storage": "media"})), "vm/storage-content", "disks.root.storage"),
        (disk(json!({"format": "subvol"})), "vm/disk-format", "disks.root.format"),
        (disk(json!({"image": "netinst"})), "vm/image-type", "disks.root.image"),
        (disk(json!({"image": "debian", "size": "1Gi"})), "vm/disk-too-small", "disks.root.size"),
        (disk(json!({"bus": "ide"})), "vm/bus-not-on-machine", "disks.root.bus"),
        (disk(json!({"bus": "sata", "iothread": true})), "vm/iothread-bus", "disks.root.iothread"),
        (disk(json!({"ssd": true})), "vm/ssd-bus", "disks.root.ssd"),
        (disk(json!({"bus": "sata", "readOnly": true})), "vm/read-only-bus", "disks.root.readOnly"),
        (disk(json!({"serial": "012345678901234567890"})), "vm/serial-too-long", "disks.root.serial"),
        (disk(json!({"io": "native", "cache": "writeback"})), "vm/io-needs-direct", "disks.root.io"),
        (disk(json!({"cache": "unsafe"})), "vm/cache-unsafe", "disks.root.cache"),
        (disk(json!({"limits": {"iops": 1, "iopsRead": 1}})), "vm/limits-overlap", "disks.root.limits.iops"),
        (disk(json!({"limits": {"bandwidth": "0"}})), "vm/limits-zero", "disks.root.limits"),
        (json!({"disks": {"cd": {"media": "cdrom", "storage": "fast"}}}), "vm/disk-field-unused", "disks.cd.storage"),
        (json!({"disks": {"cd": {"media": "cdrom", "bus": "virtio"}}}), "vm/bus-not-for-drive", "disks.cd.bus"),
        (json!({"disks": {"cd": {"media": "cdrom", "image": "debian"}}}), "vm/image-type", "disks.cd.image"),
        (
            json!({"disks": {"a": {"storage": "fast", "size": "1Gi", "bootOrder": 1},
                             "b": {"storage": "fast", "size": "1Gi", "bootOrder": 1}}}),
            "vm/boot-order-taken",
            "disks.b.bootOrder",
        ),
        (
            json!({"boot": {"order": ["a"]}, "disks": {"a": {"storage": "fast", "size": "1Gi", "bootOrder": 2}}}),
            "vm/boot-order-twice",
            "disks.a.bootOrder",
        ),
        (json!({"nics": {"eth0": {}}}), "vm/nic-without-network", "nics.eth0"),
        (nic(json!({"vlan": 20})), "vm/vlan-needs-bridge", "nics.eth0.vlan"),
        (nic(json!({"mac": "53:54:00:00:00:01"})), "vm/mac-multicast", "nics.eth0.mac"),
        (nic(json!({"mac": "00:00:00:00:00:00"})), "vm/mac-zero", "nics.eth0.mac"),
        (nic(json!({"model": "e1000", "queues": 2})), "vm/queues-model", "nics.eth0.queues"),
        (nic(json!({"model": "e1000", "mtu": 9000})), "vm/mtu-model", "nics.eth0.mtu"),
        (nic(json!({"rate": "7kbps"})), "vm/rate-too-low", "nics.eth0.rate"),
        (
            json!({"cloudInit": {"reconcile": {"network": {"eth9": {}}}}}),
            "vm/init-nic-unknown",
            "cloudInit.reconcile.network.eth9",
        ),
        (net(json!({"addresses": ["10.0.0.1"]})), "vm/address", "cloudInit.reconcile.network.eth0.addresses"),
        (net(json!({"addresses": ["10.0.0.1/33"]})), "vm/address", "cloudInit.reconcile.network.eth0.addresses"),
        (net(json!({"gateway": "fd00::1"})), "vm/address", "cloudInit.reconcile.network.eth0.gateway"),
        (net(json!({"gateway6": "10.0.0.1"})), "vm/address", "cloudInit.reconcile.network.eth0.gateway6"),
        (
            net(json!({"routes": [{"to": "x", "via": "10.0.0.1"}]})),
            "vm/address",
            "cloudInit.reconcile.network.eth0.routes",
        ),
        (net(json!({"routes": [{}]})), "vm/address", "cloudInit.reconcile.network.eth0.routes"),
        (
            json!({"cloudInit": {"reconcile": {"nameservers": ["dns"]}}}),
            "vm/address",
            "cloudInit.reconcile.nameservers",
        ),
        (
            json!({"cloudInit": {"reconcile": {"searchDomains": ["a b"]}}}),
            "vm/domain",
            "cloudInit.reconcile.searchDomains",
        ),
        (json!({"cloudInit": {"instance": "a b"}}), "vm/init-instance", "cloudInit.instance"),
        (first(json!({"userData": "x", "user": "a"})), "vm/init-user-data-alone", "cloudInit.firstBoot.userData"),
        (first(json!({"sshKeys": ["AAAA"]})), "vm/init-ssh-key", "cloudInit.firstBoot.sshKeys"),
        (first(json!({"packages": ["a b"]})), "vm/init-package", "cloudInit.firstBoot.packages"),
        (first(json!({"metaData": "instance-id: x"})), "vm/init-meta-data", "cloudInit.firstBoot.metaData"),
    ];
    for (spec, code, at) in cases {
        let expected = vec![(code.to_owned(), format!("spec.{at}"))];
        assert_eq!(one(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn a_storage_that_the_node_does_not_have_is_refused() {
    let mut spec = disk(json!({"storage": "far"}));
    spec["node"] = json!("n1");
    assert_eq!(one(spec), [("vm/storage-node".to_owned(), "spec.disks.root.storage".to_owned())]);
}

#[test]
fn the_reference_manifest_has_no_problem() {
    let mut stage = Stage::new();
    stage.put("Image", "debian-12", json!({"type": "disk", "source": {"file": "/x"}}));
    stage.put("Network", "lan", json!({"type": "bridge", "bridge": "br0"}));
    stage.want(json!({
        "description": "front web server", "tags": ["prod", "web"], "node": "n1", "runStrategy": "Always",
        "reconcile": "Enforce", "machine": "q35", "firmware": {"type": "uefi", "secureBoot": true},
        "tpm": {"version": "2.0"},
        "cpu": {"sockets": 1, "cores": 2, "threads": 1, "maxCores": 8, "model": "host", "limit": 1.5, "weight": 200,
                "pinning": ["0-1"]},
        "memory": {"size": "2Gi", "balloonMin": "1Gi", "max": "8Gi", "hugepages": "none"},
        "disks": {
            "root": {"storage": "fast", "size": "20Gi", "image": "debian-12", "bus": "virtio", "cache": "none",
                     "discard": true, "iothread": true, "backup": true},
            "data": {"volume": "web-data", "bus": "virtio"},
            "cd": {"media": "cdrom", "image": null, "bus": "sata"}
        },
        "nics": {"eth0": {"network": "lan", "model": "virtio", "mac": "52:54:00:12:34:56", "vlan": 20,
                          "rate": "100Mbps", "queues": 2, "linkUp": true}},
        "cloudInit": {
            "firstBoot": {"user": "ops", "sshKeys": ["ssh-ed25519 AAAA ops"], "packages": ["nginx"], "userData": null},
            "reconcile": {"network": {"eth0": {"addresses": ["10.40.0.10/24"], "gateway": "10.40.0.1"}},
                          "nameservers": ["10.40.0.1"]}
        },
        "agent": {"enabled": true}, "display": {"type": "vnc"}, "serial": true, "boot": {"order": ["root", "eth0"]},
        "startup": {"order": 10, "upDelay": "5s", "downDelay": "30s"}
    }));
    assert_eq!(found(&stage), []);
    assert!(stage.check().iter().all(|d| d.severity != Severity::Error));
    assert_eq!(stage.vm.name, name("web-1"));
}
