//! The lines for network interfaces.

use std::collections::BTreeMap;

use super::{Context, Lines};
use crate::base::{Fault, FaultKind, Name, Uid};
use crate::drivers::container::Record;
use crate::kinds::container::{CtNic, CtSpec};

/// The name of an interface's end on the host; it follows from the container and the interface, and is 15 characters.
pub fn host_end(uid: Uid, nic: &Name) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::new().chain_update(uid.uuid().as_bytes()).chain_update(nic.as_str()).finalize();
    hash.iter().take(6).fold("rvc".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

pub fn write(context: &Context<'_>, lines: &mut Lines) -> Result<(), Fault> {
    let record = context.record;
    // Without any interface LXC would give the guest the host's own network.
    if record.spec.nics.is_empty() {
        lines.put("lxc.net.0.type", "empty");
    }
    for (index, (name, nic)) in record.spec.nics.iter().enumerate() {
        let bridge = record.bridges.get(name).ok_or_else(|| {
            Fault::new(FaultKind::Invalid, format!("interface {name} of container {} has no bridge", context.name))
        })?;
        let mut put = |key: &str, value: &str| lines.put(format!("lxc.net.{index}.{key}"), value);
        put("type", "veth");
        put("name", name.as_str());
        put("link", bridge);
        put("flags", "up");
        put("veth.pair", &host_end(record.mark.uid, name));
        if let Some(mac) = &nic.mac {
            put("hwaddr", mac);
        }
        if let Some(mtu) = nic.mtu {
            put("mtu", &mtu.to_string());
        }
        if let Some(vlan) = nic.vlan {
            put("veth.vlan.id", &vlan.to_string());
        }
        for address in &nic.addresses {
            put(if address.contains(':') { "ipv6.address" } else { "ipv4.address" }, address);
        }
        if let Some(gateway) = &nic.gateway {
            put("ipv4.gateway", gateway);
        }
        if let Some(gateway) = &nic.gateway6 {
            put("ipv6.gateway", gateway);
        }
    }
    Ok(())
}

pub fn read(lines: &mut Lines, record: Option<&Record>, spec: &mut CtSpec) {
    let mut found: BTreeMap<u32, Vec<(String, String)>> = BTreeMap::new();
    let index = |key: &str| key.strip_prefix("lxc.net.")?.split_once('.')?.0.parse::<u32>().ok();
    for (key, value) in lines.take(|key, _| index(key).is_some()) {
        if let Some((i, rest)) = key.strip_prefix("lxc.net.").and_then(|k| k.split_once('.'))
            && let Ok(i) = i.parse()
        {
            found.entry(i).or_default().push((rest.to_owned(), value));
        }
    }
    spec.nics.clear();
    for (index, pairs) in found {
        let last = |key: &str| pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.clone());
        if last("type").as_deref() != Some("veth") {
            if last("type").as_deref() != Some("empty") {
                // Another sort of interface, which we have no fields for.
                pairs.iter().for_each(|(k, v)| lines.put(format!("lxc.net.{index}.{k}"), v));
            }
            continue;
        }
        let name = last("name").and_then(|n| Name::new(&n).ok());
        let Some(name) = name.or_else(|| Name::new(&format!("eth{index}")).ok()) else { continue };
        let nic = nic(&pairs, &last, record, &name);
        spec.nics.insert(name, nic.into());
    }
}

fn nic(
    pairs: &[(String, String)],
    last: &dyn Fn(&str) -> Option<String>,
    record: Option<&Record>,
    name: &Name,
) -> CtNic {
    // What LXC has no key for is as our record says.
    let known = record.and_then(|r| r.spec.nics.get(name)).cloned().unwrap_or_default();
    let link = last("link");
    let same = link.is_some() && record.and_then(|r| r.bridges.get(name)) == link.as_ref();
    let (network, bridge) = if same { (known.network, known.bridge) } else { (None, link) };
    let addresses = pairs.iter().filter(|(k, _)| matches!(k.as_str(), "ipv4.address" | "ipv6.address"));
    let mut nic = CtNic {
        network,
        bridge,
        addresses: addresses.map(|(_, v)| v.clone()).collect(),
        gateway: last("ipv4.gateway"),
        gateway6: last("ipv6.gateway"),
        mac: last("hwaddr"),
        mtu: last("mtu").and_then(|m| m.parse().ok()),
        vlan: last("veth.vlan.id").and_then(|v| v.parse().ok()),
        dhcp4: known.dhcp4,
        dhcp6: known.dhcp6,
        rate: known.rate,
        link_up: known.link_up,
    };
    nic.fill();
    nic
}
