//! Devices of the host given to the guest: USB by number or by place, PCI by address.

use super::{Element, alias, give_alias, named};
use crate::base::Name;
use crate::kinds::vm::{Pci, Usb};

/// A USB device's element.
pub fn usb_element(name: &Name, usb: &Usb) -> Element<'static> {
    let number = |digits: &str| ["0x", digits].concat();
    let mut source = Element::new("source");
    if let (Some(vendor), Some(product)) = (&usb.vendor, &usb.product) {
        source.push(Element::new("vendor").with("id", number(vendor)));
        source.push(Element::new("product").with("id", number(product)));
    }
    if let (Some(bus), Some(device)) = (usb.bus, usb.device) {
        source.push(Element::new("address").with("bus", bus).with("device", device));
    }
    let mut element = hostdev("usb").child(source);
    give_alias(&mut element, alias("usb", name));
    element
}

/// A PCI device's element; without an address there is none.
pub fn pci_element(name: &Name, pci: &Pci) -> Option<Element<'static>> {
    let address = address(pci.address.as_deref()?)?;
    let mut element = hostdev("pci").child(Element::new("source").child(address));
    if !pci.rom_bar() {
        element.push(Element::new("rom").with("bar", "off"));
    }
    give_alias(&mut element, alias("pci", name));
    Some(element)
}

fn hostdev(kind: &'static str) -> Element<'static> {
    Element::new("hostdev").with("mode", "subsystem").with("type", kind).with("managed", "yes")
}

/// `0000:01:00.0` as an element.
fn address(text: &str) -> Option<Element<'static>> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (slot, function) = rest.split_once('.')?;
    let mut element = Element::new("address");
    for (name, part) in [("domain", domain), ("bus", bus), ("slot", slot), ("function", function)] {
        let number = u32::from_str_radix(part, 16).ok()?;
        element = element.with(name, format!("{number:#x}"));
    }
    Some(element)
}

fn hex(element: &Element<'_>, name: &str) -> Option<u32> {
    let text = element.get(name)?;
    text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
}

/// The domain's devices of that sort, `usb` or `pci`.
pub fn all<'d, 'a>(domain: &'d Element<'a>, sort: &'d str) -> impl Iterator<Item = &'d Element<'a>> {
    let devices = domain.first("devices").into_iter();
    devices
        .flat_map(|d| d.all("hostdev"))
        .filter(move |h| h.get("type") == Some(sort) && h.get("mode") == Some("subsystem"))
}

/// What tells a device from the domain's others whatever it is called.
pub fn identity(element: &Element<'_>, sort: &str) -> Option<Name> {
    let place = if sort == "usb" {
        let usb = read_usb(element);
        match (usb.vendor, usb.product, usb.bus, usb.device) {
            (Some(vendor), Some(product), ..) => [vendor, product].join("-"),
            (_, _, Some(bus), Some(device)) => format!("{bus}-{device}"),
            _ => return None,
        }
    } else {
        read_pci(element).address?.replace([':', '.'], "-")
    };
    Name::new(&[sort, &place].join("-")).ok()
}

/// The name of a device, and whether it is one we gave.
pub fn name_of(element: &Element<'_>, sort: &str) -> Option<(Name, bool)> {
    named(element, sort).map(|name| (name, true)).or_else(|| identity(element, sort).map(|name| (name, false)))
}

/// The device of that sort and name.
pub fn find<'d, 'a>(domain: &'d Element<'a>, sort: &'d str, name: &Name) -> Option<&'d Element<'a>> {
    all(domain, sort).find(|e| name_of(e, sort).is_some_and(|(n, _)| n == *name))
}

/// What a USB device's element says.
pub fn read_usb(element: &Element<'_>) -> Usb {
    let source = element.first("source");
    let number = |name: &str| source?.first(name).and_then(|e| hex(e, "id")).map(|n| format!("{n:04x}"));
    let (vendor, product) = (number("vendor"), number("product"));
    // A running guest is also told where the device was found.
    let place = source.and_then(|s| s.first("address")).filter(|_| vendor.is_none());
    Usb { vendor, product, bus: place.and_then(|a| a.parse("bus")), device: place.and_then(|a| a.parse("device")) }
}

/// What a PCI device's element says.
pub fn read_pci(element: &Element<'_>) -> Pci {
    let part = |name: &str| element.at(&["source", "address"]).and_then(|a| hex(a, name));
    let address = match (part("domain"), part("bus"), part("slot"), part("function")) {
        (domain, Some(bus), Some(slot), function) => {
            let (domain, function) = (domain.unwrap_or(0), function.unwrap_or(0));
            Some(format!("{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"))
        }
        _ => None,
    };
    Pci { address, rom_bar: Some(element.attribute(&["rom"], "bar") != Some("off")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_the_host_are_read_as_they_were_written() {
        let name = Name::new("key").unwrap();
        let by_number = Usb { vendor: Some("046d".into()), product: Some("c52b".into()), ..Usb::default() };
        let by_place = Usb { bus: Some(1), device: Some(12), ..Usb::default() };
        for usb in [by_number, by_place] {
            let element = usb_element(&name, &usb);
            assert_eq!(read_usb(&element), usb);
            assert_eq!(name_of(&element, "usb"), Some((name.clone(), true)));
        }
        let pci = Pci { address: Some("0000:0a:1f.7".into()), rom_bar: Some(false) };
        assert_eq!(read_pci(&pci_element(&name, &pci).unwrap()), pci);
    }

    #[test]
    fn devices_without_a_name_get_one_from_where_they_are() {
        let mut element =
            pci_element(&Name::new("x").unwrap(), &Pci { address: Some("0000:01:00.0".into()), rom_bar: None })
                .unwrap();
        element.remove_all("alias");
        assert_eq!(name_of(&element, "pci").unwrap().0.as_str(), "pci-0000-01-00-0");
    }
}
