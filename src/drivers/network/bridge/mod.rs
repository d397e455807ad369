//! Bridges that Reeve makes on the host, by the `ip` program.
//!
//! A bridge of ours carries `reeve:UID` as its alias, and its mark is in a file bound to that UID. It is made under a name
//! that follows from the UID, given its alias, and only then renamed, so that no crash leaves one that nobody owns.
//! A bridge without the alias is never touched; neither is an interface that holds an address of the host.

mod ip;

use std::path::Path;

use async_trait::async_trait;
use uuid::Uuid;

use super::marks::{Marked, Marks};
use super::{Networks, Seen, ours, sysfs, unplugged};
use crate::base::{Fault, FaultKind, Mark, Name};
use crate::kinds::network::{NetworkSpec, NetworkType};

/// What stands before the UID in a bridge's alias.
const ALIAS: &str = "reeve:";

/// The bridges of this host.
#[derive(Debug, Clone)]
pub struct Bridges {
    marks: Marks,
}

/// What is plugged into a bridge of the host, whoever made it; `None` when there is no such bridge.
pub fn ports_of(bridge: &str) -> Option<Vec<String>> {
    sysfs::is_bridge(bridge).then(|| sysfs::ports(bridge))
}

/// The bridge that carries this UID, under its own name or the one it is made under.
fn carrying(uuid: Uuid) -> Option<String> {
    let alias = format!("{ALIAS}{uuid}");
    sysfs::bridges().into_iter().find(|b| sysfs::read(b, "ifalias").as_ref() == Some(&alias))
}

/// The name a bridge has until it carries its alias.
fn first_name(uuid: Uuid) -> String {
    format!("rv{}", &uuid.simple().to_string()[..13])
}

impl Bridges {
    /// The host's bridges, with marks below `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self { marks: Marks::below(data_dir) }
    }

    async fn seen(&self, name: &Name, marked: Marked) -> Result<Option<(Seen, String)>, Fault> {
        let Some(bridge) = carrying(marked.uuid) else { return Ok(None) };
        let ports = sysfs::ports(&bridge);
        let (host, guests) = ports.into_iter().partition::<Vec<_>, _>(|p| applied_ports(&marked.mark).contains(p));
        let addresses = ip::addresses(&bridge).await?;
        let mtu = sysfs::read(&bridge, "mtu").and_then(|m| m.parse().ok()).filter(|m| *m != ip::MTU);
        let spec = NetworkSpec {
            bridge: Some(bridge.clone()),
            create: Some(true),
            ports: Some(host),
            cidr: addresses.iter().find(|a| a.addr().is_ipv4()).map(ToString::to_string),
            cidr6: addresses.iter().find(|a| a.addr().is_ipv6()).map(ToString::to_string),
            mtu,
            ..NetworkSpec::of(NetworkType::Bridge)
        };
        let spec = spec.canonical(name);
        let up = sysfs::read(&bridge, "flags").is_some_and(|f| is_up(&f));
        let seen = Seen {
            name: name.clone(),
            running: up.then(|| spec.clone()),
            spec: Ok(spec),
            autostart: true,
            plugged: guests,
            mark: Some(marked.mark),
        };
        Ok(Some((seen, bridge)))
    }

    async fn own(&self, name: &Name, mark: &Mark) -> Result<Option<(Seen, String)>, Fault> {
        let Some(marked) = self.marks.read(name)? else { return Ok(None) };
        let found = self.seen(name, marked).await?;
        if let Some((seen, _)) = &found {
            ours(seen, mark)?;
        }
        Ok(found)
    }

    /// Makes the bridge as far as it is not there, and gives it its name.
    async fn make(&self, bridge: &str, uuid: Uuid) -> Result<(), Fault> {
        let first = first_name(uuid);
        let now = match carrying(uuid) {
            Some(now) => now,
            None => {
                if !sysfs::is_bridge(&first) {
                    ip::run(&["link", "add", "name", &first, "type", "bridge", "stp_state", "0", "forward_delay", "0"])
                        .await?;
                }
                ip::run(&["link", "set", "dev", &first, "alias", &format!("{ALIAS}{uuid}")]).await?;
                first
            }
        };
        if now == bridge {
            return Ok(());
        }
        if sysfs::exists(bridge) {
            return Err(Fault::new(
                FaultKind::Exists,
                format!("the host has an interface {bridge} already, which reeve did not make"),
            )
            .help("leave create out to use the bridge as it is, or choose another name"));
        }
        ip::run(&["link", "set", "dev", &now, "down"]).await?;
        ip::run(&["link", "set", "dev", &now, "name", bridge]).await
    }

    /// Brings a bridge of ours to its spec, and up.
    async fn configure(&self, bridge: &str, spec: &NetworkSpec, had: &[String]) -> Result<(), Fault> {
        let mtu = spec.mtu.unwrap_or(ip::MTU).to_string();
        if sysfs::read(bridge, "mtu").as_ref() != Some(&mtu) {
            ip::run(&["link", "set", "dev", bridge, "mtu", &mtu]).await?;
        }
        ip::address(bridge, spec).await?;
        ip::run(&["link", "set", "dev", bridge, "up"]).await?;
        let wanted: Vec<String> = spec.ports.clone().unwrap_or_default();
        let now = sysfs::ports(bridge);
        for port in had.iter().filter(|p| !wanted.contains(p) && now.contains(p)) {
            ip::run(&["link", "set", "dev", port, "nomaster"]).await?;
        }
        for port in wanted.iter().filter(|p| !now.contains(p)) {
            ip::plug_host(port, bridge).await?;
        }
        Ok(())
    }
}

