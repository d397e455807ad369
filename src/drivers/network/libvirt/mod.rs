//! Networks that libvirt keeps: NAT, routed and isolated ones.
//!
//! A network of ours has the UID of its resource as its UUID, and its mark in a file bound to that UUID. What libvirt can
//! change in a network that is up (DHCP, names in DNS) is changed there; anything else stops the network and starts it
//! again, and the interfaces that were plugged into its bridge are plugged in again.

mod live;
mod restart;
mod xml;

use std::path::Path;

use async_trait::async_trait;
use uuid::Uuid;
use virt::connect::Connect;
use virt::network::Network;
use virt::sys;

use self::xml::Described;
use super::marks::{Marked, Marks};
use super::{Networks, Seen, ours, sysfs, unplugged};
use crate::base::{Fault, FaultKind, Mark, Name};
use crate::drivers::guest::libvirt::connection::{Call, Done, Pool};
use crate::kinds::network::NetworkSpec;

/// The networks of one libvirt.
#[derive(Clone)]
pub struct LibvirtNetworks {
    pool: Pool,
    marks: Marks,
}

/// One network as libvirt has it.
#[derive(Debug, Clone)]
struct Raw {
    name: String,
    /// Its configuration; of one that is only up, what is in force.
    xml: String,
    /// What is in force, where it is up.
    active: Option<String>,
    autostart: bool,
}

impl LibvirtNetworks {
    /// The networks of the libvirt that `pool` connects to, with marks below `data_dir`.
    pub fn new(pool: Pool, data_dir: &Path) -> Self {
        Self { pool, marks: Marks::below(data_dir) }
    }

    async fn raw(&self, name: &Name) -> Result<Option<Raw>, Fault> {
        let wanted = name.to_string();
        let call = Call::read(format!("look at the network {name}"));
        self.pool.call(call, move |c| find(c, &wanted)?.map(|n| look(&n)).transpose()).await
    }

    fn seen(&self, name: &Name, raw: &Raw) -> Result<(Seen, Described), Fault> {
        let described = xml::read(name, &raw.xml)?;
        let in_force = raw.active.as_deref().map(|xml| xml::read(name, xml)).transpose()?;
        let bridge = in_force.as_ref().and_then(|d| d.bridge.clone());
        let seen = Seen {
            name: name.clone(),
            spec: described.spec.clone(),
            running: in_force.and_then(|d| d.spec.ok()),
            autostart: raw.autostart,
            plugged: bridge.map(|b| sysfs::ports(&b)).unwrap_or_default(),
            mark: self.marks.get(name, described.uuid)?.map(|m| m.mark),
        };
        Ok((seen, described))
    }

    /// The network of this name, which must be there and carry the mark's UID.
    async fn own(&self, name: &Name, mark: &Mark) -> Result<(Raw, Seen, Uuid), Fault> {
        let Some(raw) = self.raw(name).await? else {
            return Err(Fault::new(FaultKind::NotFound, format!("libvirt has no network {name}")));
        };
        let (seen, described) = self.seen(name, &raw)?;
        ours(&seen, mark)?;
        Ok((raw, seen, described.uuid))
    }

    /// Defines a network, makes it start with the host, and starts it.
    async fn define(&self, name: &Name, xml: String) -> Result<(), Fault> {
        let call = Call::change(format!("make the network {name}"));
        let started = self.pool.call(call, move |c| {
            let network = Network::define_xml(c, &xml)?;
            network.set_autostart(true)?;
            if !network.is_active()? {
                network.create()?;
            }
            Ok(())
        });
        started.await.map_err(explain)
    }
}

