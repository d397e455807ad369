//! Everything about a virtual machine's manifest that can be known offline, each problem with its place.

mod devices;
mod disks;
mod init;
mod nics;

use super::spec::{DisplayType, FirmwareType, Hugepages, VmSpec, WatchdogModel};
use crate::base::{Name, Size};
use crate::kinds::{Report, Scope};

/// The least memory a guest can have.
const LEAST_MEMORY: Size = Size::mib(16);
/// The most processors of a `pc` machine.
const MOST_ON_PC: u32 = 255;
/// The most processors of a `q35` machine without a virtual IOMMU.
const MOST_ON_Q35: u32 = 288;

/// Reports every problem of one manifest.
pub(super) fn check(_name: &Name, spec: &VmSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    texts(spec, report);
    machine(spec, report);
    cpu(spec, report);
    memory(spec, report);
    screen(spec, report);
    boot(spec, report);
    boot_order(spec, report);
    disks::check(spec, scope, report);
    nics::check(spec, scope, report);
    devices::check(spec, report);
    init::check(spec, report);
}

/// Whether the machine is of the `q35` family.
fn is_q35(machine: &str) -> bool {
    machine == "q35" || machine.starts_with("pc-q35-")
}

/// Whether a text is one line that XML and a command line can carry.
fn is_line(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn texts(spec: &VmSpec, report: &mut Report<'_>) {
    let lines = |text: &str| text.split(['\n', '\t']).all(is_line);
    if spec.description.as_deref().is_some_and(|d| !lines(d) || d.chars().count() > 8192) {
        let help = "write at most 8192 characters in lines, without other control characters";
        report.error("vm/text", "description", "the description has characters that cannot be kept", help);
    }
    for tag in &spec.tags {
        if tag.is_empty() || tag.chars().count() > 128 || !is_line(tag) || tag.chars().any(char::is_whitespace) {
            let help = "write 1 to 128 characters without spaces";
            report.error("vm/tag", "tags", format!("{tag:?} cannot be a tag"), help);
        }
    }
    let smbios = spec.smbios.clone().unwrap_or_default();
    for (field, text) in [
        ("manufacturer", &smbios.manufacturer),
        ("product", &smbios.product),
        ("version", &smbios.version),
        ("serial", &smbios.serial),
        ("sku", &smbios.sku),
        ("family", &smbios.family),
    ] {
        if text.as_deref().is_some_and(|t| t.trim() != t || t.is_empty() || t.len() > 255 || !is_line(t)) {
            let help = "write 1 to 255 bytes in one line without spaces around, or leave it out";
            report.error("vm/text", &format!("smbios.{field}"), format!("smbios.{field} cannot be kept"), help);
        }
    }
}

fn machine(spec: &VmSpec, report: &mut Report<'_>) {
    let (machine, firmware) = (spec.machine(), spec.firmware());
    let uefi = firmware.r#type() == FirmwareType::Uefi;
    if firmware.secure_boot() && !uefi {
        let help = "set firmware.type: uefi, or leave secureBoot out";
        report.error("vm/secure-boot-needs-uefi", "firmware.secureBoot", "secure boot needs UEFI firmware", help);
    }
    if firmware.secure_boot() && !is_q35(&machine) {
        let message = format!("secure boot needs a q35 machine, and this is {machine}");
        report.error("vm/secure-boot-needs-q35", "firmware.secureBoot", message, "set machine: q35");
    }
    for (field, path) in [("nvram", &firmware.nvram), ("loader", &firmware.loader)] {
        let at = format!("firmware.{field}");
        if path.is_some() && !uefi {
            let help = "set firmware.type: uefi, or leave it out";
            report.error("vm/firmware-field-unused", &at, format!("{at} is for UEFI firmware"), help);
        }
        if let Some(path) = path {
            absolute(path, &at, report);
        }
    }
    if let Some(dog) = &spec.watchdog {
        let fits = match dog.model() {
            WatchdogModel::I6300esb => true,
            WatchdogModel::Ib700 => !is_q35(&machine),
            WatchdogModel::Itco => is_q35(&machine),
        };
        if !fits {
            let message = format!("the watchdog's model does not exist on {machine}");
            report.error("vm/watchdog-not-on-machine", "watchdog.model", message, "use i6300esb, which fits all");
        }
    }
}

fn cpu(spec: &VmSpec, report: &mut Report<'_>) {
    let cpu = spec.cpu();
    let (count, most, unit) = (cpu.count(), cpu.most(), cpu.sockets().saturating_mul(cpu.threads()).max(1));
    if most < count {
        let message = format!("maxCores is {most}, and sockets x cores x threads is {count}");
        report.error("vm/max-cores-too-small", "cpu.maxCores", message, format!("set maxCores to {count} or more"));
    } else if most % unit != 0 {
        let message = format!("maxCores {most} is not a multiple of sockets x threads, {unit}");
        let help = format!("set maxCores to {}", most.div_ceil(unit) * unit);
        report.error("vm/max-cores-uneven", "cpu.maxCores", message, help);
    }
    let limit = if is_q35(&spec.machine()) { MOST_ON_Q35 } else { MOST_ON_PC };
    if most > limit {
        let message = format!("{most} processors are more than the {limit} that {} can have", spec.machine());
        report.error("vm/too-many-processors", "cpu", message, format!("ask for at most {limit}"));
    }
    if cpu.limit.is_some_and(|l| l > f64::from(most)) {
        let message = format!("the limit is above the {most} processors the guest has, and limits nothing");
        report.warning("vm/limit-unused", "cpu.limit", message, "lower it, or leave it out");
    }
}

fn memory(spec: &VmSpec, report: &mut Report<'_>) {
    let memory = spec.memory();
    let (size, most) = (memory.size(), memory.most());
    if size < LEAST_MEMORY {
        let message = format!("memory.size is {size}, and the least is {LEAST_MEMORY}");
        report.error("vm/memory-too-small", "memory.size", message, format!("give it at least {LEAST_MEMORY}"));
    }
    for (field, value) in [("size", Some(size)), ("max", memory.max), ("balloonMin", memory.balloon_min)] {
        if value.is_some_and(|v| v.bytes() % Size::mib(1).bytes() != 0) {
            let message = format!("memory.{field} is not a whole number of mebibytes");
            report.error("vm/memory-uneven", &format!("memory.{field}"), message, "write it with Mi or Gi");
        }
    }
    if most < size {
        let message = format!("memory.max is {most}, less than memory.size, {size}");
        report.error("vm/memory-max-too-small", "memory.max", message, format!("set max to {size} or more"));
    }
    if let Some(least) = memory.balloon_min
        && least > size
    {
        let message = format!("memory.balloonMin is {least}, more than memory.size, {size}");
        report.error("vm/balloon-too-large", "memory.balloonMin", message, format!("set it to {size} or less"));
    }
    if !memory.balloon() && (memory.balloon_min.is_some() || most > size) {
        let help = "leave balloon out, or leave balloonMin and max out";
        report.error("vm/balloon-off", "memory.balloon", "balloonMin and max work with the balloon only", help);
    }
    let page = match memory.hugepages() {
        Hugepages::None => return,
        Hugepages::Mi2 => Size::mib(2),
        Hugepages::Gi1 => Size::gib(1),
    };
    if most.bytes() % page.bytes() != 0 {
        let message = format!("{most} of memory is not a whole number of pages of {page}");
        report.error("vm/hugepages-uneven", "memory.hugepages", message, format!("make it a multiple of {page}"));
    }
}

fn screen(spec: &VmSpec, report: &mut Report<'_>) {
    let display = spec.display();
    if display.listen().parse::<std::net::IpAddr>().is_err() {
        let message = format!("{:?} is no IP address", display.listen());
        report.error("vm/address", "display.listen", message, "write an address such as 127.0.0.1 or ::1");
    }
    if display.r#type() == DisplayType::None && (display.port.is_some() || display.password.is_some()) {
        let help = "leave port and password out, or set type: vnc";
        report.error(
            "vm/display-field-unused",
            "display",
            "a screen that is not reached has no port or password",
            help,
        );
    }
}

