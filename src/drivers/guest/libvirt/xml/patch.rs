//! Edits a domain where two machines differ, section by section, and leaves everything else in it as it is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::disk::Slot;
use super::{Element, Host, boot_order, cpu, devices, disk, give_alias, hostdev, memory, nic, os, source};
use crate::base::{Fault, Name};
use crate::drivers::guest::{Machine, Record, SecretValues};
use crate::kinds::vm::{Bus, Disk};

/// The path of the screen's password among the secrets.
pub const PASSWORD: &str = "display.password";

/// Makes the domain, which says what `old` says, say what `new` says; new disks get none of the `taken` targets.
pub fn patch(
    domain: &mut Element<'_>,
    old: &Machine,
    new: &Machine,
    secrets: &SecretValues,
    host: Host,
    taken: &BTreeSet<String>,
) -> Result<(), Fault> {
    apply(domain, Some(old), new, Around { record: None, taken }, secrets, host)
}

/// What else is known when disks get their places.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// Where disks come from.
    pub record: Option<&'a Record>,
    /// Targets that the running guest uses.
    pub taken: &'a BTreeSet<String>,
}

/// Applies every section that is not as it was; all of them to a new domain.
pub(super) fn apply(
    domain: &mut Element<'_>,
    old: Option<&Machine>,
    new: &Machine,
    around: Around<'_>,
    secrets: &SecretValues,
    host: Host,
) -> Result<(), Fault> {
    let was = old.map(|m| &m.spec);
    let spec = &new.spec;
    macro_rules! differs {
        ($field:ident) => {
            was.is_none_or(|was| was.$field != spec.$field)
        };
    }
    if differs!(description) {
        let text = spec.description.as_ref().map(|t| Element::new("description").text_inside(t));
        domain.replace_all("description", text);
    }
    if differs!(accelerator) {
        os::apply_accelerator(domain, spec.accelerator(), host);
    }
    if differs!(machine) && !host.test {
        os::apply_machine(domain, &spec.machine());
    }
    if differs!(firmware) {
        os::apply_firmware(domain, &spec.firmware());
    }
    if differs!(boot) {
        os::apply_boot(domain, &spec.boot());
    }
    if differs!(smbios) {
        os::apply_smbios(domain, spec.smbios.as_ref());
    }
    if differs!(cpu) || differs!(accelerator) {
        cpu::apply(domain, &spec.cpu(), was.map(|w| w.cpu()).as_ref(), spec.accelerator(), host);
    }
    if differs!(memory) {
        memory::apply(domain, &spec.memory(), was.map(|w| w.memory()).as_ref())?;
    }
    if differs!(tpm) {
        devices::apply_tpm(domain, spec.tpm.as_ref());
    }
    if differs!(agent) {
        devices::apply_agent(domain, spec.agent().enabled());
    }
    if differs!(display) || secrets.contains_key(PASSWORD) {
        devices::apply_display(domain, &spec.display(), secrets.get(PASSWORD));
    }
    if differs!(video) {
        devices::apply_video(domain, &spec.video());
    }
    if differs!(serial) {
        devices::apply_serial(domain, spec.serial());
    }
    if differs!(rng) {
        devices::apply_rng(domain, &spec.rng());
    }
    if differs!(watchdog) {
        devices::apply_watchdog(domain, spec.watchdog.as_ref());
    }
    apply_disks(domain, old, new, around)?;
    apply_nics(domain, old, new);
    apply_hostdevs(domain, old, new);
    apply_seed(domain, old, new)?;
    boot_order::settle(domain);
    Ok(())
}

