//! What of this host a container's configuration depends on: paths, id ranges, processors, and the cgroup tree.

use std::path::{Path, PathBuf};

use super::cgroup::Layout;
use crate::base::{Fault, FaultKind, Name};

/// Where the files of containers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(PathBuf);

impl Paths {
    /// Containers below `root`, LXC's `lxc.lxcpath`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    /// LXC's own root.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The container's directory.
    pub fn dir(&self, name: &Name) -> PathBuf {
        self.0.join(name.as_str())
    }

    /// LXC's configuration of it.
    pub fn config(&self, name: &Name) -> PathBuf {
        self.dir(name).join("config")
    }

    /// Our record of it.
    pub fn record(&self, name: &Name) -> PathBuf {
        self.dir(name).join("reeve.json")
    }

    /// What runs, where that is no longer what is configured.
    pub fn running(&self, name: &Name) -> PathBuf {
        self.dir(name).join("running.json")
    }

    /// What LXC said of the last run.
    pub fn log(&self, name: &Name) -> PathBuf {
        self.dir(name).join("lxc.log")
    }

    /// The system calls it may not make.
    pub fn seccomp(&self, name: &Name) -> PathBuf {
        self.dir(name).join("seccomp")
    }

    /// Where its root file system is mounted, seen by its monitor only.
    pub fn root_point(&self, name: &Name) -> PathBuf {
        self.dir(name).join("root")
    }

    /// Where one of its mounts is mounted first, seen by its monitor only.
    pub fn mount_point(&self, name: &Name, mount: &Name) -> PathBuf {
        self.dir(name).join("mounts").join(mount.as_str())
    }

    /// The node of one of its devices.
    pub fn device(&self, name: &Name, device: &Name) -> PathBuf {
        self.dir(name).join("devices").join(device.as_str())
    }
}

/// A range of the host's ids that a container's ids from 0 stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id on the host.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// The ids of containers without privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Users.
    pub users: Range,
    /// Groups.
    pub groups: Range,
}

impl Ids {
    /// The first range of at least 65,536 ids that root may use, from `/etc/subuid` and `/etc/subgid`.
    pub fn of_root() -> Result<Self, Fault> {
        Ok(Self { users: range(Path::new("/etc/subuid"))?, groups: range(Path::new("/etc/subgid"))? })
    }
}

fn range(file: &Path) -> Result<Range, Fault> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    first_range(&text).ok_or_else(|| {
        Fault::new(
            FaultKind::Unsupported,
            format!(
                "containers without privileges need a range of 65536 ids for root, and {} has none",
                file.display()
            ),
        )
        .help(format!("add the line `root:100000:65536` to {}", file.display()))
    })
}

fn first_range(text: &str) -> Option<Range> {
    text.lines().find_map(|line| {
        let mut parts = line.trim().split(':');
        let user = parts.next()?;
        let first = parts.next()?.parse().ok()?;
        let count: u32 = parts.next()?.parse().ok()?;
        (matches!(user, "root" | "0") && count >= 65_536 && first > 0).then_some(Range { first, count: 65_536 })
    })
}

/// What rendering and reading a configuration needs to know of this host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where the files are.
    pub paths: Paths,
    /// Which controllers are where.
    pub layout: Layout,
    /// The ids of containers without privileges, or what is missing.
    pub ids: Result<Ids, Fault>,
    /// The processors containers may use.
    pub cpus: Vec<u32>,
}

/// Numbers of a list such as `0-2,5`, in order.
pub fn numbers(list: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for part in list.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            found.extend(first..=last.min(first.saturating_add(8191)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_root_is_found() {
        assert_eq!(
            first_range("# x\nme:1:65536\nroot:5:10\nroot:100000:200000\n"),
            Some(Range { first: 100_000, count: 65_536 })
        );
        assert_eq!(first_range("me:100000:65536\n"), None);
        assert_eq!(first_range("root:0:65536\n"), None, "the host's own root must not be mapped");
    }

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers(""), Vec::<u32>::new());
    }
}
