//! The host itself: rights, limits, networks, space and time.

use std::path::Path;
use std::time::Duration;

use super::tools::needs;
use super::{Finding, State};
use crate::base::Size;
use crate::base::exec::{self, Command};
use crate::kinds::World;
use crate::kinds::node::facts::{self, Cgroups};

/// Below this nothing can be made.
const SPACE_LEAST: Size = Size::gib(1);
/// Below this there is no room for more than a guest or two.
const SPACE_GOOD: Size = Size::gib(10);

/// Whether we may do what has to be done.
pub fn root() -> Finding {
    let title = "Rights";
    if rustix::process::geteuid().is_root() {
        return Finding::ok("root", title, "runs as root");
    }
    let found = "does not run as root: manifests can be checked and planned, and little can be made";
    Finding::bad("root", title, State::Warn, found, "run as root to apply")
}

/// Whether groups of processes can be limited.
pub fn cgroups() -> Finding {
    let sort = facts::quick().cgroups;
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v1 = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    limits(sort, &v2, &v1)
}

fn limits(sort: Cgroups, v2: &str, v1: &str) -> Finding {
    let title = "Control groups";
    let word = match sort {
        Cgroups::None => {
            let advice = "mount them: systemd does so by itself; without it, apt-get install cgroupfs-mount";
            return Finding::bad("cgroups", title, State::Fail, "none are mounted", advice);
        }
        Cgroups::V1 => "version 1",
        Cgroups::V2 => "version 2",
        Cgroups::Hybrid => "version 1, with version 2 beside it",
    };
    let enabled = |l: &&str| l.split_whitespace().nth(3) == Some("1");
    let have: Vec<&str> = if sort == Cgroups::V2 {
        v2.split_whitespace().collect()
    } else {
        v1.lines().filter(enabled).filter_map(|l| l.split_whitespace().next()).collect()
    };
    let lacks: Vec<&str> = ["cpu", "memory"].into_iter().filter(|c| !have.contains(c)).collect();
    if lacks.is_empty() {
        return Finding::ok("cgroups", title, format!("{word}, with cpu and memory"));
    }
    let found = format!("{word}, without {}", lacks.join(" and "));
    let advice =
        "boot with cgroup_enable=memory, and let systemd delegate the controllers: limits have no effect without";
    Finding::bad("cgroups", title, State::Warn, found, advice)
}

/// What networks are made with, and the bridges there are.
pub fn networks() -> Vec<Finding> {
    let nat = [("dnsmasq", "dnsmasq-base"), ("iptables", "iptables")];
    let bridges = bridges();
    let found = if bridges.is_empty() { "none".to_owned() } else { bridges.join(", ") };
    vec![
        needs("ip", "Tools for bridges", State::Warn, &[("ip", "iproute2")]),
        needs("nat", "Tools for networks with NAT and DHCP", State::Warn, &nat),
        Finding::ok("bridges", "Bridges", found),
    ]
}

fn bridges() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let bridges = entries.filter(|e| e.path().join("bridge").is_dir());
    let mut names: Vec<String> = bridges.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Whether there is room below the data directory.
pub fn space(world: &World) -> Finding {
    let title = "Free space";
    let here = world.data_dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(here) {
        Ok(stat) => room(here, Size(stat.f_bavail.saturating_mul(stat.f_frsize))),
        Err(error) => {
            let advice = "see that the data directory's file system is mounted";
            Finding::bad("space", title, State::Fail, format!("{} cannot be asked: {error}", here.display()), advice)
        }
    }
}

fn room(here: &Path, free: Size) -> Finding {
    let title = "Free space";
    let rounded = Size::mib(free.bytes() >> 20);
    let found = format!("{rounded} below {}", here.display());
    let advice = "make room there, or choose another place with --data-dir";
    match free {
        free if free < SPACE_LEAST => Finding::bad("space", title, State::Fail, found, advice),
        free if free < SPACE_GOOD => Finding::bad("space", title, State::Warn, found, advice),
        _ => Finding::ok("space", title, found),
    }
}

/// Whether the clock is right, as far as anyone on the host can say.
pub async fn clock(world: &World) -> Finding {
    let now = world.clock.now();
    let year = now.to_zoned(jiff::tz::TimeZone::UTC).year();
    let title = "Clock";
    if !(2025..2100).contains(&year) {
        let found = format!("it shows the year {year}: certificates and downloads will be refused");
        return Finding::bad("clock", title, State::Fail, found, KEEP_TIME);
    }
    match synchronised().await {
        Some(true) => Finding::ok("clock", title, "synchronised"),
        Some(false) => Finding::bad("clock", title, State::Warn, "not synchronised", KEEP_TIME),
        None => {
            Finding::bad("clock", title, State::Warn, "nobody on this host says whether it is synchronised", KEEP_TIME)
        }
    }
}

const KEEP_TIME: &str = "let something keep the time: apt-get install systemd-timesyncd, or chrony";

/// What the programs that may keep the time say.
async fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let soon = Duration::from_secs(5);
    if exec::find("timedatectl").is_some() {
        let asked = Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).deadline(soon);
        if let Ok(said) = asked.run().await {
            return Some(said.text().trim() == "yes");
        }
    }
    exec::find("chronyc")?;
    let asked = Command::new("chronyc").args(["-c", "tracking"]).deadline(soon).run().await.ok()?;
    Some(!asked.text().contains("Not synchronised"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_need_cpu_and_memory() {
        assert_eq!(limits(Cgroups::V2, "cpuset cpu io memory pids", "").state, State::Ok);
        assert_eq!(limits(Cgroups::V2, "cpuset cpu io", "").found, "version 2, without memory");
        let v1 = "#subsys_name hierarchy num_cgroups enabled\ncpu 2 1 1\nmemory 3 1 1\n";
        assert_eq!(limits(Cgroups::V1, "", v1).state, State::Ok);
        assert_eq!(limits(Cgroups::Hybrid, "", &v1.replace("memory 3 1 1", "memory 3 1 0")).state, State::Warn);
        assert_eq!(limits(Cgroups::None, "", "").state, State::Fail);
    }

    #[test]
    fn space_is_judged() {
        let at = |free| room(Path::new("/var/lib"), free);
        assert_eq!(at(Size::gib(100)).found, "100Gi below /var/lib");
        assert_eq!(at(Size::gib(5)).state, State::Warn);
        assert_eq!(at(Size::mib(100)).state, State::Fail);
    }
}
