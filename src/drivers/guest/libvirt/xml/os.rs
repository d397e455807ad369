//! What the machine is and boots: type, accelerator, firmware, kernel, SMBIOS.

use super::{Element, Host};
use crate::kinds::vm::{Accelerator, Boot, Firmware, FirmwareType, Smbios};

/// Makes the domain's accelerator as the spec says.
pub fn apply_accelerator(domain: &mut Element<'_>, accelerator: Accelerator, host: Host) {
    let kind = match accelerator {
        _ if host.test => "test",
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg | Accelerator::Auto => "qemu",
    };
    domain.set("type", kind);
}

/// The domain's accelerator.
pub fn read_accelerator(domain: &Element<'_>) -> Accelerator {
    match domain.get("type") {
        Some("kvm") => Accelerator::Kvm,
        Some("qemu" | "test") => Accelerator::Tcg,
        _ => Accelerator::Auto,
    }
}

/// Whether the type is of the family with a PCI Express bus.
pub fn is_q35(machine: &str) -> bool {
    machine == "q35" || machine.starts_with("pc-q35")
}

/// Whether `wanted` is what the machine is, or the family it is of.
pub fn same_machine(wanted: &str, is: &str) -> bool {
    wanted == is || (wanted == "q35" && is_q35(is)) || (wanted == "pc" && (is == "pc" || is.starts_with("pc-i440fx")))
}

/// Makes the domain's machine type as the spec says; another family gets new addresses.
pub fn apply_machine(domain: &mut Element<'_>, machine: &str) {
    let kind = domain.entry("os").entry("type");
    let old = kind.get("machine").unwrap_or_default().to_owned();
    if same_machine(machine, &old) {
        return;
    }
    kind.set("machine", machine);
    if !old.is_empty() && is_q35(&old) != is_q35(machine) {
        let devices = domain.entry("devices");
        devices.remove(|e| e.name == "controller" && e.get("type") == Some("pci"));
        for device in devices.children_mut() {
            device.remove_all("address");
        }
    }
}

/// The domain's machine type, as far as libvirt has resolved it.
pub fn read_machine(domain: &Element<'_>) -> String {
    domain.attribute(&["os", "type"], "machine").unwrap_or("pc").to_owned()
}

/// Makes the domain's firmware as the spec says.
pub fn apply_firmware(domain: &mut Element<'_>, firmware: &Firmware) {
    let os = domain.entry("os");
    os.remove(|e| matches!(&*e.name, "firmware" | "loader" | "nvram"));
    os.unset("firmware");
    let secure = firmware.secure_boot();
    if firmware.r#type() == FirmwareType::Uefi {
        match &firmware.loader {
            Some(path) => {
                let mut loader = Element::new("loader").with("readonly", "yes").with("type", "pflash");
                if secure {
                    loader.set("secure", "yes");
                }
                os.push(loader.text_inside(path));
            }
            None => {
                os.set("firmware", "efi");
                let feature = |name: &'static str| {
                    Element::new("feature").with("enabled", if secure { "yes" } else { "no" }).with("name", name)
                };
                os.push(Element::new("firmware").child(feature("enrolled-keys")).child(feature("secure-boot")));
            }
        }
        if let Some(path) = &firmware.nvram {
            os.push(Element::new("nvram").text_inside(path));
        }
    } else if let Some(path) = &firmware.loader {
        os.push(Element::new("loader").with("type", "rom").text_inside(path));
    }
    let features = domain.entry("features");
    features.remove_all("smm");
    if secure && firmware.r#type() == FirmwareType::Uefi {
        // Only the system management mode may write the variables.
        features.push(Element::new("smm").with("state", "on"));
    }
}

/// The domain's firmware. A loader that libvirt chose by itself is not told, so that it may choose another.
pub fn read_firmware(domain: &Element<'_>) -> Firmware {
    let Some(os) = domain.first("os") else { return Firmware::default() };
    let loader = os.first("loader");
    let chosen = os.get("firmware") == Some("efi");
    let uefi = chosen || loader.is_some_and(|l| l.get("type") == Some("pflash"));
    let asked = os.first("firmware").is_some_and(|f| {
        f.all("feature").any(|f| f.get("name") == Some("secure-boot") && f.get("enabled") == Some("yes"))
    });
    let secure = asked || loader.is_some_and(|l| l.get("secure") == Some("yes"));
    let path = |e: &Element<'_>| Some(e.text().trim().to_owned()).filter(|p| !p.is_empty());
    Firmware {
        r#type: Some(if uefi { FirmwareType::Uefi } else { FirmwareType::Bios }),
        secure_boot: Some(uefi && secure),
        nvram: os.first("nvram").and_then(path),
        loader: if chosen { None } else { loader.and_then(path) },
    }
}

/// Makes what is booted directly as the spec says; the order of devices is with the devices.
pub fn apply_boot(domain: &mut Element<'_>, boot: &Boot) {
    let os = domain.entry("os");
    for (name, value) in [("kernel", &boot.kernel), ("initrd", &boot.initrd), ("cmdline", &boot.cmdline)] {
        os.replace_all(name, value.iter().map(|v| Element::new(name).text_inside(v)));
    }
}

/// What the domain boots directly.
pub fn read_boot(domain: &Element<'_>) -> Boot {
    let text = |name: &str| domain.text_at(&["os", name]).map(|t| t.into_owned()).filter(|t| !t.is_empty());
    Boot { order: Vec::new(), kernel: text("kernel"), initrd: text("initrd"), cmdline: text("cmdline") }
}

/// Makes what the firmware tells of the machine as the spec says.
pub fn apply_smbios(domain: &mut Element<'_>, smbios: Option<&Smbios>) {
    let os = domain.entry("os");
    os.remove_all("smbios");
    if smbios.is_some() {
        os.push(Element::new("smbios").with("mode", "sysinfo"));
    }
    let Some(Smbios { manufacturer, product, version, serial, sku, family }) = smbios else {
        domain.remove(|e| e.name == "sysinfo" && e.get("type") == Some("smbios"));
        return;
    };
    if !domain.all("sysinfo").any(|e| e.get("type") == Some("smbios")) {
        domain.push(Element::new("sysinfo").with("type", "smbios"));
    }
    let Some(sysinfo) = domain.children_mut().find(|e| e.name == "sysinfo" && e.get("type") == Some("smbios")) else {
        return;
    };
    let system = sysinfo.entry("system");
    let fields = [
        ("manufacturer", manufacturer),
        ("product", product),
        ("version", version),
        ("serial", serial),
        ("sku", sku),
        ("family", family),
    ];
    for (name, value) in fields {
        system.remove(|e| e.name == "entry" && e.get("name") == Some(name));
        if let Some(value) = value {
            system.push(Element::new("entry").with("name", name).text_inside(value));
        }
    }
}

/// What the firmware tells of the domain.
pub fn read_smbios(domain: &Element<'_>) -> Option<Smbios> {
    if domain.attribute(&["os", "smbios"], "mode") != Some("sysinfo") {
        return None;
    }
    let system = domain.all("sysinfo").find(|e| e.get("type") == Some("smbios")).and_then(|e| e.first("system"));
    let entry = |name: &str| {
        let entry = system?.all("entry").find(|e| e.get("name") == Some(name))?;
        Some(entry.text().into_owned()).filter(|t| !t.is_empty())
    };
    Some(Smbios {
        manufacturer: entry("manufacturer"),
        product: entry("product"),
        version: entry("version"),
        serial: entry("serial"),
        sku: entry("sku"),
        family: entry("family"),
    })
}
