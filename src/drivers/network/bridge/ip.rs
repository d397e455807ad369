//! Calls of the `ip` program.

use ipnet::IpNet;
use serde::Deserialize;

use super::sysfs;
use crate::base::exec::Command;
use crate::base::{Fault, FaultKind};
use crate::kinds::network::NetworkSpec;

/// The largest packet where nothing else is said.
pub const MTU: u32 = 1500;

/// Runs `ip` with these arguments.
pub async fn run(args: &[&str]) -> Result<(), Fault> {
    Command::new("ip").args(args).run().await?;
    Ok(())
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: String,
    prefixlen: u8,
    scope: String,
}

/// The addresses of an interface that reach beyond its link, in the kernel's order.
pub async fn addresses(interface: &str) -> Result<Vec<IpNet>, Fault> {
    let shown = Command::new("ip").args(["-j", "address", "show", "dev", interface]).run().await?;
    let all: Vec<Interface> = serde_json::from_slice(&shown.stdout)
        .map_err(|e| Fault::other(format!("ip said nothing sensible about {interface}: {e}")))?;
    let wide = all.into_iter().flat_map(|i| i.addr_info).filter(|a| a.scope == "global");
    Ok(wide.filter_map(|a| IpNet::new(a.local.parse().ok()?, a.prefixlen).ok()).collect())
}

/// Gives a bridge the addresses of its spec, and takes those of the same family that were there.
pub async fn address(bridge: &str, spec: &NetworkSpec) -> Result<(), Fault> {
    let wanted: Vec<IpNet> = [&spec.cidr, &spec.cidr6].into_iter().flatten().filter_map(|c| c.parse().ok()).collect();
    let have = addresses(bridge).await?;
    for address in have.iter().filter(|a| !wanted.contains(a)) {
        run(&["address", "delete", &address.to_string(), "dev", bridge]).await?;
    }
    for address in wanted.iter().filter(|a| !have.contains(a)) {
        run(&["address", "add", &address.to_string(), "dev", bridge]).await?;
    }
    Ok(())
}

/// Makes an interface of the host a port of a bridge, unless the host is reached through it.
pub async fn plug_host(port: &str, bridge: &str) -> Result<(), Fault> {
    if !sysfs::exists(port) {
        return Err(Fault::new(FaultKind::NotFound, format!("the host has no interface {port}"))
            .help("correct ports; `ip link` shows the host's interfaces"));
    }
    if sysfs::is_port(port) {
        return Err(Fault::new(FaultKind::Busy, format!("{port} is a port of another interface already"))
            .help("take it out there first"));
    }
    if let Some(address) = addresses(port).await?.first() {
        return Err(Fault::new(
            FaultKind::Denied,
            format!("{port} has the address {address}, which would stop answering if it became a port of {bridge}"),
        )
        .help(format!("give {bridge} the address (cidr) and take it from {port} first, from the host's console")));
    }
    run(&["link", "set", "dev", port, "master", bridge]).await?;
    run(&["link", "set", "dev", port, "up"]).await
}
