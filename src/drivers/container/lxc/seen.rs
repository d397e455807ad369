//! Looking at containers: what is configured, whether it runs, and what it has while it runs.
//!
//! Directories and files tell what exists; the kernel's table of sockets tells at one reading which have a monitor; only
//! those are asked, with one call each. Limits are read from the cgroup tree, interfaces from /proc and /sys.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;

use super::cgroup::Group;
use super::host::Host;
use super::{config, keep, net};
use crate::base::exec::Command;
use crate::base::{Attempt as _, Fault, FaultKind, Name, Rate, Size};
use crate::drivers::container::running::unseen;
use crate::drivers::container::{Ended, Place, Power, Record, Seen};
use crate::kinds::container::{CtMemory, CtSpec};

/// A container's files, read.
#[derive(Debug, Clone)]
pub struct Files {
    /// What its configuration says.
    pub found: config::Found,
    /// Our record.
    pub record: Option<Record>,
}

/// Whether a container runs, and which processes make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Whether it runs.
    pub power: Power,
    /// The guest's init.
    pub init: Option<u32>,
    /// The monitor and the moment it started.
    pub monitor: Option<(u32, u64)>,
}

/// How often a container is looked at that ends or starts meanwhile.
const LOOKS: usize = 5;

const STOPPED: State = State { power: Power::Stopped, init: None, monitor: None };

