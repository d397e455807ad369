//! What a Network manifest says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Name, Seconds};

/// What guests' network interfaces are plugged into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSpec {
    /// What sort of network it is.
    #[serde(rename = "type")]
    #[schemars(extend("x-reeve-change" = "restart"))]
    pub kind: NetworkType,
    /// The bridge on the host: needed for type `bridge`; left out otherwise: a name that follows from the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), extend("x-reeve-change" = "restart", "x-reeve-example" = "br0"))]
    pub bridge: Option<String>,
    /// For type `bridge`: Reeve makes the bridge; left out or false: it is the host's own, and is never touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "restart"))]
    pub create: Option<bool>,
    /// For a bridge that Reeve makes: the host's interfaces that become its ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "live", "x-reeve-example" = ["eth1"]))]
    pub ports: Option<Vec<String>>,
    /// The host's own IPv4 address in the network with its prefix length, which is the guests' gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "restart", "x-reeve-example" = "10.40.0.1/24"))]
    pub cidr: Option<String>,
    /// The host's own IPv6 address in the network with its prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "restart", "x-reeve-example" = "fd00:40::1/64"))]
    pub cidr6: Option<String>,
    /// Gives guests addresses; left out: none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "live"))]
    pub dhcp: Option<Dhcp>,
    /// Answers guests' questions for names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "restart"))]
    pub dns: Option<Dns>,
    /// The domain that guests' names are in, told by DHCP and known to DNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-reeve-change" = "restart", "x-reeve-example" = "lan.example.org"))]
    pub domain: Option<String>,
    /// The largest packet in bytes; left out: the host's default, 1500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 576, max = 65535), extend("x-reeve-change" = "restart", "x-reeve-example" = 9000))]
    pub mtu: Option<u32>,
    /// For types `nat` and `routed`: the only host interface that traffic may leave by; left out: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 15), extend("x-reeve-change" = "restart", "x-reeve-example" = "eth0"))]
    pub device: Option<String>,
}

impl NetworkSpec {
    /// A network of this type with everything else left out.
    pub fn of(kind: NetworkType) -> Self {
        Self {
            kind,
            bridge: None,
            create: None,
            ports: None,
            cidr: None,
            cidr6: None,
            dhcp: None,
            dns: None,
            domain: None,
            mtu: None,
            device: None,
        }
    }
}

impl NetworkSpec {
    /// How long an address is given for when the manifest does not say.
    pub const LEASE: Seconds = Seconds(3600);

    /// Whether libvirt keeps it.
    pub fn by_libvirt(&self) -> bool {
        self.kind != NetworkType::Bridge
    }

    /// Whether Reeve makes it, so that every field of it is managed.
    pub fn made(&self) -> bool {
        self.by_libvirt() || self.create == Some(true)
    }

    /// The same for a network of this name with every default filled in, every text in its one form, and nothing in it
    /// that its type has not.
    pub fn canonical(&self, name: &Name) -> Self {
        let mut spec = Self { bridge: Some(super::bridge_name(name, self)), ..Self::of(self.kind) };
        if !self.by_libvirt() {
            spec.create = Some(self.made());
        }
        if !self.made() {
            return spec;
        }
        spec.cidr = self.cidr.as_deref().map(one_form::<ipnet::Ipv4Net>);
        spec.cidr6 = self.cidr6.as_deref().map(one_form::<ipnet::Ipv6Net>);
        spec.mtu = self.mtu;
        if self.by_libvirt() {
            spec.dhcp = self.dhcp.as_ref().map(Dhcp::canonical).filter(|d| *d != Dhcp::default().canonical());
            spec.dns = Some(self.dns.clone().unwrap_or_default().canonical());
            spec.domain = self.domain.as_ref().map(|d| d.to_ascii_lowercase());
            spec.device.clone_from(&self.device);
        } else {
            let mut ports = self.ports.clone().unwrap_or_default();
            ports.sort();
            ports.dedup();
            spec.ports = Some(ports);
        }
        spec
    }

    /// Whether going from this to `to` stops the network for a moment; both canonical.
    pub fn needs_restart(&self, to: &Self) -> bool {
        let still = |spec: &Self| Self {
            dhcp: None,
            ports: None,
            dns: spec.dns.clone().map(|dns| Dns { hosts: None, ..dns }),
            ..spec.clone()
        };
        still(self) != still(to)
    }
}

impl Dhcp {
    fn canonical(&self) -> Self {
        let hosts = self.hosts.iter().flatten();
        Self {
            range: self.range.as_ref().map(|r| r.iter().map(|a| one_form::<IpAddr>(a)).collect()),
            lease: Some(self.lease.unwrap_or(NetworkSpec::LEASE)),
            hosts: Some(hosts.map(|(name, host)| (name.clone(), host.canonical())).collect()),
        }
    }
}

impl Host {
    fn canonical(&self) -> Self {
        Self { mac: self.mac.to_ascii_lowercase(), address: one_form::<IpAddr>(&self.address) }
    }
}

impl Dns {
    fn canonical(&self) -> Self {
        let hosts = self.hosts.iter().flatten();
        let forwarders = self.forwarders.iter().flatten();
        Self {
            enabled: Some(self.enabled.unwrap_or(true)),
            forwarders: Some(forwarders.map(|a| one_form::<IpAddr>(a)).collect()),
            hosts: Some(hosts.map(|(name, address)| (name.clone(), one_form::<IpAddr>(address))).collect()),
        }
    }
}

/// A text as its type prints it; as it is when it is none.
fn one_form<T: FromStr + ToString>(text: &str) -> String {
    text.parse::<T>().map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// The sorts of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    /// Guests reach the outside through the host's address; libvirt keeps it.
    Nat,
    /// Guests reach the outside with their own addresses, routed by the host; libvirt keeps it.
    Routed,
    /// Guests reach each other and the host only; libvirt keeps it.
    Isolated,
    /// A bridge of the host.
    Bridge,
}

impl NetworkType {
    /// The word in manifests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Routed => "routed",
            Self::Isolated => "isolated",
            Self::Bridge => "bridge",
        }
    }
}

/// Gives guests addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dhcp {
    /// The first and the last address given to guests without an address of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = ["10.40.0.100", "10.40.0.200"]))]
    pub range: Option<Vec<String>>,
    /// How long an address is given for; left out: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = "12h"))]
    pub lease: Option<Seconds>,
    /// Guests that always get the same address, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<BTreeMap<Name, Host>>,
}

/// A guest that always gets the same address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Its MAC address.
    #[schemars(extend("x-reeve-example" = "52:54:00:12:34:56"))]
    pub mac: String,
    /// The address it gets.
    #[schemars(extend("x-reeve-example" = "10.40.0.10"))]
    pub address: String,
}

/// Answers guests' questions for names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dns {
    /// Whether there is a DNS server at all; left out: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The servers that are asked for names it does not know; left out: the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = ["192.0.2.53"]))]
    pub forwarders: Option<Vec<String>>,
    /// Names it knows by itself, each with its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "live"))]
    pub hosts: Option<BTreeMap<Name, String>>,
}