/// The network of that name; `None` when libvirt has none.
fn find(connection: &Connect, name: &str) -> Done<Option<Network>> {
    match Network::lookup_by_name(connection, name) {
        Ok(network) => Ok(Some(network)),
        Err(error) if error.code() == virt::error::ErrorNumber::NoNetwork => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn look(network: &Network) -> Done<Raw> {
    let (up, kept) = (network.is_active()?, network.is_persistent()?);
    let active = if up { Some(network.get_xml_desc(0)?) } else { None };
    let configured = if kept { Some(network.get_xml_desc(sys::VIR_NETWORK_XML_INACTIVE)?) } else { None };
    Ok(Raw {
        name: network.get_name()?,
        xml: configured.or_else(|| active.clone()).unwrap_or_default(),
        active,
        autostart: kept && network.get_autostart()?,
    })
}

/// Adds what a person can do to the failures that starting a network is known for.
fn explain(fault: Fault) -> Fault {
    let has = |words: &[&str]| words.iter().any(|w| fault.message.contains(w));
    let help = if has(&["already in use by interface"]) {
        "another interface of the host is in that network already: choose another cidr"
    } else if has(&["iptables", "ip6tables", "nft", "firewall"]) {
        "libvirt makes the network's rules with iptables: install iptables, and see that the kernel has the nat table"
    } else if has(&["dnsmasq"]) {
        "libvirt gives addresses and names with dnsmasq: install dnsmasq-base, and see that nothing else answers there"
    } else if has(&["ebtables", "bridge"]) {
        "see that the kernel has bridges, and that the bridge's name is free (`ip link`)"
    } else {
        return fault;
    };
    fault.help(help)
}

#[async_trait]
impl Networks for LibvirtNetworks {
    async fn list(&self) -> Result<Vec<Seen>, Fault> {
        let raw = self.pool.call(Call::read("list the networks"), |c| {
            let all = c.list_all_networks(0)?;
            // One that is removed meanwhile is not there.
            Ok(all.iter().filter_map(|n| look(n).ok()).collect::<Vec<_>>())
        });
        let mut seen = Vec::new();
        for raw in raw.await? {
            if let Ok(name) = Name::new(&raw.name) {
                seen.push(self.seen(&name, &raw)?.0);
            }
        }
        Ok(seen)
    }

    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault> {
        self.raw(name).await?.map(|raw| Ok(self.seen(name, &raw)?.0)).transpose()
    }

    async fn create(&self, name: &Name, spec: &NetworkSpec, mark: &Mark) -> Result<(), Fault> {
        let uuid = mark.uid.uuid();
        if let Some(raw) = self.raw(name).await? {
            let (_, described) = self.seen(name, &raw)?;
            // It is ours by its UUID, even where the crash came before the mark.
            if described.uuid != uuid {
                let (seen, _) = self.seen(name, &raw)?;
                ours(&seen, mark)?;
            }
        }
        // The mark is there first: it belongs to nothing until a network has its UUID.
        self.marks.put(name, &Marked { uuid, mark: mark.clone(), replug: Vec::new() })?;
        self.define(name, xml::write(name, uuid, spec, None)?).await
    }

    async fn change(&self, name: &Name, spec: &NetworkSpec, mark: &Mark, restart: bool) -> Result<(), Fault> {
        let (raw, seen, uuid) = self.own(name, mark).await?;
        let wanted = xml::write(name, uuid, spec, Some(&raw.xml))?;
        let stops = seen.running.as_ref().is_some_and(|running| running.needs_restart(spec));
        match (&seen.running, stops) {
            (Some(running), false) if raw.active.is_some() => self.change_live(name, running, spec, wanted).await?,
            _ if raw.active.is_none() => self.define(name, wanted).await?,
            _ if restart => self.restart(name, uuid, &seen, wanted).await?,
            _ => {
                return Err(Fault::new(FaultKind::Denied, format!("the network {name} would have to be restarted"))
                    .help("apply with --allow restart"));
            }
        }
        self.replug(name, uuid, spec).await?;
        self.marks.put(name, &Marked { uuid, mark: mark.clone(), replug: Vec::new() })
    }

    async fn remark(&self, name: &Name, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        let Some(raw) = self.raw(name).await? else {
            return Err(Fault::new(FaultKind::NotFound, format!("libvirt has no network {name}")));
        };
        let (seen, described) = self.seen(name, &raw)?;
        if seen.mark.as_ref().map(|m| m.uid) != from.map(|m| m.uid) {
            return Err(Fault::new(FaultKind::Identity, format!("the network {name} carries another mark")));
        }
        self.marks.put(name, &Marked { uuid: described.uuid, mark: to.clone(), replug: Vec::new() })
    }

    async fn delete(&self, name: &Name, expect: &Mark) -> Result<(), Fault> {
        if let Some(raw) = self.raw(name).await? {
            let (seen, described) = self.seen(name, &raw)?;
            ours(&seen, expect)?;
            unplugged(&seen)?;
            self.remove(name, described.uuid).await?;
        }
        match self.marks.read(name)? {
            Some(marked) if marked.mark.uid == expect.uid => self.marks.remove(name),
            _ => Ok(()),
        }
    }
}

impl LibvirtNetworks {
    /// Stops and undefines the network of this name and UUID, unless a machine is defined on it.
    async fn remove(&self, name: &Name, uuid: Uuid) -> Result<(), Fault> {
        let wanted = name.to_string();
        let call = Call::change(format!("remove the network {name}"));
        self.pool
            .call(call, move |c| {
                let users = users(c, &wanted)?;
                if !users.is_empty() {
                    let fault = Fault::new(FaultKind::Busy, format!("{} would lose it", users.join(", ")));
                    return Err(fault.help("give those machines another network, or delete them, first").into());
                }
                let Some(network) = find(c, &wanted)?.filter(|n| n.get_uuid().is_ok_and(|u| u == uuid)) else {
                    return Ok(());
                };
                if network.is_active()? {
                    network.destroy()?;
                }
                // One that was only up is gone with that.
                match network.undefine() {
                    Err(error) if error.code() != virt::error::ErrorNumber::NoNetwork => Err(error.into()),
                    _ => Ok(()),
                }
            })
            .await
    }
}

/// The machines that are defined on a network.
fn users(connection: &Connect, network: &str) -> Done<Vec<String>> {
    use crate::drivers::guest::libvirt::xml::Element;
    let mut users = Vec::new();
    for domain in connection.list_all_domains(0)? {
        // One that is removed meanwhile uses nothing.
        let Ok(xml) = domain.get_xml_desc(0) else { continue };
        let Ok(tree) = Element::read(&xml) else { continue };
        let devices = tree.first("devices").into_iter().flat_map(|d| d.all("interface"));
        if devices.filter_map(|i| i.attribute(&["source"], "network")).any(|n| n == network) {
            users.push(format!("the machine {}", domain.get_name()?));
        }
    }
    Ok(users)
}
