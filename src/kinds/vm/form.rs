//! The canonical form: what is wanted and what is there, written so that equal meaning is equal text.

use serde_json::Value;

use super::spec::{CpuRange, DisplayType, FirmwareType, Media, VmSpec};
use crate::base::Rate;

/// The least step of a network card's rate: the hypervisor counts in kilobytes.
const RATE_STEP: u64 = 8_000;

/// The canonical form of a spec.
pub(super) fn canonical(spec: &VmSpec) -> Value {
    let mut settled = spec.clone();
    settle(&mut settled);
    let mut value = settled.canonical();
    if let Some(init) = value.get_mut("cloudInit").and_then(Value::as_object_mut) {
        init.shift_remove("firstBoot");
    }
    if let Some(boot) = value.get_mut("boot").and_then(Value::as_object_mut) {
        boot.shift_remove("order");
    }
    value
}

/// Rewrites what can be said in several ways in the one way that is compared and given to drivers.
///
/// An image a disk started from and what a guest reads once at its first boot are provenance: they are taken out.
pub(super) fn settle(spec: &mut VmSpec) {
    spec.tags.sort_unstable();
    spec.tags.dedup();
    if spec.description.as_deref() == Some("") {
        spec.description = None;
    }
    let cpu = spec.cpu.get_or_insert_default();
    cpu.max_cores = Some(cpu.most());
    cpu.limit = cpu.limit.map(|limit| (limit * 1000.0).round() / 1000.0);
    cpu.pinning = merged(&cpu.pinning);
    let memory = spec.memory.get_or_insert_default();
    memory.max = Some(memory.most());
    settle_machine(spec);
    settle_devices(spec);
}

/// The spec as a person would write it: without what follows from the rest.
pub(super) fn plain(spec: &VmSpec) -> VmSpec {
    let mut plain = spec.clone();
    plain.node = None;
    if let Some(cpu) = &mut plain.cpu {
        let count = cpu.count();
        cpu.max_cores = cpu.max_cores.filter(|most| *most != count);
    }
    if let Some(memory) = &mut plain.memory {
        let size = memory.size();
        memory.max = memory.max.filter(|most| *most != size);
    }
    let machine = plain.machine();
    for disk in plain.disks.values_mut() {
        let bus = disk.bus.take();
        disk.bus = bus.filter(|bus| *bus != disk.bus_on(&machine));
    }
    plain.prune();
    plain
}

fn settle_machine(spec: &mut VmSpec) {
    if let Some(display) = &mut spec.display
        && display.r#type() == DisplayType::None
    {
        (display.listen, display.port, display.password) = (None, None, None);
    }
    if let Some(firmware) = &mut spec.firmware
        && firmware.r#type() == FirmwareType::Bios
    {
        (firmware.secure_boot, firmware.nvram, firmware.loader) = (None, None, None);
    }
    if let Some(rng) = &mut spec.rng
        && !rng.enabled()
    {
        rng.source = None;
    }
    if spec.smbios.as_ref().is_some_and(|s| *s == super::Smbios::default()) {
        spec.smbios = None;
    }
    if let Some(init) = &mut spec.cloud_init {
        init.first_boot = None;
    }
}

fn settle_devices(spec: &mut VmSpec) {
    let order = spec.boot.as_mut().map(|b| std::mem::take(&mut b.order)).unwrap_or_default();
    for (place, name) in (1..).zip(&order) {
        if let Some(disk) = spec.disks.get_mut(name) {
            disk.boot_order = Some(place);
        } else if let Some(nic) = spec.nics.get_mut(name) {
            nic.boot_order = Some(place);
        }
    }
    let machine = spec.machine();
    for disk in spec.disks.values_mut() {
        disk.bus = Some(disk.bus_on(&machine));
        if disk.media() == Media::Disk {
            disk.image = None;
        } else {
            // An optical drive is never written to, and its medium has the size it has.
            (disk.read_only, disk.size, disk.format) = (None, None, None);
        }
    }
    for nic in spec.nics.values_mut() {
        if let Some(mac) = &mut nic.mac {
            mac.make_ascii_lowercase();
        }
        nic.rate = nic.rate.map(|rate| Rate(rate.0.div_ceil(RATE_STEP).saturating_mul(RATE_STEP)));
    }
}