fn apply_disks(
    domain: &mut Element<'_>,
    old: Option<&Machine>,
    new: &Machine,
    around: Around<'_>,
) -> Result<(), Fault> {
    let had = |name: &Name| old.and_then(|old| old.spec.disks.get(name)).map(|disk| &**disk);
    if let Some(old) = old {
        for name in old.spec.disks.keys().filter(|name| !new.spec.disks.contains_key(*name)) {
            remove_device(domain, |e| is_disk(e, name));
        }
    }
    // The guest's first disk is the one it boots from: what comes first in the XML is found first.
    let mut order: Vec<(&Name, &Disk)> = new.spec.disks.iter().map(|(name, disk)| (name, &**disk)).collect();
    order.sort_by_key(|(name, disk)| {
        let has_image = disk.image.is_some()
            || around.record.and_then(|r| r.disks.get(*name)).is_some_and(|origin| origin.image.is_some());
        (disk.boot_order.unwrap_or(u32::MAX), disk.media(), !has_image)
    });
    for (name, wanted) in order {
        let attachment = new.disks.get(name).and_then(Option::as_ref);
        let old_attachment = old.and_then(|old| old.disks.get(name)).and_then(Option::as_ref);
        if had(name) == Some(wanted) && source::same(attachment, old_attachment) {
            continue;
        }
        let slot = make_slot(domain, name, wanted, &new.spec.machine(), around.taken);
        let wanted = Disk { bus: Some(wanted.bus_on(&new.spec.machine())), ..wanted.clone() };
        let place = domain.first_mut("devices").and_then(|d| d.children_mut().find(|e| is_disk(e, name)));
        match place {
            Some(element) => {
                if !source::same(attachment, old_attachment) {
                    source::apply(element, attachment)?;
                }
                disk::apply(element, &wanted, &slot);
            }
            None => {
                let element = disk::element(name, &wanted, attachment, &slot)?;
                domain.entry("devices").push(element);
            }
        }
    }
    Ok(())
}

fn is_disk(element: &Element<'_>, name: &Name) -> bool {
    element.name == "disk" && disk::name_of(element).is_some_and(|(n, _)| n == *name)
}

/// Where a disk hangs: where it hung, as far as that still fits; else on the next free place, made when there is none.
fn make_slot(domain: &mut Element<'_>, name: &Name, wanted: &Disk, machine: &str, taken: &BTreeSet<String>) -> Slot {
    let bus = wanted.bus_on(machine);
    let now = disk::find(domain, name).map(|e| disk::slot(domain, e)).unwrap_or_default();
    let mut slot = Slot::default();
    let same_prefix = now.target.strip_prefix(disk::prefix(bus)).is_some_and(|rest| !rest.is_empty());
    slot.target =
        if same_prefix { now.target.clone() } else { disk::free_target(bus, &(&disk::targets(domain) | taken)) };
    let own_thread = wanted.iothread() && matches!(bus, Bus::Virtio | Bus::Scsi);
    if own_thread {
        slot.iothread = now.iothread.or_else(|| Some(make_thread(domain)));
    }
    if bus == Bus::Scsi {
        slot.unit = match slot.iothread {
            Some(thread) => Some(
                now.unit.filter(|_| now.iothread.is_some()).unwrap_or_else(|| (make_scsi(domain, Some(thread)), 0)),
            ),
            None => match make_scsi(domain, None) {
                // libvirt picks the place on the first controller by the target.
                0 => None,
                controller => Some((controller, disk::free_unit(domain, controller))),
            },
        };
        if slot.unit.is_none() && now.iothread.is_some() {
            let element = domain.entry("devices").children_mut().find(|e| is_disk(e, name));
            element.into_iter().for_each(|e| e.remove_all("address"));
        }
    }
    slot
}

/// The number of a thread nobody uses.
fn make_thread(domain: &mut Element<'_>) -> u32 {
    let mut used: BTreeSet<u32> = disk::scsi_threads(domain).into_iter().map(|(_, thread)| thread).collect();
    let devices = domain.first("devices").into_iter();
    used.extend(devices.flat_map(|d| d.all("disk")).filter_map(|d| d.first("driver")?.parse::<u32>("iothread")));
    let id = (1..).find(|n| !used.contains(n)).unwrap_or(1);
    let count = domain.text_at(&["iothreads"]).and_then(|t| t.trim().parse::<u32>().ok()).unwrap_or(0);
    if count < id {
        domain.replace_all("iothreads", [Element::new("iothreads").text_inside(id)]);
        if let Some(ids) = domain.first_mut("iothreadids") {
            ids.push(Element::new("iothread").with("id", id));
        }
    }
    id
}