/// The host's interfaces that were made ports of a bridge.
fn applied_ports(mark: &Mark) -> Vec<String> {
    let ports = mark.applied.as_ref().and_then(|a| a.get("ports")).and_then(|p| p.as_array());
    ports.into_iter().flatten().filter_map(|p| p.as_str().map(str::to_owned)).collect()
}

/// Whether the flags of an interface, `0x1003`, say that it is up.
fn is_up(flags: &str) -> bool {
    flags.strip_prefix("0x").and_then(|f| u32::from_str_radix(f, 16).ok()).is_some_and(|f| f & 1 == 1)
}

#[async_trait]
impl Networks for Bridges {
    async fn list(&self) -> Result<Vec<Seen>, Fault> {
        let mut all = Vec::new();
        for name in self.marks.names()? {
            all.extend(self.find(&name).await?);
        }
        Ok(all)
    }

    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault> {
        match self.marks.read(name)? {
            Some(marked) => Ok(self.seen(name, marked).await?.map(|(seen, _)| seen)),
            None => Ok(None),
        }
    }

    async fn create(&self, name: &Name, spec: &NetworkSpec, mark: &Mark) -> Result<(), Fault> {
        let uuid = mark.uid.uuid();
        let bridge = spec.bridge.clone().unwrap_or_default();
        if let Some((_, bridge)) = self.own(name, mark).await?
            && sysfs::is_bridge(&bridge)
            && bridge != first_name(uuid)
        {
            return self.configure(&bridge, spec, &[]).await;
        }
        self.marks.put(name, &Marked { uuid, mark: mark.clone(), replug: Vec::new() })?;
        self.make(&bridge, uuid).await?;
        self.configure(&bridge, spec, &[]).await
    }

    async fn change(&self, name: &Name, spec: &NetworkSpec, mark: &Mark, _restart: bool) -> Result<(), Fault> {
        let Some((seen, bridge)) = self.own(name, mark).await? else {
            return Err(Fault::new(FaultKind::NotFound, format!("the host has no bridge of network {name}")));
        };
        let had = seen.mark.as_ref().map(applied_ports).unwrap_or_default();
        let uuid = seen.mark.as_ref().map_or(mark.uid, |m| m.uid).uuid();
        self.configure(&bridge, spec, &had).await?;
        self.marks.put(name, &Marked { uuid, mark: mark.clone(), replug: Vec::new() })
    }

    async fn remark(&self, name: &Name, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        let Some(marked) = self.marks.read(name)?.filter(|m| carrying(m.uuid).is_some()) else {
            return Err(Fault::new(FaultKind::NotFound, format!("the host has no bridge of network {name}")));
        };
        if from.map(|m| m.uid) != Some(marked.mark.uid) {
            return Err(Fault::new(FaultKind::Identity, format!("the network {name} carries another mark")));
        }
        self.marks.put(name, &Marked { mark: to.clone(), ..marked })
    }

    async fn delete(&self, name: &Name, expect: &Mark) -> Result<(), Fault> {
        if let Some((seen, bridge)) = self.own(name, expect).await? {
            unplugged(&seen)?;
            ip::run(&["link", "delete", "dev", &bridge, "type", "bridge"]).await?;
        }
        match self.marks.read(name)? {
            Some(marked) if marked.mark.uid == expect.uid => self.marks.remove(name),
            _ => Ok(()),
        }
    }
}
