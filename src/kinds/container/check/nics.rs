//! Network interfaces.

use std::net::IpAddr;

use crate::base::Name;
use crate::kinds::container::spec::{CtNic, CtSpec, cidr};
use crate::kinds::network::NetworkType;
use crate::kinds::{Claim, KindName, Report, Scope, Spec};

/// The longest name Linux allows an interface, in bytes.
const LONGEST_NAME: usize = 15;

pub(super) fn check(spec: &CtSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    for (name, nic) in &spec.nics {
        let at = format!("nics.{name}");
        named(name, &at, report);
        connected(nic, &at, scope, report);
        addressed(nic, &at, report);
        if let Some(mac) = &nic.mac {
            hardware(mac, &format!("{at}.mac"), report);
        }
        if nic.rate.is_some_and(|r| r.0 < 8_000) {
            let help = "write at least 8kbps, or leave it out for no limit";
            report.error("ct/rate-too-low", &format!("{at}.rate"), "the rate is too low to be kept", help);
        }
    }
    for (field, gateway) in [("gateway", CtNic::v4 as fn(&CtNic) -> bool), ("gateway6", CtNic::v6)] {
        let mut with = spec.nics.iter().filter(|(_, nic)| gateway(nic));
        if let (Some((first, _)), Some((second, _))) = (with.next(), with.next()) {
            let message = format!("nics.{first} has a {field} already, and a guest has one way out");
            let help = "keep the one that leads outside";
            report.error("ct/gateway-twice", &format!("nics.{second}.{field}"), message, help);
        }
    }
}

impl CtNic {
    fn v4(&self) -> bool {
        self.gateway.is_some()
    }

    fn v6(&self) -> bool {
        self.gateway6.is_some()
    }
}

fn named(name: &Name, at: &str, report: &mut Report<'_>) {
    if name.as_str().len() > LONGEST_NAME || name.as_str() == "lo" {
        let message = format!("{name} cannot be the name of an interface");
        let help = format!("use at most {LONGEST_NAME} characters, and not lo; such as eth0");
        report.error("ct/nic-name", at, message, help);
    }
}

fn connected(nic: &CtNic, at: &str, scope: &Scope<'_>, report: &mut Report<'_>) {
    match (&nic.network, &nic.bridge) {
        (Some(network), None) => {
            if let Some(Spec::Network(found)) = scope.spec(KindName::Network, network)
                && nic.vlan.is_some()
                && found.kind != NetworkType::Bridge
            {
                let message = format!("network/{network} is of type {}, which has no VLANs", found.kind.word());
                let help = "connect it to a network of type bridge, or leave vlan out";
                report.error("ct/vlan-needs-bridge", &format!("{at}.vlan"), message, help);
            }
        }
        (None, Some(bridge)) => {
            let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if bridge.is_empty() || !bridge.chars().all(good) {
                let help = "write the bridge's name as `ip link` shows it";
                report.error("ct/bridge", &format!("{at}.bridge"), format!("{bridge:?} is no bridge's name"), help);
            }
        }
        (network, _) => {
            let count = if network.is_some() { "both" } else { "neither" };
            let message = format!("{at} has {count} of network and bridge");
            let help = "name the Network it is connected to; linkUp: false pulls the cable";
            report.error("ct/nic-without-network", at, message, help);
        }
    }
}

fn addressed(nic: &CtNic, at: &str, report: &mut Report<'_>) {
    for address in nic.addresses.iter().filter(|a| cidr(a).is_none()) {
        let help = "write one such as 10.40.0.53/24 or fd00:40::53/64";
        let message = format!("{address:?} is no address with a prefix length");
        report.error("ct/address", &format!("{at}.addresses"), message, help);
    }
    for (field, gateway, four) in [("gateway", &nic.gateway, true), ("gateway6", &nic.gateway6, false)] {
        let Some(gateway) = gateway else { continue };
        let at = format!("{at}.{field}");
        match gateway.parse::<IpAddr>() {
            Ok(ip) if ip.is_ipv4() == four => {
                let reached = |(address, length): (IpAddr, u8)| same_net(address, ip, length);
                let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                let dhcp = if four { nic.dhcp4() } else { nic.dhcp6() };
                if !link_local && !dhcp && !nic.addresses.iter().filter_map(|a| cidr(a)).any(reached) {
                    let message = format!("{gateway} is in none of the networks of the interface's addresses");
                    report.error("ct/gateway-unreachable", &at, message, "give it an address in the gateway's network");
                }
            }
            _ => {
                let family = if four { "IPv4" } else { "IPv6" };
                let message = format!("{gateway:?} is no {family} address");
                report.error("ct/address", &at, message, "write it without a prefix length, such as 10.40.0.1");
            }
        }
    }
}

/// Whether two addresses are in one network of this prefix length.
fn same_net(a: IpAddr, b: IpAddr, length: u8) -> bool {
    let front = |bits: u128, width: u32| bits.checked_shr(width - u32::from(length)).unwrap_or(0);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => front(u128::from(a.to_bits()), 32) == front(u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => front(a.to_bits(), 128) == front(b.to_bits(), 128),
        _ => false,
    }
}

fn hardware(mac: &str, at: &str, report: &mut Report<'_>) {
    let first = mac.get(..2).and_then(|b| u8::from_str_radix(b, 16).ok());
    // What is no address at all was said when its pattern was not met.
    let Some(first) = first.filter(|_| mac.len() == 17) else { return };
    if first & 1 == 1 {
        let help = "make its second digit even, such as 52:54:00:12:34:56";
        report.error("ct/mac-multicast", at, format!("{mac} is a multicast address"), help);
    } else if mac == "00:00:00:00:00:00" {
        let help = "leave it out to get one, or write one such as 52:54:00:12:34:56";
        report.error("ct/mac-zero", at, "the address of all zeroes is no interface's", help);
    }
}

/// Hardware addresses, and addresses in their network.
pub(super) fn claims(spec: &CtSpec) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (name, nic) in &spec.nics {
        claims.extend(nic.mac.as_ref().map(|mac| Claim::mac(mac, format!("nics.{name}.mac"))));
        let Some(network) = &nic.network else { continue };
        claims.extend(nic.addresses.iter().filter_map(|a| cidr(a)).map(|(address, _)| Claim {
            code: "network/address-taken",
            what: "the address",
            value: format!("{address} in network/{network}"),
            nodes: Vec::new(),
            path: format!("nics.{name}.addresses"),
            help: "give each guest an address of its own",
        }));
    }
    claims
}
