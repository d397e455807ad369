//! Network cards: the element of one, and what it says. A card is found by its alias, else by its MAC address.

use super::{Element, alias, apply_boot_order, from_word, give_alias, named, word};
use crate::base::{Name, Rate};
use crate::drivers::guest::Link;
use crate::kinds::vm::{Nic, NicModel};

/// A new card's element.
pub fn element(name: &Name, nic: &Nic, link: Option<&Link>) -> Element<'static> {
    let mut element = Element::new("interface");
    apply(&mut element, nic, link, None);
    give_alias(&mut element, alias("nic", name));
    element
}

/// Makes an element say what spec and link say; `old` is the link it has.
pub fn apply(element: &mut Element<'_>, nic: &Nic, link: Option<&Link>, old: Option<Option<&Link>>) {
    if old != Some(link) {
        apply_link(element, link);
    }
    if let Some(mac) = &nic.mac {
        element.entry("mac").set("address", mac.to_ascii_lowercase());
    }
    element.entry("model").set("type", word(nic.model()));
    let vlan = nic.vlan.map(|id| Element::new("vlan").child(Element::new("tag").with("id", id)));
    if read_vlan(element) != nic.vlan {
        element.replace_all("vlan", vlan);
    }
    element.replace_all("mtu", nic.mtu.map(|mtu| Element::new("mtu").with("size", mtu)));
    if read_rate(element) != nic.rate {
        element.replace_all("bandwidth", nic.rate.map(bandwidth));
    }
    if read_queues(element) != nic.queues() {
        if nic.queues() > 1 {
            element.entry("driver").set("queues", nic.queues());
        } else if let Some(driver) = element.first_mut("driver") {
            driver.unset("queues");
            if driver.attributes.is_empty() && driver.nodes.is_empty() {
                element.remove_all("driver");
            }
        }
    }
    let down = (!nic.link_up()).then(|| Element::new("link").with("state", "down"));
    element.replace_all("link", down);
    apply_boot_order(element, nic.boot_order);
}

fn apply_link(element: &mut Element<'_>, link: Option<&Link>) {
    let source = Element::new("source");
    let (kind, source) = match link {
        Some(Link::Network { name }) => ("network", Some(source.with("network", name))),
        Some(Link::Bridge { bridge }) => ("bridge", Some(source.with("bridge", bridge))),
        None => ("null", None),
    };
    element.set("type", kind);
    element.replace_all("source", source);
}

/// Kilobytes per second, both ways.
pub fn kilobytes(rate: Rate) -> u64 {
    rate.0.div_ceil(8000).max(1)
}

/// The element that holds a card to a rate.
pub fn bandwidth(rate: Rate) -> Element<'static> {
    let way = |name| Element::new(name).with("average", kilobytes(rate));
    Element::new("bandwidth").child(way("inbound")).child(way("outbound"))
}

/// The domain's network cards.
pub fn all<'d, 'a>(domain: &'d Element<'a>) -> impl Iterator<Item = &'d Element<'a>> {
    let devices = domain.first("devices").into_iter();
    devices.flat_map(|d| d.all("interface")).filter(|i| i.get("type") != Some("hostdev"))
}

/// The MAC address of a card, in lower case.
pub fn mac_of(element: &Element<'_>) -> String {
    element.attribute(&["mac"], "address").unwrap_or_default().to_ascii_lowercase()
}

/// What tells a card from the domain's others whatever it is called.
pub fn identity(element: &Element<'_>) -> Option<Name> {
    let digits: String = mac_of(element).chars().filter(char::is_ascii_hexdigit).collect();
    Name::new(&["nic", digits.get(6..)?].join("-")).ok()
}

/// The name of a card, and whether it is one we gave.
pub fn name_of(element: &Element<'_>) -> Option<(Name, bool)> {
    named(element, "nic").map(|name| (name, true)).or_else(|| identity(element).map(|name| (name, false)))
}

/// The card of that name.
pub fn find<'d, 'a>(domain: &'d Element<'a>, name: &Name) -> Option<&'d Element<'a>> {
    all(domain).find(|e| name_of(e).is_some_and(|(n, _)| n == *name))
}

fn read_vlan(element: &Element<'_>) -> Option<u16> {
    element.at(&["vlan", "tag"])?.parse("id")
}

fn read_rate(element: &Element<'_>) -> Option<Rate> {
    let way = |name: &str| element.at(&["bandwidth", name]).and_then(|e| e.parse::<u64>("average"));
    way("inbound").or_else(|| way("outbound")).filter(|n| *n > 0).map(|n| Rate(n.saturating_mul(8000)))
}

fn read_queues(element: &Element<'_>) -> u32 {
    element.first("driver").and_then(|d| d.parse("queues")).unwrap_or(1)
}

/// What a card says.
pub fn read(element: &Element<'_>) -> (Nic, Option<Link>) {
    let source = element.first("source");
    let link = match element.get("type") {
        Some("network") => source.and_then(|s| s.get("network")).map(|name| Link::Network { name: name.to_owned() }),
        Some("bridge") => source.and_then(|s| s.get("bridge")).map(|bridge| Link::Bridge { bridge: bridge.to_owned() }),
        _ => None,
    };
    let nic = Nic {
        network: None,
        model: Some(element.attribute(&["model"], "type").and_then(from_word).unwrap_or(NicModel::Virtio)),
        mac: Some(mac_of(element)).filter(|m| !m.is_empty()),
        vlan: read_vlan(element),
        mtu: element.first("mtu").and_then(|m| m.parse("size")),
        rate: read_rate(element),
        queues: Some(read_queues(element)),
        link_up: Some(element.attribute(&["link"], "state") != Some("down")),
        boot_order: element.first("boot").and_then(|b| b.parse("order")),
    };
    (nic, link)
}
