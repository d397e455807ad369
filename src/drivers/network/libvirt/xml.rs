//! A network between its spec and libvirt's XML, both ways.
//!
//! Only what a spec can say is written and read. Writing starts from the XML that is there: the rest of it, such as the
//! bridge's MAC address or what a person added, stays as it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use uuid::Uuid;

use crate::base::{Fault, Name, Seconds};
use crate::drivers::guest::libvirt::xml::Element;
use crate::kinds::network::{Dhcp, Dns, Host, NetworkSpec, NetworkType};

/// What the XML of a network says.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its bridge, where it has one.
    pub bridge: Option<String>,
    /// Its spec in canonical form, or why there is none.
    pub spec: Result<NetworkSpec, String>,
}

/// Reads a network's XML.
pub fn read(name: &Name, xml: &str) -> Result<Described, Fault> {
    let tree = Element::read(xml)?;
    let uuid = tree.text_at(&["uuid"]).and_then(|u| u.parse().ok());
    let uuid = uuid.ok_or_else(|| Fault::other(format!("libvirt gives the network {name} no UUID")))?;
    let bridge = tree.attribute(&["bridge"], "name").map(str::to_owned);
    Ok(Described { uuid, bridge, spec: spec(&tree).map(|s| s.canonical(name)) })
}

fn spec(tree: &Element<'_>) -> Result<NetworkSpec, String> {
    let mode = tree.first("forward").map(|f| f.get("mode").unwrap_or("nat"));
    let kind = match mode {
        None => NetworkType::Isolated,
        Some("nat") => NetworkType::Nat,
        Some("route") => NetworkType::Routed,
        Some(other) => return Err(format!("its forward mode is {other:?}, which no manifest can say")),
    };
    let text = |path: &[&str], name: &str| tree.attribute(path, name).map(str::to_owned);
    let mut spec = NetworkSpec {
        bridge: text(&["bridge"], "name"),
        mtu: tree.first("mtu").and_then(|m| m.parse("size")),
        domain: text(&["domain"], "name"),
        device: text(&["forward"], "dev"),
        dns: Some(tree.first("dns").map(dns).unwrap_or_default()),
        ..NetworkSpec::of(kind)
    };
    for ip in tree.all("ip") {
        match address(ip) {
            Some(IpNet::V4(net)) if spec.cidr.is_none() => {
                spec.cidr = Some(net.to_string());
                spec.dhcp = ip.first("dhcp").map(dhcp);
            }
            Some(IpNet::V6(net)) if spec.cidr6.is_none() => spec.cidr6 = Some(net.to_string()),
            Some(_) => return Err("it has more than one address of a family, which no manifest can say".into()),
            None => return Err("it has an address that cannot be read".into()),
        }
    }
    Ok(spec)
}

fn address(ip: &Element<'_>) -> Option<IpNet> {
    let address: IpAddr = ip.parse("address")?;
    let prefix = match (ip.parse::<u8>("prefix"), ip.parse::<Ipv4Addr>("netmask"), address) {
        (Some(prefix), _, _) => prefix,
        (None, Some(mask), _) => ipnet::ip_mask_to_prefix(mask.into()).ok()?,
        // What libvirt takes for an address without either: the class it was in once.
        (None, None, IpAddr::V4(v4)) => match v4.octets()[0] {
            0..=127 => 8,
            128..=191 => 16,
            _ => 24,
        },
        (None, None, IpAddr::V6(_)) => 64,
    };
    IpNet::new(address, prefix).ok()
}

fn dhcp(tree: &Element<'_>) -> Dhcp {
    let range = tree.first("range");
    let bounds = range.and_then(|r| Some(vec![r.get("start")?.to_owned(), r.get("end")?.to_owned()]));
    let hosts = tree.all("host").filter_map(|host| {
        let (mac, address) = (host.get("mac")?.to_owned(), host.get("ip")?.to_owned());
        Some((host_name(host.get("name"), &mac)?, Host { mac, address }))
    });
    Dhcp { range: bounds, lease: lease(range), hosts: Some(hosts.collect()) }
}

/// The name of a host; one without a fitting name goes by its MAC address.
fn host_name(name: Option<&str>, mac: &str) -> Option<Name> {
    name.and_then(|n| Name::new(n).ok()).or_else(|| Name::new(&mac.to_ascii_lowercase().replace(':', "-")).ok())
}

