//! Limits in the kernel's cgroup tree, version 1 and 2: which controller is where, and what our fields are called there.
//!
//! A host has each controller in one of the two trees. [`Setting`] is one file and its value; the same settings make
//! the lines of a configuration (`lxc.cgroup.…`, `lxc.cgroup2.…`) and the writes that change a running container, and
//! the same files are read back to see what is in force.

use std::path::{Path, PathBuf};

use crate::base::{Attempt as _, Fault, FaultKind, Name, Size};
use crate::kinds::container::{CtCpu, CtMemory, CtSpec};

/// The version of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A tree for each controller.
    V1,
    /// One tree for all.
    V2,
}

impl Version {
    /// The front of LXC's keys for it.
    pub fn key(self) -> &'static str {
        match self {
            Self::V1 => "lxc.cgroup.",
            Self::V2 => "lxc.cgroup2.",
        }
    }
}

/// The controllers we set limits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Time.
    Cpu,
    /// Processors.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Device nodes.
    Devices,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Devices];

    /// The kernel's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Devices => "devices",
        }
    }
}

/// Which controllers are where on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where the trees are mounted.
    root: PathBuf,
    /// Version 1 controllers, with the directory each is mounted at.
    v1: Vec<(Controller, PathBuf)>,
    /// Where the version 2 tree is mounted.
    v2: PathBuf,
    /// Whether version 1 counts swap.
    swap: bool,
}

impl Layout {
    /// Reads it from this host.
    pub fn detect() -> Result<Self, Fault> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").attempt(|| "reading /proc/self/mounts")?;
        let layout = Self::of(&mounts);
        let swap = layout
            .v1
            .iter()
            .find(|(c, _)| *c == Controller::Memory)
            .is_none_or(|(_, dir)| dir.join("memory.memsw.limit_in_bytes").exists());
        Ok(Self { swap, ..layout })
    }

    /// The layout that a table of mounts shows.
    fn of(mounts: &str) -> Self {
        let mut layout =
            Self { root: "/sys/fs/cgroup".into(), v1: Vec::new(), v2: "/sys/fs/cgroup".into(), swap: true };
        for line in mounts.lines() {
            let mut words = line.split(' ').skip(1);
            let (Some(dir), Some(kind), Some(options)) = (words.next(), words.next(), words.next()) else { continue };
            match kind {
                "cgroup2" => layout.v2 = dir.into(),
                "cgroup" => {
                    let has = |c: &Controller| options.split(',').any(|o| o == c.word());
                    layout.v1.extend(Controller::ALL.iter().filter(|c| has(c)).map(|c| (*c, PathBuf::from(dir))));
                }
                _ => {}
            }
        }
        layout
    }

    /// A host where everything is in the version 2 tree.
    #[cfg(test)]
    pub fn v2_only() -> Self {
        Self::of("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
    }

    /// A host with a version 1 tree for each controller.
    #[cfg(test)]
    pub fn v1_only() -> Self {
        let line = |c: Controller| format!("cgroup /sys/fs/cgroup/{0} cgroup rw,{0} 0 0\n", c.word());
        Self::of(&Controller::ALL.map(line).concat())
    }

    /// The tree a controller is in.
    pub fn version(&self, controller: Controller) -> Version {
        if self.v1.iter().any(|(c, _)| *c == controller) { Version::V1 } else { Version::V2 }
    }

    /// Whether swap can be limited.
    pub fn swap(&self) -> bool {
        self.swap
    }

    /// The directory of the process with this `/proc/PID/cgroup` in a controller's tree.
    fn dir(&self, controller: Controller, table: &str) -> Option<PathBuf> {
        let (root, line) = match self.v1.iter().find(|(c, _)| *c == controller) {
            Some((_, root)) => (
                root,
                table.lines().find(|l| {
                    l.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == controller.word()))
                }),
            ),
            None => (&self.v2, table.lines().find(|l| l.starts_with("0::"))),
        };
        let path = line?.splitn(3, ':').nth(2)?;
        Some(root.join(path.trim_start_matches('/')))
    }

    /// Every tree's root.
    fn roots(&self) -> Vec<PathBuf> {
        // Controllers we do not use have trees of their own, and LXC makes directories in those too.
        let mut roots: Vec<PathBuf> = std::fs::read_dir(&self.root)
            .map(|entries| entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.is_dir()).collect())
            .unwrap_or_default();
        roots.push(self.root.clone());
        roots
    }

    /// Removes what a container's killed monitor left of its cgroups; those with a process in them stay.
    pub fn sweep(&self, name: &Name) {
        for root in self.roots() {
            for part in ["payload", "monitor"] {
                remove_tree(&root.join(format!("lxc.{part}.{name}")));
            }
        }
    }
}