/// A SCSI controller: one that is shared, or one of its own for a disk with a thread.
fn make_scsi(domain: &mut Element<'_>, thread: Option<u32>) -> u32 {
    let devices = domain.entry("devices");
    let index = |e: &Element<'_>| e.parse::<u32>("index").unwrap_or(0);
    let is_scsi = |e: &&Element<'_>| e.name == "controller" && e.get("type") == Some("scsi");
    let shared = devices.children().filter(is_scsi).find(|e| e.attribute(&["driver"], "iothread").is_none());
    if let (None, Some(shared)) = (thread, shared) {
        return index(shared);
    }
    let used: BTreeSet<u32> = devices.children().filter(is_scsi).map(index).collect();
    // The first one is for those without a thread, since libvirt puts disks there unasked.
    let first = u32::from(thread.is_some());
    let free = (first..).find(|n| !used.contains(n)).unwrap_or(first);
    devices.push(scsi_element(free, thread));
    free
}

/// A SCSI controller's element.
pub fn scsi_element(index: u32, thread: Option<u32>) -> Element<'static> {
    let element = Element::new("controller").with("type", "scsi").with("index", index).with("model", "virtio-scsi");
    match thread {
        Some(thread) => element.child(Element::new("driver").with("iothread", thread)),
        None => element,
    }
}

fn apply_nics(domain: &mut Element<'_>, old: Option<&Machine>, new: &Machine) {
    if let Some(old) = old {
        for name in old.spec.nics.keys().filter(|name| !new.spec.nics.contains_key(*name)) {
            remove_device(domain, |e| e.name == "interface" && nic::name_of(e).is_some_and(|(n, _)| n == *name));
        }
    }
    for (name, wanted) in &new.spec.nics {
        let link = new.links.get(name).and_then(Option::as_ref);
        let old_nic = old.and_then(|old| old.spec.nics.get(name));
        let old_link = old.and_then(|old| old.links.get(name)).map(Option::as_ref);
        if old_nic == Some(wanted) && old_link == Some(link) {
            continue;
        }
        let place = domain.first_mut("devices").and_then(|d| {
            d.children_mut().find(|e| e.name == "interface" && nic::name_of(e).is_some_and(|(n, _)| n == *name))
        });
        match place {
            Some(element) => nic::apply(element, wanted, link, old_link),
            None => domain.entry("devices").push(nic::element(name, wanted, link)),
        }
    }
}

fn apply_hostdevs(domain: &mut Element<'_>, old: Option<&Machine>, new: &Machine) {
    let replace = |domain: &mut Element<'_>, sort: &str, name: &Name, element: Option<Element<'static>>| {
        remove_device(domain, |e| {
            e.name == "hostdev"
                && e.get("type") == Some(sort)
                && hostdev::name_of(e, sort).is_some_and(|(n, _)| n == *name)
        });
        if let Some(element) = element {
            domain.entry("devices").push(element);
        }
    };
    let none = Machine::default();
    let old = old.unwrap_or(&none);
    for name in old.spec.usb.keys().chain(new.spec.usb.keys()) {
        let wanted = new.spec.usb.get(name);
        if old.spec.usb.get(name) != wanted {
            replace(domain, "usb", name, wanted.map(|usb| hostdev::usb_element(name, usb)));
        }
    }
    for name in old.spec.pci.keys().chain(new.spec.pci.keys()) {
        let wanted = new.spec.pci.get(name);
        if old.spec.pci.get(name) != wanted {
            replace(domain, "pci", name, wanted.and_then(|pci| hostdev::pci_element(name, pci)));
        }
    }
}

