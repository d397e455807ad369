//! Disks and optical drives: the element of one, and what it says.
//!
//! A disk is found by its alias, else by its target. Its target is given once and kept.

use std::collections::BTreeSet;

use super::{Element, alias, apply_boot_order, from_word, give_alias, named, source, word};
use crate::base::{Fault, Name, Size};
use crate::drivers::storage::Attachment;
use crate::kinds::vm::{Bus, Cache, Disk, Limits, Media};

/// The alias of the cloud-init seed's drive.
pub const SEED: &str = "ua-seed";

/// What a disk gets from the machine around it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slot {
    /// The target, `vda`.
    pub target: String,
    /// The number of its thread, when it has one.
    pub iothread: Option<u32>,
    /// The SCSI controller and the unit on it, when libvirt must not pick them.
    pub unit: Option<(u32, u32)>,
}

/// The names of targets on a bus start with this.
pub fn prefix(bus: Bus) -> &'static str {
    match bus {
        Bus::Virtio => "vd",
        Bus::Scsi | Bus::Sata | Bus::Usb => "sd",
        Bus::Ide => "hd",
    }
}

/// The first target on the bus that is not taken.
pub fn free_target(bus: Bus, taken: &BTreeSet<String>) -> String {
    (0..).map(|n| target(prefix(bus), n)).find(|t| !taken.contains(t)).unwrap_or_default()
}

/// `vda` to `vdz`, `vdaa` and so on.
fn target(prefix: &str, mut n: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b"abcdefghijklmnopqrstuvwxyz"[n % 26]));
        if n < 26 {
            break;
        }
        n = n / 26 - 1;
    }
    prefix.chars().chain(letters.into_iter().rev()).collect()
}

/// A new disk's element.
pub fn element(
    name: &Name,
    disk: &Disk,
    attachment: Option<&Attachment>,
    slot: &Slot,
) -> Result<Element<'static>, Fault> {
    let mut element = Element::new("disk");
    source::apply(&mut element, attachment)?;
    apply(&mut element, disk, slot);
    give_alias(&mut element, alias("disk", name));
    Ok(element)
}

/// The element of the cloud-init seed's drive.
pub fn seed_element(seed: &std::path::Path, bus: Bus, target: &str) -> Result<Element<'static>, Fault> {
    let mut element = Element::new("disk").with("type", "file").with("device", "cdrom");
    source::apply(&mut element, Some(&seed_attachment(seed)))?;
    element.push(Element::new("target").with("dev", target).with("bus", word(bus)));
    element.push(Element::new("readonly"));
    give_alias(&mut element, SEED.to_owned());
    Ok(element)
}

/// How the cloud-init seed is reached.
pub fn seed_attachment(seed: &std::path::Path) -> Attachment {
    Attachment::File { path: seed.to_owned(), format: crate::drivers::storage::Format::Raw }
}

/// Makes an element say what the spec says, except how its bytes are reached.
pub fn apply(element: &mut Element<'_>, disk: &Disk, slot: &Slot) {
    let bus = disk.bus.unwrap_or(Bus::Virtio);
    element.set("device", if disk.media() == Media::Cdrom { "cdrom" } else { "disk" });
    let driver = element.entry("driver");
    driver.set("cache", word(disk.cache()));
    let mut option = |name: &str, value: Option<String>| match value {
        Some(value) => driver.set(name, value),
        None => driver.unset(name),
    };
    option("io", disk.io.map(word));
    option("discard", disk.discard().then(|| "unmap".to_owned()));
    option("iothread", slot.iothread.filter(|_| bus == Bus::Virtio).map(|n| n.to_string()));
    let target = element.entry("target");
    if target.get("bus").is_some_and(|b| b != word(bus)) || target.get("dev").is_some_and(|d| d != slot.target) {
        element.remove_all("address");
    }
    let target = element.entry("target");
    target.set("dev", &slot.target);
    target.set("bus", word(bus));
    if disk.ssd() {
        target.set("rotation_rate", 1)
    } else {
        target.unset("rotation_rate")
    }
    apply_limits(element, &disk.limits());
    element.remove_all("readonly");
    if disk.read_only() || disk.media() == Media::Cdrom {
        element.push(Element::new("readonly"));
    }
    element.replace_all("serial", disk.serial.iter().map(|s| Element::new("serial").text_inside(s)));
    apply_boot_order(element, disk.boot_order);
    if let Some((controller, unit)) = slot.unit.filter(|unit| unit_of(element) != Some(*unit)) {
        put_at(element, controller, unit);
    }
}