/// Removes a directory of a cgroup tree and those in it, from the leaves up; one in use refuses by itself.
fn remove_tree(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}

/// One limit: a file of a controller and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The controller.
    pub controller: Controller,
    /// The file's name.
    pub file: &'static str,
    /// What to write into it.
    pub value: String,
}

const PERIOD: u32 = 100_000;
/// From here on version 1 means "no limit"; it rounds its greatest number to pages.
const UNLIMITED: u64 = 1 << 62;

/// The limits a spec asks for; with `all` also those that mean "no limit", to undo others.
///
/// They are in an order that works for writing where memory grows; for shrinking it is the reverse.
pub fn settings(spec: &CtSpec, layout: &Layout, cpus: &[u32], all: bool) -> Vec<Setting> {
    let mut found = Vec::new();
    cpu_settings(&spec.cpu(), layout, all, &mut found);
    let mut put = |controller, file, value: String| found.push(Setting { controller, file, value });
    if all || spec.cpu().cores.is_some() {
        let list: Vec<String> = cpus.iter().map(u32::to_string).collect();
        put(Controller::Cpuset, "cpuset.cpus", list.join(","));
    }
    memory_settings(&spec.memory(), layout, all, &mut found);
    found
}

fn cpu_settings(cpu: &CtCpu, layout: &Layout, all: bool, found: &mut Vec<Setting>) {
    let mut put = |file, value: String| found.push(Setting { controller: Controller::Cpu, file, value });
    let quota = cpu.limit.map(|limit| format!("{:.0}", limit * f64::from(PERIOD)));
    match layout.version(Controller::Cpu) {
        Version::V1 => {
            put("cpu.shares", shares(cpu.weight()).to_string());
            if all || quota.is_some() {
                put("cpu.cfs_period_us", PERIOD.to_string());
                put("cpu.cfs_quota_us", quota.unwrap_or_else(|| "-1".into()));
            }
        }
        Version::V2 => {
            put("cpu.weight", cpu.weight().to_string());
            if all || quota.is_some() {
                put("cpu.max", format!("{} {PERIOD}", quota.unwrap_or_else(|| "max".into())));
            }
        }
    }
}

fn memory_settings(memory: &CtMemory, layout: &Layout, all: bool, found: &mut Vec<Setting>) {
    let mut put = |file, value: String| found.push(Setting { controller: Controller::Memory, file, value });
    let size = memory.size.map(Size::bytes);
    let swap = memory.swap.map(Size::bytes);
    match layout.version(Controller::Memory) {
        Version::V1 => {
            if all || size.is_some() {
                put("memory.limit_in_bytes", size.map_or("-1".into(), |s| s.to_string()));
            }
            let both = size.zip(swap).map(|(size, swap)| size.saturating_add(swap));
            if layout.swap() && (all || both.is_some()) {
                put("memory.memsw.limit_in_bytes", both.map_or("-1".into(), |b| b.to_string()));
            }
        }
        Version::V2 => {
            if all || size.is_some() {
                put("memory.max", size.map_or("max".into(), |s| s.to_string()));
            }
            if all || swap.is_some() {
                put("memory.swap.max", swap.map_or("max".into(), |s| s.to_string()));
            }
        }
    }
}

/// Version 1's shares for a weight: both defaults, 1024 and 100, stand for each other.
fn shares(weight: u32) -> u64 {
    (u64::from(weight) * 1024 + 50) / 100
}

/// The limits that files of a container's cgroups, or the lines for them, hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// The processors it may use; `None` where that is not said.
    pub cpus: Option<Vec<u32>>,
    /// At most this many processors' worth of time.
    pub limit: Option<f64>,
    /// The share of time.
    pub weight: Option<u32>,
    /// Memory.
    pub size: Option<Size>,
    /// Swap on top.
    pub swap: Option<Size>,
}