fn apply_seed(domain: &mut Element<'_>, old: Option<&Machine>, new: &Machine) -> Result<(), Fault> {
    if old.map_or(&None, |old| &old.seed) == &new.seed {
        return Ok(());
    }
    let is_seed = |e: &Element<'_>| e.name == "disk" && e.attribute(&["alias"], "name") == Some(disk::SEED);
    let Some(seed) = &new.seed else {
        remove_device(domain, is_seed);
        return Ok(());
    };
    // The kernels of cloud images know virtio and not AHCI, so a SATA drive would never be found there.
    let bus = if os::is_q35(&new.spec.machine()) { Bus::Scsi } else { Bus::Ide };
    let attachment = disk::seed_attachment(seed);
    match domain.first_mut("devices").and_then(|d| d.children_mut().find(|e| is_seed(e))) {
        Some(drive) => source::apply(drive, Some(&attachment))?,
        None => {
            let target = disk::free_target(bus, &disk::targets(domain));
            let mut drive = disk::seed_element(seed, bus, &target)?;
            if bus == Bus::Scsi {
                // On the first controller libvirt takes the unit from the target's name, as for the disks there.
                match make_scsi(domain, None) {
                    0 => {}
                    controller => disk::put_at(&mut drive, controller, disk::free_unit(domain, controller)),
                }
            }
            domain.entry("devices").push(drive);
        }
    }
    Ok(())
}

fn remove_device(domain: &mut Element<'_>, which: impl Fn(&Element<'_>) -> bool) {
    if let Some(devices) = domain.first_mut("devices") {
        devices.nodes.retain(|n| !matches!(n, super::Node::Element(e) if which(e)));
    }
}

/// Gives the devices of `new` that have none an alias with their name.
pub fn give_names(domain: &mut Element<'_>, new: &Machine) {
    let Some(devices) = domain.first_mut("devices") else { return };
    for element in devices.children_mut() {
        let found = match &*element.name {
            "disk" => disk::name_of(element).filter(|(n, _)| new.spec.disks.contains_key(n)).map(|f| (f, "disk")),
            "interface" => nic::name_of(element).filter(|(n, _)| new.spec.nics.contains_key(n)).map(|f| (f, "nic")),
            "hostdev" => {
                let sort = if element.get("type") == Some("usb") { "usb" } else { "pci" };
                let known = |n: &Name| new.spec.usb.contains_key(n) || new.spec.pci.contains_key(n);
                hostdev::name_of(element, sort).filter(|(n, _)| known(n)).map(|f| (f, sort))
            }
            _ => None,
        };
        if let Some(((name, false), sort)) = found {
            give_alias(element, super::alias(sort, &name));
        }
    }
}

/// `old` with what stands below `paths` taken from `new`.
pub fn overlay(old: &Machine, new: &Machine, paths: &[String]) -> Result<Machine, Fault> {
    let failed = |e: serde_json::Error| Fault::other(format!("cannot put two machines together: {e}"));
    let mut spec = serde_json::to_value(&old.spec).map_err(failed)?;
    let from = serde_json::to_value(&new.spec).map_err(failed)?;
    let mut machine = Machine { spec: Default::default(), ..old.clone() };
    for path in paths {
        let keys: Vec<&str> = path.split('.').collect();
        copy(&mut spec, &from, &keys);
        match keys.as_slice() {
            ["disks", name] | ["disks", name, "image" | "volume" | "storage" | "path" | "media" | "format"] => {
                take(&mut machine.disks, &new.disks, name);
            }
            ["nics", name] | ["nics", name, "network"] => take(&mut machine.links, &new.links, name),
            ["disks"] => machine.disks.clone_from(&new.disks),
            ["nics"] => machine.links.clone_from(&new.links),
            ["cloudInit", ..] => machine.seed.clone_from(&new.seed),
            _ => {}
        }
    }
    machine.spec = serde_json::from_value(spec).map_err(failed)?;
    machine.spec.fill();
    Ok(machine)
}

fn take<T: Clone>(
    to: &mut std::collections::BTreeMap<Name, T>,
    from: &std::collections::BTreeMap<Name, T>,
    name: &str,
) {
    match from.get_key_value(name) {
        Some((name, value)) => {
            to.insert(name.clone(), value.clone());
        }
        None => {
            to.remove(name);
        }
    }
}

fn copy(to: &mut Value, from: &Value, keys: &[&str]) {
    let Some((key, rest)) = keys.split_first() else { return };
    let Value::Object(map) = to else { return };
    match from.get(key) {
        None => {
            map.remove(*key);
        }
        Some(value) if rest.is_empty() => {
            map.insert((*key).to_owned(), value.clone());
        }
        Some(value) => {
            copy(map.entry((*key).to_owned()).or_insert_with(|| Value::Object(Default::default())), value, rest);
        }
    }
}
