//! Rules within one Network manifest, and between networks.

use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::clash::{Clash, Clashes, Shared};
use super::{Dhcp, Dns, NetworkSpec, NetworkType};
use crate::base::Name;
use crate::kinds::{KindName, Report, Scope};

/// Finds everything wrong with one spec, alone and among the others.
pub fn check(name: &Name, spec: &NetworkSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    check_fields(spec, report);
    for (path, interface) in [("bridge", &spec.bridge), ("device", &spec.device)] {
        if let Some(interface) = interface {
            check_interface(path, interface, report);
        }
    }
    for (index, port) in spec.ports.iter().flatten().enumerate() {
        check_interface(&format!("ports.{index}"), port, report);
    }
    let v4 = spec.cidr.as_deref().and_then(|c| check_v4(c, report));
    if let Some(cidr) = &spec.cidr6 {
        check_v6(cidr, report);
    }
    if let Some(dhcp) = &spec.dhcp {
        check_dhcp(dhcp, v4, report);
    }
    check_dns(spec, report);
    check_others(name, scope, report);
}

/// Which fields a type needs, and which it has not.
fn check_fields(spec: &NetworkSpec, report: &mut Report<'_>) {
    let word = spec.kind.word();
    let (host, made) = (spec.kind == NetworkType::Bridge && !spec.made(), spec.by_libvirt());
    let outward = matches!(spec.kind, NetworkType::Nat | NetworkType::Routed);
    let given: [(&str, bool, bool); 9] = [
        ("create", spec.create.is_some(), !made),
        ("ports", spec.ports.is_some(), !made && !host),
        ("cidr", spec.cidr.is_some(), !host),
        ("cidr6", spec.cidr6.is_some(), !host),
        ("mtu", spec.mtu.is_some(), !host),
        ("dhcp", spec.dhcp.is_some(), made),
        ("dns", spec.dns.is_some(), made),
        ("domain", spec.domain.is_some(), made),
        ("device", spec.device.is_some(), outward),
    ];
    for (path, _, _) in given.iter().filter(|(_, is, may)| *is && !may) {
        let what =
            if host { "a bridge of the host, which Reeve never touches,".to_owned() } else { format!("type {word}") };
        let help = if host {
            format!("leave {path} out, or let Reeve make the bridge with create: true")
        } else {
            format!("leave {path} out")
        };
        report.error("network/field", path, format!("{what} has no {path}"), help);
    }
    if outward && spec.cidr.is_none() && spec.cidr6.is_none() {
        report.error(
            "network/cidr-missing",
            "",
            format!("a network of type {word} needs the host's address in it"),
            "add cidr, such as 10.40.0.1/24",
        );
    }
    if !made && spec.bridge.is_none() {
        report.error(
            "network/bridge-missing",
            "",
            "a network of type bridge needs a bridge",
            "add bridge, such as br0",
        );
    }
}