fn lease(range: Option<&Element<'_>>) -> Option<Seconds> {
    let lease = range?.first("lease")?;
    let factor = match lease.get("unit") {
        Some("seconds") => 1,
        Some("hours") => 3600,
        _ => 60,
    };
    Some(Seconds(lease.parse::<u64>("expiry")? * factor))
}

fn dns(tree: &Element<'_>) -> Dns {
    let names = |host: &Element<'_>| -> Vec<(Name, String)> {
        let address = host.get("ip").unwrap_or_default().to_owned();
        host.all("hostname").filter_map(|n| Some((Name::new(&n.text()).ok()?, address.clone()))).collect()
    };
    let hosts = tree.all("host").flat_map(names);
    Dns {
        enabled: Some(tree.get("enable") != Some("no")),
        forwarders: Some(tree.all("forwarder").filter_map(|f| f.get("addr").map(str::to_owned)).collect()),
        hosts: Some(hosts.collect()),
    }
}

/// The XML of a network with this spec, on the ground of the XML it has.
pub fn write(name: &Name, uuid: Uuid, spec: &NetworkSpec, old: Option<&str>) -> Result<String, Fault> {
    let mut tree = match old {
        Some(xml) => Element::read(xml)?.into_owned(),
        None => Element::new("network")
            .child(text("name", name.as_str()))
            .child(text("uuid", &uuid.hyphenated().to_string())),
    };
    tree.unset("connections");
    let bridge = spec.bridge.clone().unwrap_or_default();
    tree.replace_all("forward", forward(spec));
    tree.entry("bridge").set("name", bridge);
    tree.entry("bridge").set("stp", "off");
    tree.entry("bridge").set("delay", 0);
    tree.replace_all("mtu", spec.mtu.map(|mtu| Element::new("mtu").with("size", mtu)));
    tree.replace_all(
        "domain",
        spec.domain.as_ref().map(|d| Element::new("domain").with("name", d).with("localOnly", "yes")),
    );
    tree.replace_all("dns", spec.dns.as_ref().and_then(dns_element));
    tree.replace_all("ip", addresses(spec)?);
    Ok(tree.write()?)
}

fn text(name: &'static str, text: &str) -> Element<'static> {
    Element::new(name).text_inside(text)
}

fn forward(spec: &NetworkSpec) -> Option<Element<'static>> {
    let mode = match spec.kind {
        NetworkType::Nat => "nat",
        NetworkType::Routed => "route",
        NetworkType::Isolated | NetworkType::Bridge => return None,
    };
    let forward = Element::new("forward").with("mode", mode);
    Some(match &spec.device {
        Some(device) => forward.with("dev", device),
        None => forward,
    })
}

fn dns_element(dns: &Dns) -> Option<Element<'static>> {
    let Dns { enabled, forwarders, hosts } = dns;
    let mut element = Element::new("dns");
    if *enabled == Some(false) {
        element.set("enable", "no");
    }
    for address in forwarders.iter().flatten() {
        element.push(Element::new("forwarder").with("addr", address));
    }
    for host in dns_hosts(hosts.as_ref()) {
        element.push(host);
    }
    (element != Element::new("dns")).then_some(element)
}

fn addresses(spec: &NetworkSpec) -> Result<Vec<Element<'static>>, Fault> {
    let mut found = Vec::new();
    if let Some(cidr) = &spec.cidr {
        let net: Ipv4Net = cidr.parse().map_err(|_| Fault::other(format!("{cidr:?} is no IPv4 network")))?;
        let mut ip = Element::new("ip").with("address", net.addr()).with("netmask", net.netmask());
        if let Some(dhcp) = &spec.dhcp {
            let hosts = dhcp.hosts.iter().flatten().map(|(name, host)| dhcp_host(name, host));
            ip.push(Element::new("dhcp").children_from(dhcp_range(dhcp)).children_from(hosts));
        }
        found.push(ip);
    }
    if let Some(cidr) = &spec.cidr6 {
        let net: Ipv6Net = cidr.parse().map_err(|_| Fault::other(format!("{cidr:?} is no IPv6 network")))?;
        let ip = Element::new("ip").with("family", "ipv6");
        found.push(ip.with("address", net.addr()).with("prefix", net.prefix_len()));
    }
    Ok(found)
}

