//! Reads a domain's XML into a machine: whoever made it, configured or running.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Element, Host, boot_order, cpu, devices, disk, hostdev, memory, nic, os};
use crate::base::{Attempt as _, Fault, Name, Size};
use crate::drivers::guest::Machine;
use crate::drivers::storage::Attachment;
use crate::kinds::vm::{FirmwareType, VmSpec};

/// The names of devices by what identifies them, since a running device keeps the alias it was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    by_identity: BTreeMap<(&'static str, Name), Name>,
    /// Devices without a name of ours, by section.
    pub unnamed: BTreeMap<String, Vec<Name>>,
}

impl Names {
    /// The name of the disk with that target.
    pub fn disk(&self, target: &str) -> Option<Name> {
        let identity = Name::new(target).ok()?;
        Some(self.by_identity.get(&("disks", identity.clone())).cloned().unwrap_or(identity))
    }

    /// What identifies the device of that name, where it had a name of ours.
    pub fn identity(&self, section: &str, name: &Name) -> Option<&Name> {
        self.by_identity.iter().find(|((sort, _), n)| *sort == section && *n == name).map(|((_, identity), _)| identity)
    }

    /// The target and the name of every disk.
    pub fn disks(&self) -> impl Iterator<Item = (String, Name)> {
        let named = self.by_identity.iter().filter(|((sort, _), _)| *sort == "disks");
        let unnamed = self.unnamed.get("disks").into_iter().flatten();
        named
            .map(|((_, target), name)| (target.to_string(), name.clone()))
            .chain(unnamed.map(|n| (n.to_string(), n.clone())))
    }

    /// The name of a device, noted for the running one.
    fn settle(&mut self, sort: &'static str, identity: Option<Name>, found: Option<(Name, bool)>) -> Option<Name> {
        let (name, ours) = found?;
        let known = identity.as_ref().and_then(|i| self.by_identity.get(&(sort, i.clone())).cloned());
        if ours {
            self.by_identity.extend(identity.map(|i| ((sort, i), name.clone())));
            return Some(name);
        }
        if let Some(known) = known {
            return Some(known);
        }
        self.unnamed.entry(sort.to_owned()).or_default().push(name.clone());
        Some(name)
    }
}

/// A machine as the domain says it, and the names of its devices; `known` are those of the configured domain when this
/// is the running one.
pub fn read(domain: &Element<'_>, host: Host, known: Option<&Names>) -> Result<(Machine, Names), Fault> {
    let mut spec = VmSpec {
        description: domain.text_at(&["description"]).map(|t| t.into_owned()).filter(|t| !t.is_empty()),
        machine: Some(os::read_machine(domain)),
        accelerator: Some(os::read_accelerator(domain)),
        firmware: Some(os::read_firmware(domain)),
        boot: Some(os::read_boot(domain)),
        smbios: os::read_smbios(domain),
        cpu: Some(cpu::read(domain, host)?),
        memory: Some(memory::read(domain)?),
        ..VmSpec::default()
    };
    devices::read(domain, &mut spec);
    let mut names = Names { by_identity: known.map(|k| k.by_identity.clone()).unwrap_or_default(), ..Names::default() };
    let mut machine = Machine { spec, ..Machine::default() };
    read_disks(domain, &mut machine, &mut names)?;
    for element in nic::all(domain) {
        let Some(name) = names.settle("nics", nic::identity(element), nic::name_of(element)) else { continue };
        let (nic, link) = nic::read(element);
        machine.spec.nics.insert(name.clone(), nic.into());
        machine.links.insert(name, link);
    }
    for element in hostdev::all(domain, "usb") {
        let found = hostdev::name_of(element, "usb");
        if let Some(name) = names.settle("usb", hostdev::identity(element, "usb"), found) {
            machine.spec.usb.insert(name, hostdev::read_usb(element).into());
        }
    }
    for element in hostdev::all(domain, "pci") {
        let found = hostdev::name_of(element, "pci");
        if let Some(name) = names.settle("pci", hostdev::identity(element, "pci"), found) {
            machine.spec.pci.insert(name, hostdev::read_pci(element).into());
        }
    }
    boot_order::read(domain, &mut machine.spec);
    fill(&mut machine.spec);
    Ok((machine, names))
}

fn read_disks(domain: &Element<'_>, machine: &mut Machine, names: &mut Names) -> Result<(), Fault> {
    let threads = disk::scsi_threads(domain);
    for element in disk::all(domain) {
        let Some(name) = names.settle("disks", disk::identity(element), disk::name_of(element)) else { continue };
        let (spec, attachment) = disk::read(element, &threads).attempt(|| format!("disk {name}"))?;
        machine.spec.disks.insert(name.clone(), spec.into());
        machine.disks.insert(name, attachment);
    }
    if let Some(drive) = disk::seed(domain) {
        machine.seed = match disk::read(drive, &threads)?.1 {
            Some(Attachment::File { path, .. }) => Some(path),
            None => Some(PathBuf::new()),
            Some(_) => None,
        };
    }
    Ok(())
}

/// Writes the defaults in, and leaves out what only the record knows.
fn fill(spec: &mut VmSpec) {
    spec.fill();
    spec.run_strategy = None;
    spec.reconcile = None;
    spec.startup = None;
    spec.stop_timeout = None;
    for disk in spec.disks.values_mut() {
        disk.backup = None;
        disk.on_remove = None;
    }
}

/// Takes out of the running machine what differs from the configured one without being a difference: what libvirt
/// expands, rounds or picks when it starts a guest. A guest that has only just started is given time to let its balloon
/// take what it was asked for.
pub fn settle(running: &mut Machine, configured: &Machine, just_started: bool) {
    let (now, then) = (&mut running.spec, &configured.spec);
    if os::same_machine(&then.machine(), &now.machine()) {
        now.machine.clone_from(&then.machine);
    }
    if let (Some(now), Some(then)) = (&mut now.firmware, &then.firmware)
        && then.r#type() == FirmwareType::Uefi
    {
        if then.loader.is_none() {
            now.loader = None;
        }
        if then.nvram.is_none() {
            now.nvram = None;
        }
    }
    if let (Some(now), Some(then)) = (&mut now.cpu, &then.cpu) {
        if then.model.as_deref() == Some(cpu::HOST_MODEL) {
            now.model.clone_from(&then.model);
        }
        if then.pinning.is_empty() && cpu::is_whole_host(&now.pinning) {
            now.pinning.clear();
        }
    }
    if let (Some(now), Some(then)) = (&mut now.memory, &then.memory) {
        // QEMU gives whole mebibytes.
        let whole = |size: Size| Size(size.0.div_ceil(1 << 20) << 20);
        if now.most() == whole(then.most()) {
            let size = if now.size() == now.most() { then.most() } else { now.size() };
            (now.max, now.size) = (Some(then.most()), Some(size));
        }
        let on_its_way = just_started && now.balloon() && now.most() == then.most();
        if now.size() == whole(then.size()) || on_its_way {
            now.size = then.size;
        }
        now.max = now.max.filter(|max| Some(*max) != now.size);
    }
}
