//! Builds the domain of a new machine: an empty domain to which every section is applied, and the buses to grow on.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::patch::{Around, apply};
use super::{Element, Host, mark, os};
use crate::base::Fault;
use crate::drivers::guest::{Machine, Record, SecretValues};
use crate::kinds::vm::{Accelerator, Bus};

/// Free ports on a `q35`, for devices that are plugged in while the guest runs.
const SPARE_PORTS: u32 = 8;

/// The domain of a new machine.
pub fn build(
    name: &str,
    uuid: Uuid,
    machine: &Machine,
    record: &Record,
    secrets: &SecretValues,
    host: Host,
) -> Result<Element<'static>, Fault> {
    let mut domain = Element::new("domain").with("type", "qemu");
    domain.push(Element::new("name").text_inside(name));
    domain.push(Element::new("uuid").text_inside(uuid.hyphenated()));
    mark::put(&mut domain, record)?;
    let mut kind = Element::new("type").text_inside("hvm");
    if !host.test {
        kind.set("arch", "x86_64");
    }
    domain.push(Element::new("os").child(kind));
    let features = ["acpi", "apic"].map(Element::new);
    domain.push(Element::new("features").children_from(features));
    domain.push(Element::new("clock").with("offset", "utc").children_from(timers(machine)));
    for (event, action) in [("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")] {
        domain.push(Element::new(event).text_inside(action));
    }
    let mut devices = Element::new("devices");
    if !host.test {
        devices.push(Element::new("controller").with("type", "usb").with("model", "qemu-xhci").with("ports", 15));
        devices.nodes.extend(ports(machine).map(super::Node::Element));
    }
    domain.push(devices);
    let around = Around { record: Some(record), taken: &BTreeSet::new() };
    apply(&mut domain, None, machine, around, secrets, host)?;
    Ok(domain)
}

/// Under KVM a guest that missed timer ticks catches up in a way it can bear.
fn timers(machine: &Machine) -> Vec<Element<'static>> {
    if machine.spec.accelerator() != Accelerator::Kvm {
        return Vec::new();
    }
    vec![
        Element::new("timer").with("name", "rtc").with("tickpolicy", "catchup"),
        Element::new("timer").with("name", "pit").with("tickpolicy", "delay"),
        Element::new("timer").with("name", "hpet").with("present", "no"),
    ]
}

/// A `q35` takes new devices only on ports it has; `pc` has slots enough.
fn ports(machine: &Machine) -> impl Iterator<Item = Element<'static>> + use<> {
    let spec = &machine.spec;
    let on_virtio = spec.disks.values().filter(|d| d.bus_on(&spec.machine()) == Bus::Virtio).count();
    let on_scsi = spec.disks.values().filter(|d| d.bus == Some(Bus::Scsi) && d.iothread()).count() + 1;
    // The controllers for USB, the agent's channel, the balloon and random numbers take a port each.
    let taken = 4 + on_virtio + on_scsi + spec.nics.len() + spec.pci.len();
    let count = if os::is_q35(&spec.machine()) { u32::try_from(taken).unwrap_or(0) + SPARE_PORTS } else { 0 };
    let root =
        (count > 0).then(|| Element::new("controller").with("type", "pci").with("index", 0).with("model", "pcie-root"));
    let port = |n| Element::new("controller").with("type", "pci").with("index", n).with("model", "pcie-root-port");
    root.into_iter().chain((1..=count).map(port))
}