fn boot(spec: &VmSpec, report: &mut Report<'_>) {
    let boot = spec.boot();
    for (field, path) in [("kernel", &boot.kernel), ("initrd", &boot.initrd)] {
        if let Some(path) = path {
            absolute(path, &format!("boot.{field}"), report);
        }
    }
    if boot.cmdline.as_deref().is_some_and(|c| c.trim() != c || !is_line(c) || c.len() > 4096) {
        let help = "write at most 4096 bytes in one line, without spaces around";
        report.error("vm/text", "boot.cmdline", "the kernel's command line cannot be passed on", help);
    }
    for (field, set) in [("initrd", boot.initrd.is_some()), ("cmdline", boot.cmdline.is_some())] {
        if set && boot.kernel.is_none() {
            let message = format!("boot.{field} is for a kernel that is booted directly");
            report.error("vm/boot-needs-kernel", &format!("boot.{field}"), message, "set boot.kernel, or leave it out");
        }
    }
}

fn boot_order(spec: &VmSpec, report: &mut Report<'_>) {
    let order = spec.boot().order;
    let mut seen = std::collections::BTreeMap::new();
    let disks = spec.disks.iter().map(|(n, d)| (format!("disks.{n}"), d.boot_order));
    let nics = spec.nics.iter().map(|(n, d)| (format!("nics.{n}"), d.boot_order));
    for (device, place) in disks.chain(nics) {
        let Some(place) = place else { continue };
        let at = format!("{device}.bootOrder");
        if !order.is_empty() {
            let (_, name) = device.split_once('.').unwrap_or_default();
            let in_order = order.iter().position(|n| n.as_str() == name).map(|i| i + 1);
            if in_order != usize::try_from(place).ok() {
                let message = match in_order {
                    Some(i) => format!("boot.order makes {name} number {i}, not {place}"),
                    None => format!("boot.order does not name {name}"),
                };
                let help = "let both say the same, or keep only one of boot.order and bootOrder";
                report.error("vm/boot-order-twice", &at, message, help);
            }
        } else if let Some(other) = seen.get(&place) {
            let message = format!("{other} has bootOrder {place} too");
            report.error("vm/boot-order-taken", &at, message, "give each device a number of its own");
        } else {
            seen.insert(place, device);
        }
    }
    for (i, name) in order.iter().enumerate() {
        let known = usize::from(spec.disks.contains_key(name)) + usize::from(spec.nics.contains_key(name));
        let (message, help) = if order[..i].contains(name) {
            (format!("{name} is named twice"), "name each device once".to_owned())
        } else if known == 0 {
            let near = nearest(name, spec.disks.keys().chain(spec.nics.keys()));
            (format!("there is no disk and no network card {name}"), near)
        } else if known == 2 {
            (format!("{name} is a disk and a network card"), "use bootOrder on the device itself".to_owned())
        } else {
            continue;
        };
        report.error("vm/boot-order-device", "boot.order", message, help);
    }
}

/// Reports a path that is not absolute or cannot be passed on.
fn absolute(path: &str, at: &str, report: &mut Report<'_>) {
    let up = path.split('/').any(|part| part == "..");
    let odd = path.contains("//") || path.ends_with('/') || path.contains("/./");
    if !path.starts_with('/') || path.len() > 4096 || path.trim() != path || !is_line(path) || up || odd {
        let help = "write the whole path from /, without .. or double slashes";
        report.error("vm/path", at, format!("{path:?} is no absolute path"), help);
    }
}

/// The known name that is most like `name`, as help.
fn nearest<'a>(name: &Name, known: impl Iterator<Item = &'a Name>) -> String {
    let known: Vec<&Name> = known.collect();
    let best = known
        .iter()
        .map(|k| (strsim::jaro_winkler(k.as_str(), name.as_str()), k))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((_, near)) => format!("did you mean {near}?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("there are {}", known.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ")),
    }
}