/// Puts a drive at this unit of a SCSI controller.
pub fn put_at(element: &mut Element<'_>, controller: u32, unit: u32) {
    let address = Element::new("address").with("type", "drive").with("controller", controller);
    let address = address.with("bus", 0).with("target", 0).with("unit", unit);
    element.replace_all("address", [address]);
}

/// The controller and the unit a disk hangs on.
fn unit_of(element: &Element<'_>) -> Option<(u32, u32)> {
    let address = element.first("address").filter(|a| a.get("type") == Some("drive"))?;
    Some((address.parse("controller")?, address.parse("unit").unwrap_or(0)))
}

/// A unit on the SCSI controller that no disk has.
pub fn free_unit(domain: &Element<'_>, controller: u32) -> u32 {
    let devices = domain.first("devices").into_iter();
    let used: BTreeSet<u32> = devices
        .flat_map(|d| d.all("disk"))
        .filter(|d| d.attribute(&["target"], "bus") == Some("scsi"))
        .filter_map(unit_of)
        .filter(|(c, _)| *c == controller)
        .map(|(_, unit)| unit)
        .collect();
    (0..).find(|n| !used.contains(n)).unwrap_or(0)
}

/// libvirt's names of the limits, with the values; 0 is no limit.
pub fn limits(limits: &Limits) -> [(&'static str, u64); 6] {
    let Limits { iops, iops_read, iops_write, bandwidth, bandwidth_read, bandwidth_write } = limits;
    let bytes = |size: &Option<Size>| size.map_or(0, Size::bytes);
    [
        ("total_iops_sec", iops.unwrap_or(0)),
        ("read_iops_sec", iops_read.unwrap_or(0)),
        ("write_iops_sec", iops_write.unwrap_or(0)),
        ("total_bytes_sec", bytes(bandwidth)),
        ("read_bytes_sec", bytes(bandwidth_read)),
        ("write_bytes_sec", bytes(bandwidth_write)),
    ]
}

fn apply_limits(element: &mut Element<'_>, wanted: &Limits) {
    if read_limits(element) == *wanted {
        return;
    }
    let tune = element.entry("iotune");
    for (name, value) in limits(wanted) {
        tune.remove_all(name);
        if value > 0 {
            tune.push(Element::new(name).text_inside(value));
        }
    }
    if tune.nodes.is_empty() {
        element.remove_all("iotune");
    }
}

fn read_limits(element: &Element<'_>) -> Limits {
    let value = |name: &str| {
        let text = element.text_at(&["iotune", name])?;
        text.trim().parse::<u64>().ok().filter(|n| *n > 0)
    };
    Limits {
        iops: value("total_iops_sec"),
        iops_read: value("read_iops_sec"),
        iops_write: value("write_iops_sec"),
        bandwidth: value("total_bytes_sec").map(Size),
        bandwidth_read: value("read_bytes_sec").map(Size),
        bandwidth_write: value("write_bytes_sec").map(Size),
    }
}

/// The domain's disks that can be ours, the seed's drive not among them.
pub fn all<'d, 'a>(domain: &'d Element<'a>) -> impl Iterator<Item = &'d Element<'a>> {
    let devices = domain.first("devices").into_iter();
    devices.flat_map(|d| d.all("disk")).filter(|d| {
        matches!(d.get("device"), None | Some("disk" | "cdrom")) && d.attribute(&["alias"], "name") != Some(SEED)
    })
}

/// The drive with the cloud-init seed.
pub fn seed<'d, 'a>(domain: &'d Element<'a>) -> Option<&'d Element<'a>> {
    domain.first("devices")?.all("disk").find(|d| d.attribute(&["alias"], "name") == Some(SEED))
}

/// The target of a disk.
pub fn target_of<'e>(element: &'e Element<'_>) -> &'e str {
    element.attribute(&["target"], "dev").unwrap_or_default()
}

/// The name of a disk, and whether it is one we gave.
pub fn name_of(element: &Element<'_>) -> Option<(Name, bool)> {
    match named(element, "disk") {
        Some(name) => Some((name, true)),
        None => identity(element).map(|name| (name, false)),
    }
}

/// What tells a disk from the domain's others whatever it is called.
pub fn identity(element: &Element<'_>) -> Option<Name> {
    Name::new(target_of(element)).ok()
}

/// The disk of that name.
pub fn find<'d, 'a>(domain: &'d Element<'a>, name: &Name) -> Option<&'d Element<'a>> {
    let mine = |d: &&Element<'a>| named(d, "disk").as_ref() == Some(name);
    all(domain).find(mine).or_else(|| all(domain).find(|d| named(d, "disk").is_none() && target_of(d) == name.as_str()))
}

/// The target of every disk, whosever it is.
pub fn targets(domain: &Element<'_>) -> BTreeSet<String> {
    let devices = domain.first("devices").into_iter();
    devices.flat_map(|d| d.all("disk")).map(|d| target_of(d).to_owned()).collect()
}

/// The SCSI controllers' threads: index and thread.
pub fn scsi_threads(domain: &Element<'_>) -> Vec<(u32, u32)> {
    let devices = domain.first("devices").into_iter();
    devices
        .flat_map(|d| d.all("controller"))
        .filter(|c| c.get("type") == Some("scsi"))
        .filter_map(|c| Some((c.parse("index")?, c.first("driver")?.parse("iothread")?)))
        .collect()
}

/// The SCSI controller of that index.
pub fn find_scsi<'d, 'a>(domain: &'d Element<'a>, index: u32) -> Option<&'d Element<'a>> {
    let is_it = |e: &&Element<'a>| e.get("type") == Some("scsi") && e.parse("index") == Some(index);
    domain.first("devices")?.all("controller").find(is_it)
}

/// The numbers of a domain's input/output threads.
pub fn threads(domain: &Element<'_>) -> BTreeSet<u32> {
    let count = domain.text_at(&["iothreads"]).and_then(|t| t.trim().parse::<u32>().ok()).unwrap_or(0);
    let listed = domain.first("iothreadids").into_iter().flat_map(|ids| ids.all("iothread"));
    let listed: BTreeSet<u32> = listed.filter_map(|t| t.parse("id")).collect();
    if listed.is_empty() { (1..=count).collect() } else { listed }
}

/// Where the disk hangs, as far as a new element for it must say the same.
pub fn slot(domain: &Element<'_>, element: &Element<'_>) -> Slot {
    let is_scsi = element.attribute(&["target"], "bus") == Some("scsi");
    let unit = unit_of(element).filter(|_| is_scsi);
    let threads = scsi_threads(domain);
    let thread = unit.and_then(|(c, _)| threads.iter().find(|(index, _)| *index == c)).map(|(_, thread)| *thread);
    Slot {
        target: target_of(element).to_owned(),
        iothread: element.first("driver").and_then(|d| d.parse("iothread")).or(thread),
        unit,
    }
}

/// What a disk says.
pub fn read(element: &Element<'_>, threads: &[(u32, u32)]) -> Result<(Disk, Option<Attachment>), Fault> {
    let driver = element.first("driver");
    let option = |name: &str| driver.and_then(|d| d.get(name));
    let attachment = source::read(element)?;
    let media = if element.get("device") == Some("cdrom") { Media::Cdrom } else { Media::Disk };
    let bus = element.attribute(&["target"], "bus").and_then(from_word);
    let on_thread = |(controller, _)| threads.iter().any(|(index, _)| *index == controller);
    let shared = bus == Some(Bus::Scsi) && unit_of(element).is_some_and(on_thread);
    let disk = Disk {
        media: Some(media),
        format: (media == Media::Disk).then(|| attachment.as_ref().map(source::format)).flatten(),
        bus,
        cache: Some(option("cache").and_then(from_word).unwrap_or(Cache::Writeback)),
        io: option("io").and_then(from_word),
        discard: Some(option("discard") == Some("unmap")),
        iothread: Some(option("iothread").is_some() || shared),
        ssd: Some(element.attribute(&["target"], "rotation_rate") == Some("1")),
        serial: element.text_at(&["serial"]).map(|s| s.into_owned()).filter(|s| !s.is_empty()),
        read_only: Some(media == Media::Disk && element.first("readonly").is_some()),
        limits: Some(read_limits(element)),
        boot_order: element.first("boot").and_then(|b| b.parse("order")),
        ..Disk::default()
    };
    Ok((disk, attachment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_go_on_after_z() {
        assert_eq!(target("vd", 0), "vda");
        assert_eq!(target("vd", 25), "vdz");
        assert_eq!(target("vd", 26), "vdaa");
        assert_eq!(target("vd", 701), "vdzz");
        assert_eq!(target("vd", 702), "vdaaa");
        let taken = ["vda".to_owned(), "vdc".to_owned()].into();
        assert_eq!(free_target(Bus::Virtio, &taken), "vdb");
    }
}