impl Limits {
    /// Reads limits with `get`, which gives what stands in a controller's file.
    pub fn read(get: impl Fn(Controller, Version, &str) -> Option<String>) -> Self {
        use Controller::{Cpu, Cpuset, Memory};
        use Version::{V1, V2};
        let number = |c, v, file: &str| get(c, v, file).and_then(|t| t.trim().parse::<u64>().ok());
        let weight = number(Cpu, V2, "cpu.weight")
            .or_else(|| number(Cpu, V1, "cpu.shares").map(|s| (s * 100 + 512) / 1024))
            .and_then(|w| u32::try_from(w).ok());
        let size = number(Memory, V2, "memory.max")
            .or_else(|| number(Memory, V1, "memory.limit_in_bytes"))
            .filter(|s| *s < UNLIMITED);
        let both = number(Memory, V1, "memory.memsw.limit_in_bytes").filter(|s| *s < UNLIMITED);
        let swap = number(Memory, V2, "memory.swap.max").or_else(|| Some(both?.saturating_sub(size?)));
        let cpus = get(Cpuset, V2, "cpuset.cpus").or_else(|| get(Cpuset, V1, "cpuset.cpus"));
        Self {
            cpus: cpus.map(|list| super::host::numbers(&list)).filter(|l| !l.is_empty()),
            limit: limit(&get),
            weight,
            size: size.map(Size),
            swap: swap.map(Size),
        }
    }
}

fn limit(get: &impl Fn(Controller, Version, &str) -> Option<String>) -> Option<f64> {
    let (quota, period) = match get(Controller::Cpu, Version::V2, "cpu.max") {
        Some(max) => {
            let (quota, period) = max.trim().split_once(' ').map(|(q, p)| (q.to_owned(), p.to_owned()))?;
            (quota, Some(period))
        }
        None => (
            get(Controller::Cpu, Version::V1, "cpu.cfs_quota_us")?,
            get(Controller::Cpu, Version::V1, "cpu.cfs_period_us"),
        ),
    };
    let quota: f64 = quota.trim().parse().ok().filter(|q| *q > 0.0)?;
    let period: f64 = period.and_then(|p| p.trim().parse().ok()).unwrap_or(f64::from(PERIOD));
    Some((quota / period * 100_000.0).round() / 100_000.0)
}

/// The cgroups of a running container.
#[derive(Debug)]
pub struct Group<'a> {
    layout: &'a Layout,
    table: String,
}

impl<'a> Group<'a> {
    /// The cgroups of the container whose init process this is.
    pub fn of(layout: &'a Layout, name: &Name, init: u32) -> Result<Self, Fault> {
        let table = std::fs::read_to_string(format!("/proc/{init}/cgroup"))
            .attempt(|| format!("reading the cgroups of container {name}"))?;
        // The guest's init may have moved itself deeper; the limits are at the container's own level.
        let front = format!("lxc.payload.{name}");
        let cut = |line: &str| {
            let Some(at) = line.find(&front) else { return line.to_owned() };
            let end = line[at..].find('/').map_or(line.len(), |n| at + n);
            line[..end].to_owned()
        };
        Ok(Self { layout, table: table.lines().map(cut).collect::<Vec<_>>().join("\n") })
    }

    fn file(&self, controller: Controller, file: &str) -> Option<PathBuf> {
        Some(self.layout.dir(controller, &self.table)?.join(file))
    }

    /// What is in force.
    pub fn limits(&self) -> Limits {
        Limits::read(|controller, version, file| {
            let here = self.layout.version(controller) == version;
            std::fs::read_to_string(self.file(controller, file).filter(|_| here)?).ok()
        })
    }

    /// The processors the container could use if it had no limit.
    pub fn all_cpus(&self) -> Option<Vec<u32>> {
        let dir = self.layout.dir(Controller::Cpuset, &self.table)?;
        let parent = dir.parent()?;
        ["cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"]
            .iter()
            .find_map(|file| std::fs::read_to_string(parent.join(file)).ok())
            .map(|list| super::host::numbers(&list))
            .filter(|l| !l.is_empty())
    }

    /// Puts these limits in force.
    pub fn write(&self, settings: &[Setting]) -> Result<(), Fault> {
        let mut later = Vec::new();
        // Memory may not exceed memory and swap at any time, so which comes first depends on the direction: try both.
        for setting in settings {
            if self.put(setting).is_err() {
                later.push(setting);
            }
        }
        let mut again = Vec::new();
        for setting in later {
            self.put(setting)?;
            again.push(setting);
        }
        Ok(())
    }

