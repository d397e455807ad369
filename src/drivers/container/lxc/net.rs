//! Network interfaces of a running guest: plugged in and out, and changed, with the host's own `ip` and `tc`.

use std::path::Path;

use serde_json::Value;

use super::apart::enter_network;
use super::config::host_end;
use crate::base::exec::Command;
use crate::base::{Attempt as _, Fault, FaultKind, Name, Rate, Uid};
use crate::kinds::container::CtNic;

/// An interface of a running guest.
#[derive(Debug, Clone, Copy)]
pub struct Port<'a> {
    /// The container.
    pub uid: Uid,
    /// The guest's init.
    pub init: u32,
    /// The interface's name in the guest.
    pub name: &'a Name,
}

impl Port<'_> {
    /// Whether the guest has it.
    pub fn present(&self) -> bool {
        interfaces(self.init).iter().any(|n| n == self.name.as_str())
    }

    /// The name of its end on the host.
    pub async fn host(&self) -> Result<String, Fault> {
        let ours = host_end(self.uid, self.name);
        if link_dir(&ours).exists() {
            return Ok(ours);
        }
        // It has another name when the guest was started before we configured it: both ends know each other's number.
        let out = self.guest().args(["-j", "link", "show", "dev", self.name.as_str()]).run().await;
        let out = out.attempt(|| format!("looking at interface {} of the guest", self.name))?;
        let list: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let peer = list.pointer("/0/link_index").and_then(Value::as_u64);
        let links = std::fs::read_dir("/sys/class/net").attempt(|| "reading /sys/class/net")?;
        for link in links.flatten() {
            let index = std::fs::read_to_string(link.path().join("ifindex")).ok().and_then(|i| i.trim().parse().ok());
            if index.is_some() && index == peer {
                return Ok(link.file_name().to_string_lossy().into_owned());
            }
        }
        Err(Fault::new(FaultKind::NotFound, format!("the host's end of interface {} is not found", self.name)))
    }

    /// Makes the interface and plugs it into the bridge; the whole of it or nothing.
    pub async fn plug(&self, nic: &CtNic, bridge: &str) -> Result<(), Fault> {
        let host = host_end(self.uid, self.name);
        if self.present() {
            return Ok(());
        }
        let doing = || format!("plugging interface {} into {bridge}", self.name);
        delete(&host).await?;
        let mut add = ip().args(["link", "add", &host]);
        let mtu = nic.mtu.map(|m| m.to_string());
        if let Some(mtu) = &mtu {
            add = add.args(["mtu", mtu]);
        }
        add = add.args(["type", "veth", "peer", "name", self.name.as_str()]);
        if let Some(mac) = &nic.mac {
            add = add.args(["address", mac]);
        }
        if let Some(mtu) = &mtu {
            add = add.args(["mtu", mtu]);
        }
        add.args(["netns", &self.init.to_string()]).run().await.attempt(doing)?;
        let set = async {
            ip().args(["link", "set", &host, "master", bridge, "up"]).run().await.attempt(doing)?;
            if let Some(vlan) = nic.vlan {
                tag(&host, None, Some(vlan)).await?;
            }
            self.guest().args(["link", "set", self.name.as_str(), "up"]).run().await.attempt(doing)?;
            self.addresses(&CtNic::default(), nic).await?;
            self.settle(nic).await
        };
        if let Err(fault) = set.await {
            delete(&host).await?;
            return Err(fault);
        }
        Ok(())
    }

    /// Removes the interface.
    pub async fn unplug(&self) -> Result<(), Fault> {
        if self.present() {
            delete(&self.host().await?).await?;
        }
        Ok(())
    }

    /// Makes `new` of `old`; a new hardware address needs the interface taken out and put back.
    pub async fn change(&self, old: &CtNic, new: &CtNic, bridges: (Option<&str>, &str)) -> Result<(), Fault> {
        if old.mac.is_some() && old.mac != new.mac {
            self.unplug().await?;
            return self.plug(new, bridges.1).await;
        }
        let host = self.host().await?;
        let doing = || format!("changing interface {}", self.name);
        if bridges.0 != Some(bridges.1) {
            ip().args(["link", "set", &host, "master", bridges.1]).run().await.attempt(doing)?;
        }
        if old.mtu != new.mtu {
            let mtu = new.mtu.map_or_else(|| bridge_mtu(bridges.1), |m| m.to_string());
            ip().args(["link", "set", &host, "mtu", &mtu]).run().await.attempt(doing)?;
            self.guest().args(["link", "set", self.name.as_str(), "mtu", &mtu]).run().await.attempt(doing)?;
        }
        if old.vlan != new.vlan {
            tag(&host, old.vlan, new.vlan).await?;
        }
        self.addresses(old, new).await?;
        self.settle(new).await
    }

    /// Sets what LXC has no setting for: rate and cable.
    pub async fn settle(&self, nic: &CtNic) -> Result<(), Fault> {
        let host = self.host().await?;
        self.rate(&host, nic.rate).await?;
        let word = if nic.link_up() { "up" } else { "down" };
        let set = ip().args(["link", "set", &host, word]).run().await;
        set.attempt(|| format!("setting the link of interface {} {word}", self.name)).map(drop)
    }

    async fn addresses(&self, old: &CtNic, new: &CtNic) -> Result<(), Fault> {
        let name = self.name.as_str();
        let doing = || format!("addressing interface {name}");
        for gone in old.addresses.iter().filter(|a| !new.addresses.contains(a)) {
            self.guest().args(["addr", "del", gone, "dev", name]).ok(&[0, 2]).run().await.attempt(doing)?;
        }
        for address in &new.addresses {
            self.guest().args(["addr", "replace", address, "dev", name]).run().await.attempt(doing)?;
        }
        for (family, old, new) in [("-4", &old.gateway, &new.gateway), ("-6", &old.gateway6, &new.gateway6)] {
            let route = |word: &str| self.guest().args([family, "route", word, "default"]);
            match (old, new) {
                (_, Some(via)) => drop(route("replace").args(["via", via, "dev", name]).run().await.attempt(doing)?),
                (Some(via), None) => {
                    route("del").args(["via", via, "dev", name]).ok(&[0, 2]).run().await.attempt(doing)?;
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    async fn rate(&self, host: &str, rate: Option<Rate>) -> Result<(), Fault> {
        let name = self.name.as_str();
        let doing = || format!("limiting interface {name}");
        let Some(rate) = rate else {
            for parent in ["root", "ingress"] {
                tc().args(["qdisc", "del", "dev", host, parent]).ok(&[0, 1, 2]).run().await.attempt(doing)?;
            }
            let inner = enter_network(self.init, "tc").args(["qdisc", "del", "dev", name, "root"]);
            return inner.ok(&[0, 1, 2]).run().await.attempt(doing).map(drop);
        };
        let bits = format!("{}bit", rate.0);
        // Ten milliseconds' worth, and never less than a few packets.
        let burst = (rate.0 / 800).max(32 << 10).to_string();
        let shape = ["tbf", "rate", &bits, "burst", &burst, "latency", "50ms"];
        tc().args(["qdisc", "replace", "dev", host, "root"]).args(shape).run().await.attempt(doing)?;
        tc().args(["qdisc", "replace", "dev", host, "ingress"]).ok(&[0, 1, 2]).run().await.attempt(doing)?;
        let police = tc()
            .args(["filter", "replace", "dev", host, "parent", "ffff:", "protocol", "all", "prio", "1", "u32"])
            .args(["match", "u32", "0", "0", "police", "rate", &bits, "burst", &burst, "drop"]);
        if police.run().await.is_err() {
            // A kernel without policing: what the guest sends is shaped at its own end.
            let inner = enter_network(self.init, "tc").args(["qdisc", "replace", "dev", name, "root"]).args(shape);
            inner.run().await.attempt(doing)?;
        }
        Ok(())
    }

    fn guest(&self) -> Command {
        enter_network(self.init, "ip")
    }
}

fn ip() -> Command {
    Command::new("ip")
}

fn tc() -> Command {
    Command::new("tc")
}

fn link_dir(name: &str) -> std::path::PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn bridge_mtu(bridge: &str) -> String {
    let mtu = std::fs::read_to_string(link_dir(bridge).join("mtu")).unwrap_or_default();
    if mtu.trim().is_empty() { "1500".into() } else { mtu.trim().to_owned() }
}

/// Removes an interface of the host, and with it its other end; nothing when there is none.
pub async fn delete(host: &str) -> Result<(), Fault> {
    if !link_dir(host).exists() {
        return Ok(());
    }
    ip().args(["link", "del", host]).run().await.attempt(|| format!("removing interface {host}")).map(drop)
}

async fn tag(host: &str, old: Option<u16>, new: Option<u16>) -> Result<(), Fault> {
    let doing = || format!("setting the VLAN of {host}");
    let call =
        |word: &str, vlan: u16| Command::new("bridge").args(["vlan", word, "dev", host, "vid", &vlan.to_string()]);
    let wish =
        |fault: Fault| fault.help("the bridge must filter VLANs: `ip link set BRIDGE type bridge vlan_filtering 1`");
    call("del", old.unwrap_or(1)).ok(&[0, 2, 255]).run().await.attempt(doing)?;
    let add = call("add", new.unwrap_or(1)).args(["pvid", "untagged"]);
    add.run().await.attempt(doing).map_err(wish).map(drop)
}

/// The names of a process's network interfaces.
pub fn interfaces(pid: u32) -> Vec<String> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    table.lines().skip(2).filter_map(|l| Some(l.split_once(':')?.0.trim().to_owned())).collect()
}

/// What the host sees of its end of an interface: the bridge it is in, and whether it is up; `None` where it is not.
pub fn host_state(host: &str) -> Option<(Option<String>, bool)> {
    let dir = link_dir(host);
    let flags = std::fs::read_to_string(dir.join("flags")).ok()?;
    let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).unwrap_or(1);
    let bridge = std::fs::read_link(dir.join("master")).ok();
    let bridge = bridge.and_then(|b| b.file_name().map(|n| n.to_string_lossy().into_owned()));
    Some((bridge, flags & 1 == 1))
}

/// The rate each interface of the host sends at, by name, where one is set.
pub async fn rates() -> std::collections::BTreeMap<String, Rate> {
    let Ok(out) = tc().args(["-j", "qdisc", "show"]).run().await else { return Default::default() };
    let list: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap_or_default();
    let one = |q: &Value| {
        let shaped = q.get("kind")?.as_str()? == "tbf";
        let bytes = q.pointer("/options/rate")?.as_u64()?;
        shaped.then_some((q.get("dev")?.as_str()?.to_owned(), Rate(bytes * 8)))
    };
    list.iter().filter_map(one).collect()
}