fn check_interface(path: &str, name: &str, report: &mut Report<'_>) {
    let sign = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits = (1..=super::bridge::INTERFACE_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(sign);
    if !fits {
        report.error(
            "network/interface",
            path,
            format!("{:?} cannot be the name of an interface", name.chars().take(40).collect::<String>()),
            "use 1 to 15 letters, digits, '-', '_' and '.', starting with a letter or digit",
        );
    }
}

fn check_v4(text: &str, report: &mut Report<'_>) -> Option<Ipv4Net> {
    let Ok(net) = text.parse::<Ipv4Net>() else {
        cidr_error("cidr", text, "is no IPv4 address with a prefix length", "10.40.0.1/24", report);
        return None;
    };
    if !(8..=30).contains(&net.prefix_len()) {
        cidr_error("cidr", text, "leaves no room for guests, or is larger than any network", "10.40.0.1/24", report);
    } else if net.addr() == net.network() || net.addr() == net.broadcast() {
        let first = net.hosts().next().map_or_else(String::new, |a| format!("{a}/{}", net.prefix_len()));
        cidr_error("cidr", text, "is the network itself or its broadcast address, not a host's", &first, report);
    } else if net.addr().is_loopback() || net.addr().is_multicast() || net.addr().is_link_local() {
        cidr_error("cidr", text, "is an address that networks cannot have", "10.40.0.1/24", report);
    } else {
        return Some(net);
    }
    None
}

fn check_v6(text: &str, report: &mut Report<'_>) {
    match text.parse::<Ipv6Net>() {
        Err(_) => cidr_error("cidr6", text, "is no IPv6 address with a prefix length", "fd00:40::1/64", report),
        Ok(net) if net.prefix_len() > 126 || net.prefix_len() < 16 || net.addr() == net.network() => {
            cidr_error(
                "cidr6",
                text,
                "is not a host's address in a network with room for guests",
                "fd00:40::1/64",
                report,
            );
        }
        Ok(_) => {}
    }
}

fn cidr_error(path: &str, text: &str, why: &str, example: &str, report: &mut Report<'_>) {
    let shown: String = text.chars().take(60).collect();
    report.error(
        "network/cidr",
        path,
        format!("{shown:?} {why}"),
        format!("write the host's own address in the network, such as {example}"),
    );
}

fn check_dhcp(dhcp: &Dhcp, net: Option<Ipv4Net>, report: &mut Report<'_>) {
    let Dhcp { range, lease, hosts } = dhcp;
    if range.is_none() && hosts.as_ref().is_none_or(|h| h.is_empty()) {
        report.error("network/dhcp", "dhcp", "dhcp gives no addresses", "add range: [FIRST, LAST], or leave dhcp out");
    }
    if let Some(range) = range {
        check_range(range, net, report);
    }
    if lease.is_some_and(|l| l.0 < 120 || l.0 > u64::from(u32::MAX)) {
        report.error("network/dhcp", "dhcp.lease", "addresses are given for at least 2m", "write 2m or more");
    }
    let mut macs: Vec<(String, &Name)> = Vec::new();
    let mut addresses: Vec<(&str, &Name)> = Vec::new();
    for (name, host) in hosts.iter().flatten() {
        let path = |field: &str| format!("dhcp.hosts.{name}.{field}");
        if !is_mac(&host.mac) {
            let message = format!("{:?} is no MAC address of one interface", host.mac);
            report.error(
                "network/mac",
                &path("mac"),
                message,
                "write six pairs of hexadecimal digits: 52:54:00:12:34:56",
            );
        }
        inside(&path("address"), &host.address, net, report);
        let mac = host.mac.to_ascii_lowercase();
        twice(&path("mac"), &mac, name, macs.iter().find(|(m, _)| *m == mac).map(|(_, n)| *n), report);
        let address = host.address.as_str();
        let before = addresses.iter().find(|(a, _)| *a == address).map(|(_, n)| *n);
        twice(&path("address"), address, name, before, report);
        macs.push((mac, name));
        addresses.push((address, name));
    }
}

fn twice(path: &str, value: &str, name: &Name, before: Option<&Name>, report: &mut Report<'_>) {
    if let Some(before) = before {
        let message = format!("{value} is given to {before} and to {name}");
        report.error("network/twice", path, message, "give each host its own");
    }
}

fn check_range(range: &[String], net: Option<Ipv4Net>, report: &mut Report<'_>) {
    let [first, last] = range else {
        report.error(
            "network/dhcp-range",
            "dhcp.range",
            format!("a range has a first and a last address; here are {}", range.len()),
            "write range: [FIRST, LAST]",
        );
        return;
    };
    let ends = (inside("dhcp.range.0", first, net, report), inside("dhcp.range.1", last, net, report));
    let (Some(first), Some(last)) = ends else { return };
    if first > last {
        let message = format!("the range ends at {last}, before it begins at {first}");
        report.error("network/dhcp-range", "dhcp.range", message, "write the lower address first");
    } else if net.is_some_and(|n| (first..=last).contains(&IpAddr::V4(n.addr()))) {
        let message = "the range holds the host's own address";
        report.error("network/dhcp-range", "dhcp.range", message, "begin the range after the address in cidr");
    }
}

/// An address that must be one of a guest in the network.
fn inside(path: &str, text: &str, net: Option<Ipv4Net>, report: &mut Report<'_>) -> Option<IpAddr> {
    let mut wrong = |why: String| {
        report.error("network/address", path, why, "write an IPv4 address inside cidr, such as 10.40.0.100");
    };
    let Ok(address) = text.parse::<std::net::Ipv4Addr>() else {
        wrong(format!("{:?} is no IPv4 address", text.chars().take(60).collect::<String>()));
        return None;
    };
    match net {
        Some(net) if !net.contains(&address) => wrong(format!("{address} is outside {}", net.trunc())),
        Some(net) if address == net.network() || address == net.broadcast() => {
            wrong(format!("{address} is the network itself or its broadcast address"));
        }
        _ => return Some(address.into()),
    }
    None
}

fn is_mac(text: &str) -> bool {
    let bytes: Vec<u8> =
        text.split(':').filter(|p| p.len() == 2).filter_map(|p| u8::from_str_radix(p, 16).ok()).collect();
    text.split(':').count() == 6 && bytes.len() == 6 && bytes[0] & 1 == 0 && text.bytes().all(|b| b != b'+')
}

fn check_dns(spec: &NetworkSpec, report: &mut Report<'_>) {
    let is_label = |l: &str| crate::base::id::is_name(&l.to_ascii_lowercase());
    if let Some(domain) = &spec.domain
        && (domain.len() > 253 || !domain.split('.').all(is_label))
    {
        let message = format!("{domain:?} is no domain name");
        report.error(
            "network/domain",
            "domain",
            message,
            "write labels with dots between them, such as lan.example.org",
        );
    }
    let Some(Dns { enabled, forwarders, hosts }) = &spec.dns else { return };
    let addresses = forwarders.iter().flatten().enumerate().map(|(i, a)| (format!("dns.forwarders.{i}"), a));
    let names = hosts.iter().flatten().map(|(name, a)| (format!("dns.hosts.{name}"), a));
    for (path, address) in addresses.chain(names) {
        if address.parse::<IpAddr>().is_err() {
            report.error("network/address", &path, format!("{address:?} is no IP address"), "write an IP address");
        }
    }
    let used = forwarders.as_ref().is_some_and(|f| !f.is_empty()) || hosts.as_ref().is_some_and(|h| !h.is_empty());
    if *enabled == Some(false) && used {
        let message = "dns is off, and yet has forwarders or hosts";
        report.error("network/dns", "dns", message, "leave enabled out, or the rest");
    }
    if used && spec.cidr.is_none() && spec.cidr6.is_none() {
        report.error(
            "network/dns",
            "dns",
            "a network without an address has no DNS server",
            "add cidr, or leave dns out",
        );
    }
}

/// What two networks of one host cannot share: a bridge, and addresses.
fn check_others(name: &Name, scope: &Scope<'_>, report: &mut Report<'_>) {
    let clashes = scope.catalog().view(Clashes::find);
    for Clash { with, shared } in clashes.of(name) {
        let related = |path: &str| scope.place(KindName::Network, with, &format!("spec.{path}"));
        match shared {
            Shared::Addresses { ours, theirs } => {
                let message = format!("{ours} overlaps with {theirs} of network/{with}");
                let path = if ours.addr().is_ipv4() { "cidr" } else { "cidr6" };
                let diagnostic = crate::base::Diagnostic::error("network/overlap", message)
                    .at(report.place(path))
                    .help("give each network addresses of its own");
                report.push(diagnostic.related(related(path), "the other network"));
            }
            Shared::Bridge(bridge) => {
                let message = format!("the bridge {bridge} is that of network/{with} already");
                let diagnostic = crate::base::Diagnostic::error("network/bridge-twice", message)
                    .at(report.place("bridge"))
                    .help("give each network a bridge of its own, or make one of them type bridge without create");
                report.push(diagnostic.related(related("bridge"), "the other network"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::{Catalog, Metadata, Places, Resource};

    fn codes(networks: &[(&str, Value)]) -> Vec<(&'static str, String)> {
        let mut catalog = Catalog::default();
        for (name, spec) in networks {
            let spec = KindName::Network.spec(spec.clone()).unwrap();
            let meta = Metadata::named(name.parse().unwrap());
            catalog.insert(Arc::new(Resource { meta, spec, places: Places::default() }));
        }
        let mut found = Vec::new();
        for resource in catalog.iter() {
            let mut report = Report::new(&|_| None, &mut found);
            resource.spec.check(resource.name(), &Scope::of(&catalog), &mut report);
        }
        found.into_iter().map(|d| (d.code, d.message)).collect()
    }

    fn only(spec: Value) -> &'static str {
        let found = codes(&[("lan", spec)]);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].0
    }

    #[test]
    fn good_networks_pass() {
        for spec in [
            json!({"type": "nat", "cidr": "10.40.0.1/24", "dhcp": {"range": ["10.40.0.100", "10.40.0.200"]}}),
            json!({"type": "bridge", "bridge": "br0"}),
            json!({"type": "bridge", "bridge": "br0", "create": true, "ports": ["eth1"], "cidr": "10.0.0.1/8"}),
            json!({"type": "isolated"}),
            json!({"type": "routed", "cidr6": "fd00::1/64", "device": "eth0", "domain": "Lan.Example"}),
        ] {
            assert_eq!(codes(&[("lan", spec.clone())]), [], "{spec}");
        }
    }

    #[test]
    fn every_rule_has_its_code() {
        let nat = |more: Value| {
            let mut spec = json!({"type": "nat", "cidr": "10.40.0.1/24"});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            only(spec)
        };
        assert_eq!(only(json!({"type": "nat"})), "network/cidr-missing");
        assert_eq!(only(json!({"type": "bridge"})), "network/bridge-missing");
        assert_eq!(only(json!({"type": "bridge", "bridge": "br0", "cidr": "10.0.0.1/24"})), "network/field");
        assert_eq!(only(json!({"type": "isolated", "device": "eth0"})), "network/field");
        assert_eq!(nat(json!({"ports": ["eth1"]})), "network/field");
        assert_eq!(nat(json!({"bridge": "this-is-far-too-long"})), "network/interface");
        assert_eq!(nat(json!({"bridge": "-x"})), "network/interface");
        assert_eq!(nat(json!({"bridge": "../x"})), "network/interface");
        for bad in ["10.40.0.0/24", "10.40.0.255/24", "10.40.0.1", "10.40.0.1/31", "10.400.0.1/24", "127.0.0.1/24", "x"]
        {
            assert_eq!(nat(json!({ "cidr": bad })), "network/cidr", "{bad}");
        }
        assert_eq!(nat(json!({"cidr6": "10.0.0.1/24"})), "network/cidr");
        let dhcp = |dhcp: Value| nat(json!({ "dhcp": dhcp }));
        assert_eq!(dhcp(json!({})), "network/dhcp");
        assert_eq!(dhcp(json!({"range": ["10.40.0.100"]})), "network/dhcp-range");
        assert_eq!(dhcp(json!({"range": ["10.40.0.200", "10.40.0.100"]})), "network/dhcp-range");
        assert_eq!(dhcp(json!({"range": ["10.40.0.1", "10.40.0.100"]})), "network/dhcp-range");
        assert_eq!(dhcp(json!({"range": ["10.40.0.100", "10.40.1.100"]})), "network/address");
        assert_eq!(dhcp(json!({"range": ["10.40.0.100", "10.40.0.255"]})), "network/address");
        assert_eq!(dhcp(json!({"range": ["10.40.0.100", "10.40.0.110"], "lease": "1s"})), "network/dhcp");
        let host = |mac: &str, address: &str| json!({"mac": mac, "address": address});
        let good = host("52:54:00:00:00:01", "10.40.0.9");
        assert_eq!(dhcp(json!({"hosts": {"a": host("52:54:00:00:00", "10.40.0.9")}})), "network/mac");
        assert_eq!(dhcp(json!({"hosts": {"a": host("01:54:00:00:00:01", "10.40.0.9")}})), "network/mac");
        assert_eq!(dhcp(json!({"hosts": {"a": good, "b": host("52:54:00:00:00:01", "10.40.0.8")}})), "network/twice");
        assert_eq!(dhcp(json!({"hosts": {"a": good, "b": host("52:54:00:00:00:02", "10.40.0.9")}})), "network/twice");
        assert_eq!(nat(json!({"domain": "a..b"})), "network/domain");
        assert_eq!(nat(json!({"dns": {"forwarders": ["dns.example"]}})), "network/address");
        assert_eq!(nat(json!({"dns": {"enabled": false, "hosts": {"a": "10.40.0.2"}}})), "network/dns");
    }

    #[test]
    fn networks_of_one_host_share_neither_addresses_nor_bridges() {
        let found = codes(&[
            ("a", json!({"type": "nat", "cidr": "10.40.0.1/16"})),
            ("b", json!({"type": "nat", "cidr": "10.40.7.1/24"})),
            ("c", json!({"type": "nat", "cidr": "10.41.0.1/24", "bridge": "rv-a"})),
            ("d", json!({"type": "bridge", "bridge": "br0"})),
            ("e", json!({"type": "bridge", "bridge": "br0"})),
        ]);
        assert_eq!(
            found,
            [
                ("network/overlap", "10.40.7.1/24 overlaps with 10.40.0.1/16 of network/a".to_owned()),
                ("network/bridge-twice", "the bridge rv-a is that of network/a already".to_owned()),
            ]
        );
    }
}