/// The same processors as the fewest ranges, in order.
fn merged(ranges: &[CpuRange]) -> Vec<CpuRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<CpuRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(value: Value) -> Value {
        canonical(&serde_json::from_value::<VmSpec>(value).unwrap())
    }

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (a, b) in [
            (json!({}), json!({"description": "", "machine": "q35", "cpu": {"cores": 1}, "disks": null})),
            (json!({"tags": ["b", "a", "b"]}), json!({"tags": ["a", "b"]})),
            (json!({"cpu": {"pinning": [0, 1, "2-3", 9]}}), json!({"cpu": {"pinning": ["9", "0-2", "1-3"]}})),
            (json!({"memory": {"size": "2Gi"}}), json!({"memory": {"size": "2048Mi", "max": "2Gi"}})),
            (json!({"cpu": {"cores": 2}}), json!({"cpu": {"cores": 2, "maxCores": 2, "limit": null}})),
            (
                json!({"disks": {"a": {"bootOrder": 2}, "c": {}}, "nics": {"b": {"bootOrder": 1}}}),
                json!({"disks": {"a": {"bus": "virtio"}, "c": {}}, "nics": {"b": {}}, "boot": {"order": ["b", "a"]}}),
            ),
            (
                json!({"nics": {"a": {"mac": "52:54:00:AB:00:01"}}}),
                json!({"nics": {"a": {"mac": "52:54:00:ab:00:01"}}}),
            ),
            (json!({"nics": {"a": {"rate": "100001kbps"}}}), json!({"nics": {"a": {"rate": "100008kbps"}}})),
            (json!({"disks": {"a": {"image": "x"}}}), json!({"disks": {"a": {"image": "y"}}})),
            (json!({"firmware": {"type": "bios", "secureBoot": false}}), json!({"firmware": null})),
            (json!({"disks": {"c": {"media": "cdrom"}}}), json!({"disks": {"c": {"media": "cdrom", "bus": "sata"}}})),
            (
                json!({"machine": "pc", "disks": {"c": {"media": "cdrom"}}}),
                json!({"machine": "pc", "disks": {"c": {"media": "cdrom", "bus": "ide"}}}),
            ),
            (
                json!({"cloudInit": {"firstBoot": {"user": "a"}}}),
                json!({"cloudInit": {"firstBoot": {"user": "b", "packages": ["nginx"]}}}),
            ),
        ] {
            assert_eq!(form(a.clone()), form(b.clone()), "{a} {b}");
        }
    }

    #[test]
    fn what_is_left_out_is_there_with_its_default_or_unmanaged() {
        let form = form(json!({"nics": {"eth0": {"network": "lan"}}, "disks": {"root": {}}}));
        assert_eq!(form["runStrategy"], "RerunOnFailure");
        assert_eq!(form["memory"]["size"], "1Gi");
        assert_eq!(form["memory"]["max"], "1Gi");
        assert_eq!(form["tpm"], Value::Null);
        assert!(form.as_object().unwrap().contains_key("tpm"));
        assert_eq!(form["disks"]["root"]["bus"], "virtio");
        assert!(form["nics"]["eth0"].get("mac").is_none());
        assert!(form["disks"]["root"].get("size").is_none());
    }

    #[test]
    fn the_canonical_form_reads_back_as_itself() {
        let spec: VmSpec = serde_json::from_value(json!({
            "cpu": {"cores": 2, "maxCores": 8, "limit": 1.5}, "tpm": {}, "watchdog": {"action": "inject-nmi"},
            "disks": {"root": {"storage": "local", "size": "20Gi", "io": "io_uring", "limits": {"iops": 100}}},
            "nics": {"eth0": {"network": "lan", "rate": "100Mbps"}}, "memory": {"hugepages": "2Mi"},
            "usb": {"key": {"vendor": "046d", "product": "c52b"}}, "stopTimeout": 30
        }))
        .unwrap();
        let first = canonical(&spec);
        let again: VmSpec = serde_json::from_value(first.clone()).unwrap();
        assert_eq!(canonical(&again), first);
        let mut pruned = spec.clone();
        pruned.fill();
        pruned.prune();
        assert_eq!(canonical(&pruned), first);
    }
}