    fn put(&self, setting: &Setting) -> Result<(), Fault> {
        let Setting { controller, file, value } = setting;
        let path = self.file(*controller, file).ok_or_else(|| {
            Fault::new(FaultKind::Unsupported, format!("this host has no {} controller", controller.word()))
                .help("enable it in the kernel, or take the limit out of the manifest")
        })?;
        std::fs::write(&path, value).map_err(|error| {
            let busy = error.raw_os_error() == Some(16) && *controller == Controller::Memory;
            let fault = Fault::from(error).context(format!("writing {value} to {}", path.display()));
            if busy { fault.help("the guest uses more than that and could not be made to give it back") } else { fault }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: serde_json::Value) -> CtSpec {
        let mut spec: CtSpec = serde_json::from_value(value).unwrap();
        spec.fill();
        spec
    }

    fn lines(spec: &CtSpec, layout: &Layout, all: bool) -> Vec<String> {
        settings(spec, layout, &[0, 1], all).iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    }

    #[test]
    fn both_versions_say_the_same() {
        let spec = spec(serde_json::json!({
            "cpu": {"cores": 2, "limit": 0.5, "weight": 300}, "memory": {"size": "64Mi", "swap": "32Mi"}
        }));
        let v1 = lines(&spec, &Layout::v1_only(), false);
        assert_eq!(
            v1,
            [
                "cpu.shares=3072",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "cpuset.cpus=0,1",
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=100663296",
            ]
        );
        let v2 = lines(&spec, &Layout::v2_only(), false);
        assert_eq!(
            v2,
            [
                "cpu.weight=300",
                "cpu.max=50000 100000",
                "cpuset.cpus=0,1",
                "memory.max=67108864",
                "memory.swap.max=33554432"
            ]
        );
    }

    #[test]
    fn no_limit_is_said_only_to_undo_one() {
        let spec = spec(serde_json::json!({}));
        assert_eq!(lines(&spec, &Layout::v2_only(), false), ["cpu.weight=100"]);
        assert_eq!(
            lines(&spec, &Layout::v2_only(), true),
            ["cpu.weight=100", "cpu.max=max 100000", "cpuset.cpus=0,1", "memory.max=max", "memory.swap.max=max"]
        );
        assert!(lines(&spec, &Layout::v1_only(), true).contains(&"memory.memsw.limit_in_bytes=-1".to_owned()));
    }

    #[test]
    fn limits_come_back_from_either_version() {
        let spec = spec(serde_json::json!({
            "cpu": {"cores": 2, "limit": 1.37, "weight": 7}, "memory": {"size": "64Mi", "swap": "0"}
        }));
        for layout in [Layout::v1_only(), Layout::v2_only()] {
            let all = settings(&spec, &layout, &[0, 1], true);
            let limits = Limits::read(|c, v, file| {
                let found = all.iter().find(|s| s.controller == c && s.file == file)?;
                (layout.version(c) == v).then(|| found.value.clone())
            });
            assert_eq!(
                limits,
                Limits {
                    cpus: Some(vec![0, 1]),
                    limit: Some(1.37),
                    weight: Some(7),
                    size: Some(Size::mib(64)),
                    swap: Some(Size(0))
                }
            );
        }
    }

    #[test]
    fn every_weight_survives_version_1() {
        for weight in 1..=10_000u32 {
            assert_eq!((shares(weight) * 100 + 512) / 1024, u64::from(weight));
        }
    }

    #[test]
    fn the_trees_of_a_host_are_told_apart() {
        let hybrid = Layout::of(
            "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
             cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
        );
        assert_eq!(hybrid.version(Controller::Cpu), Version::V1);
        assert_eq!(hybrid.version(Controller::Memory), Version::V2);
        let table = "4:cpu,cpuacct:/lxc.payload.x\n3:cpuset:/lxc.payload.x\n0::/lxc.payload.x";
        assert_eq!(hybrid.dir(Controller::Cpu, table).unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct/lxc.payload.x"));
        assert_eq!(hybrid.dir(Controller::Memory, table).unwrap(), Path::new("/sys/fs/cgroup/unified/lxc.payload.x"));
    }
}