/// The element that gives guests a range of addresses.
pub fn dhcp_range(dhcp: &Dhcp) -> Option<Element<'static>> {
    let [start, end] = dhcp.range.as_deref()? else { return None };
    let lease = dhcp.lease.unwrap_or(NetworkSpec::LEASE);
    let lease = Element::new("lease").with("expiry", lease.0).with("unit", "seconds");
    Some(Element::new("range").with("start", start).with("end", end).child(lease))
}

/// The element that gives one guest its address.
pub fn dhcp_host(name: &Name, host: &Host) -> Element<'static> {
    Element::new("host").with("mac", &host.mac).with("name", name).with("ip", &host.address)
}

/// The elements that make names known: one an address, with all its names, since libvirt takes no second.
pub fn dns_hosts(hosts: Option<&BTreeMap<Name, String>>) -> Vec<Element<'static>> {
    let mut by_address: BTreeMap<&str, Vec<&Name>> = BTreeMap::new();
    for (name, address) in hosts.into_iter().flatten() {
        by_address.entry(address).or_default().push(name);
    }
    let element = |(address, names): (&str, Vec<&Name>)| {
        let names = names.into_iter().map(|n| text("hostname", n.as_str()));
        Element::new("host").with("ip", address).children_from(names)
    };
    by_address.into_iter().map(element).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name() -> Name {
        "lan".parse().unwrap()
    }

    fn canonical(spec: serde_json::Value) -> NetworkSpec {
        serde_json::from_value::<NetworkSpec>(spec).unwrap().canonical(&name())
    }

    #[test]
    fn every_spec_comes_back_as_it_went_in() {
        for spec in [
            json!({"type": "nat", "cidr": "10.40.0.1/24"}),
            json!({"type": "nat", "cidr": "10.40.0.1/24", "cidr6": "fd00:0040::1/64", "mtu": 9000, "device": "eth0",
                "domain": "Lan.Example.ORG",
                "dhcp": {"range": ["10.40.0.100", "10.40.0.200"], "lease": "90m",
                    "hosts": {"web": {"mac": "52:54:00:AA:00:01", "address": "10.40.0.10"}}},
                "dns": {"forwarders": ["192.0.2.1", "2001:db8:0::1"], "hosts": {"gate": "10.40.0.1", "door": "10.40.0.1"}}}),
            json!({"type": "routed", "cidr": "10.40.0.1/24", "dns": {"enabled": false}}),
            json!({"type": "isolated", "bridge": "lab0"}),
        ] {
            let spec = canonical(spec);
            let uuid = Uuid::new_v4();
            let xml = write(&name(), uuid, &spec, None).unwrap();
            let back = read(&name(), &xml).unwrap();
            assert_eq!(back.uuid, uuid);
            assert_eq!(back.spec.as_ref(), Ok(&spec), "{xml}");
            assert_eq!(back.bridge, spec.bridge);
        }
    }

    #[test]
    fn what_reeve_does_not_manage_stays() {
        let old = "<network connections='2'><name>lan</name><uuid>e84623de-d153-495c-b988-c5fc0fd75677</uuid>
            <bridge name='x' stp='on' delay='5'/><mac address='52:54:00:00:00:01'/>
            <ip address='10.0.0.1' prefix='8'/><portgroup name='p'/></network>";
        let spec = canonical(json!({"type": "nat", "cidr": "10.40.0.1/24"}));
        let xml = write(&name(), Uuid::nil(), &spec, Some(old)).unwrap();
        assert!(xml.contains("52:54:00:00:00:01") && xml.contains("portgroup"), "{xml}");
        assert!(!xml.contains("connections") && !xml.contains("10.0.0.1"), "{xml}");
        assert_eq!(read(&name(), &xml).unwrap().spec, Ok(spec));
    }

    #[test]
    fn what_no_manifest_can_say_is_said() {
        let read = |inside: &str| {
            let uuid = "<uuid>e84623de-d153-495c-b988-c5fc0fd75677</uuid>";
            read(&name(), &format!("<network>{uuid}{inside}</network>")).unwrap().spec.unwrap_err()
        };
        assert!(read("<forward mode='bridge'/><bridge name='br0'/>").contains("forward mode is \"bridge\""));
        assert!(read("<ip address='10.0.0.1'/><ip address='10.1.0.1'/>").contains("more than one address"));
    }
}
