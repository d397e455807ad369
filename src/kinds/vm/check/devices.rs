//! Devices of the host that are given to the guest.

use std::collections::BTreeMap;

use crate::kinds::Report;
use crate::kinds::vm::spec::{Usb, VmSpec};

pub(super) fn check(spec: &VmSpec, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for (name, usb) in &spec.usb {
        let at = format!("usb.{name}");
        let Usb { vendor, product, bus, device } = &**usb;
        let by_number = vendor.is_some() && product.is_some();
        let by_place = bus.is_some() && device.is_some();
        let mixed = (vendor.is_some() || product.is_some()) && (bus.is_some() || device.is_some());
        if mixed || by_number == by_place {
            let help = "give vendor and product, or bus and device";
            report.error("vm/usb-device", &at, format!("{at} does not say which device it is"), help);
            continue;
        }
        twice(&mut seen, &at, format!("{vendor:?} {product:?} {bus:?} {device:?}"), report);
    }
    let mut seen = BTreeMap::new();
    for (name, pci) in &spec.pci {
        let at = format!("pci.{name}");
        let Some(address) = &pci.address else {
            let help = "give its address, such as 0000:01:00.0; `lspci -D` lists them";
            report.error("vm/pci-device", &at, format!("{at} does not say which device it is"), help);
            continue;
        };
        twice(&mut seen, &at, address.clone(), report);
    }
    super::absolute(&spec.rng().source(), "rng.source", report);
}

/// Reports a device of the host that is given a second time.
fn twice(seen: &mut BTreeMap<String, String>, at: &str, device: String, report: &mut Report<'_>) {
    if let Some(other) = seen.get(&device) {
        report.error("vm/device-twice", at, format!("{at} is the device of {other}"), "give it once");
    } else {
        seen.insert(device, at.to_owned());
    }
}