/// Every container that has a configuration.
pub fn names(host: &Host) -> Result<Vec<Name>, Fault> {
    let root = host.paths.root();
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.attempt(|| format!("listing the containers in {}", root.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.attempt(|| format!("listing the containers in {}", root.display()))?;
        // A container whose name cannot be a resource's cannot be managed, and none of ours has such a name.
        let name = entry.file_name().to_str().and_then(|n| Name::new(n).ok());
        names.extend(name.filter(|n| host.paths.config(n).exists()));
    }
    names.sort();
    Ok(names)
}

/// A container's files; `None` where there is no configuration.
pub fn files(host: &Host, name: &Name) -> Result<Option<Files>, Fault> {
    let Some(text) = keep::read(&host.paths.config(name))? else { return Ok(None) };
    let record = keep::record(&host.paths, name)?;
    let mut found = config::read(&text, name, record.as_ref(), host);
    shrink(&mut found, record.as_ref());
    Ok(Some(Files { found, record }))
}

/// A file that is smaller than we brought it to is shown as it is.
fn shrink(found: &mut config::Found, record: Option<&Record>) {
    let Some(record) = record else { return };
    let real = |place: &Place| match place {
        Place::Image(path) => std::fs::metadata(path).ok().map(|m| Size(m.len())),
        _ => None,
    };
    if let Some(rootfs) = &mut found.spec.rootfs
        && let Some(size) = &mut rootfs.size
    {
        *size = real(&record.rootfs.place).map_or(*size, |real| real.min(*size));
    }
    for (name, mount) in &mut found.spec.mounts {
        if let (Some(size), Some(backing)) = (&mut mount.size, record.mounts.get(name)) {
            *size = real(&backing.place).map_or(*size, |real| real.min(*size));
        }
    }
}

/// The containers that have a monitor, as the kernel's table of sockets shows; `None`: the table cannot tell.
pub fn monitored(host: &Host) -> Option<BTreeSet<String>> {
    let root = host.paths.root().to_str()?;
    // LXC names the socket after the path where that fits, else after a hash of it.
    if root.len() > 30 {
        return None;
    }
    let table = std::fs::read_to_string("/proc/net/unix").ok()?;
    let front = format!("@{}/", root.trim_end_matches('/'));
    let name = |line: &str| {
        let path = line.split_whitespace().nth(7)?;
        path.strip_prefix(&front)?.strip_suffix("/command").map(str::to_owned)
    };
    Some(table.lines().filter_map(name).collect())
}

/// Whether a container runs, by asking LXC.
pub async fn state(host: &Host, name: &Name) -> Result<State, Fault> {
    let info = super::program("lxc-info", host, name).args(["-s", "-p", "-H"]).run().await;
    let out = info.attempt(|| format!("asking whether container {name} runs"))?.text();
    let field = |key: &str| out.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
    let word =
        field("State:").ok_or_else(|| Fault::other(format!("lxc-info says nothing of container {name}: {out:?}")))?;
    let init = field("PID:").and_then(|p| p.parse().ok()).filter(|p| *p > 0);
    let power = match word {
        "STOPPED" => Power::Stopped,
        "RUNNING" => Power::Running,
        "FROZEN" => Power::Frozen,
        _ => Power::Changing,
    };
    let monitor = init.and_then(|init| {
        let parent = stat(init)?.0;
        Some((parent, stat(parent)?.1))
    });
    Ok(State { power, init, monitor })
}

/// A process's parent, and the moment it started.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

/// Every container.
pub async fn list(host: &Host) -> Result<BTreeMap<Name, Result<Seen, Fault>>, Fault> {
    let monitored = monitored(host);
    let quiet = |name: &Name| monitored.as_ref().is_some_and(|m| !m.contains(name.as_str()));
    let names = names(host)?;
    let rates = if names.iter().all(quiet) { BTreeMap::new() } else { net::rates().await };
    let one = async |name: Name| {
        let seen = look(host, &name, quiet(&name), Some(&rates)).await;
        (name, seen)
    };
    let looks: Vec<_> = futures::stream::iter(names).map(one).buffer_unordered(8).collect().await;
    // One that went away meanwhile is not there.
    Ok(looks.into_iter().filter_map(|(name, seen)| Some((name, seen.transpose()?))).collect())
}

/// One container.
pub async fn find(host: &Host, name: &Name) -> Result<Option<Seen>, Fault> {
    look(host, name, false, None).await
}

/// One container; one that is `quiet` does not run. `rates` are asked for when they are needed and not given.
///
/// A guest may end while it is looked at: what is read of its processes is gone then, and it is looked at again.
async fn look(
    host: &Host,
    name: &Name,
    quiet: bool,
    rates: Option<&BTreeMap<String, Rate>>,
) -> Result<Option<Seen>, Fault> {
    let mut asked = None;
    for look in 1.. {
        let Some(Files { found, record }) = files(host, name)? else { break };
        let state = if quiet { STOPPED } else { state(host, name).await? };
        let running = match state.init.filter(|_| state.power.active()) {
            None => None,
            Some(init) => {
                let Some(rates) = rates.or(asked.as_ref()) else {
                    asked = Some(net::rates().await);
                    continue;
                };
                match running(host, name, &found.spec, record.as_ref(), state, init, rates) {
                    Err(fault) if look < LOOKS && (fault.kind == FaultKind::NotFound || stat(init).is_none()) => {
                        continue;
                    }
                    seen => Some(seen?),
                }
            }
        };
        let ended = (!state.power.active()).then(|| ended(host, name));
        return Ok(Some(Seen {
            configured: found.spec,
            running,
            record,
            power: state.power,
            ended,
            init: state.init,
            rootfs: found.rootfs,
            foreign: found.foreign,
        }));
    }
    Ok(None)
}

/// What a container was started as, before we look at what the kernel says.
pub fn started_as(host: &Host, name: &Name, configured: &CtSpec, state: State) -> CtSpec {
    let noted = state.monitor.and_then(|monitor| keep::running(&host.paths, name, monitor));
    noted.unwrap_or_else(|| configured.clone())
}

fn running(
    host: &Host,
    name: &Name,
    configured: &CtSpec,
    record: Option<&Record>,
    state: State,
    init: u32,
    rates: &BTreeMap<String, Rate>,
) -> Result<CtSpec, Fault> {
    let mut spec = started_as(host, name, configured, state);
    // What the guest never sees is in force when it is configured.
    unseen(&mut spec, configured);
    let group = Group::of(&host.layout, name, init)?;
    limits(&mut spec, &group, host.layout.swap());
    if let Some(record) = record {
        interfaces(&mut spec, record, init, rates);
    }
    Ok(spec)
}

fn limits(spec: &mut CtSpec, group: &Group<'_>, swap: bool) {
    let found = group.limits();
    let all = group.all_cpus();
    let cpu = spec.cpu.get_or_insert_default();
    let free = found.cpus.is_none() || (cpu.cores.is_none() && found.cpus == all);
    cpu.cores = found.cpus.filter(|_| !free).and_then(|c| u32::try_from(c.len()).ok());
    cpu.limit = found.limit;
    cpu.weight = found.weight.or(cpu.weight);
    let memory = spec.memory.get_or_insert_default();
    let CtMemory { size, swap: was } = memory;
    *was = if swap { pages(*was, found.swap) } else { *was };
    *size = pages(*size, found.size);
}

/// The kernel rounds to pages; where it only did that, what was asked for is in force.
fn pages(asked: Option<Size>, found: Option<Size>) -> Option<Size> {
    match (asked, found) {
        (Some(asked), Some(found)) if asked.0.abs_diff(found.0) < 8192 => Some(asked),
        _ => found,
    }
}

fn interfaces(spec: &mut CtSpec, record: &Record, init: u32, rates: &BTreeMap<String, Rate>) {
    let present = net::interfaces(init);
    spec.nics.retain(|name, _| present.iter().any(|p| p == name.as_str()));
    for (name, nic) in &mut spec.nics {
        let host = config::host_end(record.mark.uid, name);
        // An interface from before we configured it has another name on the host, and is taken to be as it was.
        let Some((bridge, up)) = net::host_state(&host) else { continue };
        nic.link_up = Some(up);
        nic.rate = rates.get(&host).copied();
        let known = record.bridges.get(name);
        if bridge.as_ref() != known {
            nic.network = None;
            nic.bridge = bridge;
        } else if let Some(configured) = record.spec.nics.get(name) {
            nic.network.clone_from(&configured.network);
            nic.bridge.clone_from(&configured.bridge);
        }
    }
}

/// How the last run ended, from what LXC noted of it.
fn ended(host: &Host, name: &Name) -> Ended {
    let Ok(Some(log)) = keep::read(&host.paths.log(name)) else { return Ended::Never };
    ended_in(&log, name)
}

fn ended_in(log: &str, name: &Name) -> Ended {
    let word = |line: &str| {
        let (_, rest) = line.split_once(&format!("Container \"{name}\" "))?;
        ["is halting", "is rebooting", "init exited"].into_iter().find(|w| rest.trim_end() == *w)
    };
    match log.lines().rev().find_map(word) {
        Some("is halting") => Ended::Halted,
        _ if log.is_empty() => Ended::Never,
        _ => Ended::Failed,
    }
}

/// The last errors LXC noted, for people.
pub fn complaints(host: &Host, name: &Name) -> String {
    let log = keep::read(&host.paths.log(name)).ok().flatten().unwrap_or_default();
    let said = |l: &&str| l.contains(" ERROR ") || l.contains("produced output");
    let words =
        |l: &str| l.split_once(" - ").map_or(l, |(_, rest)| rest.split_once(" - ").map_or(rest, |(_, r)| r)).to_owned();
    log.lines().filter(said).take(6).map(words).collect::<Vec<_>>().join("; ")
}

/// LXC's version.
pub async fn version() -> Result<String, Fault> {
    let out = Command::new("lxc-start").arg("--version").run().await.attempt(|| "asking for LXC's version")?;
    Ok(out.text().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_how_a_run_ended() {
        let name = Name::new("web").unwrap();
        let line = |what: &str| {
            format!("lxc-start web 20261122223647.363 DEBUG    start - ../src/lxc/start.c:__lxc_start:2137 - {what}\n")
        };
        let halted = line("Interrupt(2) - Container \"web\" is halting");
        let killed = line("Killed(9) - Container \"web\" init exited");
        assert_eq!(ended_in(&halted, &name), Ended::Halted);
        assert_eq!(ended_in(&format!("{halted}{killed}"), &name), Ended::Failed);
        assert_eq!(ended_in(&format!("{killed}{halted}other\n"), &name), Ended::Halted);
        assert_eq!(ended_in("started\n", &name), Ended::Failed, "the host went down under it");
        assert_eq!(ended_in("", &name), Ended::Never);
    }
}
