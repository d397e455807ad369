//! What a node is, found out without disturbing it.
//!
//! What the kernel tells is read every time. What programs must be started for (versions, what the hypervisor can do) is
//! found once per boot and set of programs, and kept in `node-facts.json` below the data directory: looking at a node
//! must cost a plan nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::Size;
use crate::base::exec::{self, Command};
use crate::drivers::guest::Capabilities;
use crate::kinds::World;

/// What a node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What the machine calls itself.
    pub hostname: String,
    /// The system, `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// The processors' model.
    pub processor: String,
    /// How many processors there are.
    pub cores: u32,
    /// How much memory there is.
    pub memory: Size,
    /// How groups of processes are limited.
    pub cgroups: Cgroups,
    /// Versions of what Reeve drives, where installed.
    pub versions: Versions,
    /// What the hypervisor can do, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<Hypervisor>,
}

/// How groups of processes are limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroups {
    /// Not at all.
    #[default]
    None,
    /// By separate hierarchies for each controller.
    V1,
    /// By one hierarchy.
    V2,
    /// By separate hierarchies, with an empty one of the new sort beside them.
    Hybrid,
}

/// Versions, as the programs say them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    /// libvirt's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<String>,
    /// QEMU's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu: Option<String>,
    /// LXC's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lxc: Option<String>,
}

/// What the hypervisor can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hypervisor {
    /// The accelerators that work, the best first.
    pub accelerators: Vec<String>,
    /// Whether there is UEFI firmware.
    pub uefi: bool,
    /// Whether there is UEFI firmware with secure boot.
    pub secure_boot: bool,
    /// Whether a trusted platform module can be emulated.
    pub tpm: bool,
}

impl From<Capabilities> for Hypervisor {
    fn from(found: Capabilities) -> Self {
        let Capabilities { accelerators, machines: _, cpus: _, uefi, secure_boot, tpm } = found;
        let word = |a: &crate::kinds::vm::Accelerator| {
            serde_json::to_value(a).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        Self { accelerators: accelerators.iter().map(word).collect(), uefi, secure_boot, tpm }
    }
}

/// The programs whose versions are told.
const PROGRAMS: [&str; 3] = ["libvirtd", "qemu-system-x86_64", "lxc-start"];

/// What was found by starting programs, and what it holds for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// The boot, and the programs with their sizes and times.
    of: String,
    versions: Versions,
    hypervisor: Option<Hypervisor>,
}

/// The facts of this node; `deep` finds out what is not kept yet.
pub async fn gather(world: &World, deep: bool) -> Facts {
    let mut facts = quick();
    let (file, of) = (world.data_dir.join("node-facts.json"), identity());
    let kept = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    if let Some(kept) = kept.filter(|k| k.of == of) {
        (facts.versions, facts.hypervisor) = (kept.versions, kept.hypervisor);
        return facts;
    }
    if !deep {
        return facts;
    }
    let (versions, capabilities) = tokio::join!(versions(), world.vms.capabilities());
    (facts.versions, facts.hypervisor) = (versions.clone(), capabilities.ok().map(Hypervisor::from));
    // A hypervisor that did not answer is asked again the next time.
    if facts.hypervisor.is_some() {
        keep(&file, &Kept { of, versions, hypervisor: facts.hypervisor.clone() });
    }
    facts
}

/// Keeps what was found; where that fails, it is found again.
fn keep(file: &Path, kept: &Kept) {
    let write = || -> std::io::Result<()> {
        let dir = file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let new = tempfile::NamedTempFile::new_in(dir)?;
        fs::write(new.path(), serde_json::to_vec(kept)?)?;
        new.persist(file)?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::debug!(%error, file = %file.display(), "the node's facts are not kept");
    }
}

/// What the facts that are kept hold for.
fn identity() -> String {
    let program = |path: PathBuf| {
        let meta = fs::metadata(&path).ok()?;
        Some(format!("{} {} {}", path.display(), meta.len(), meta.mtime()))
    };
    let programs = PROGRAMS.iter().filter_map(|p| exec::find(p)).filter_map(program);
    std::iter::once(line("/proc/sys/kernel/random/boot_id")).chain(programs).collect::<Vec<_>>().join("\n")
}

/// What the kernel and files tell.
pub fn quick() -> Facts {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m.to_owned());
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    Facts {
        hostname: line("/proc/sys/kernel/hostname"),
        system: pretty.map_or_else(String::new, |p| p.trim_matches('"').to_owned()),
        kernel: line("/proc/sys/kernel/osrelease"),
        architecture: std::env::consts::ARCH.to_owned(),
        processor: model.unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory: memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        cgroups: cgroups(&fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
        ..Facts::default()
    }
}

fn line(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn memory(meminfo: &str) -> Size {
    let total =
        meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Size(total.unwrap_or(0) << 10)
}

fn cgroups(mounts: &str) -> Cgroups {
    let has = |sort: &str| mounts.lines().any(|l| l.split(' ').nth(2) == Some(sort));
    match (has("cgroup"), has("cgroup2")) {
        (false, false) => Cgroups::None,
        (true, false) => Cgroups::V1,
        (false, true) => Cgroups::V2,
        (true, true) => Cgroups::Hybrid,
    }
}

/// The versions of what is installed.
pub async fn versions() -> Versions {
    let (libvirt, qemu, lxc) = tokio::join!(version(PROGRAMS[0]), version(PROGRAMS[1]), version(PROGRAMS[2]));
    Versions { libvirt, qemu, lxc }
}

/// The first number with dots in what a program says of its version.
async fn version(program: &str) -> Option<String> {
    let path = exec::find(program)?;
    let said = Command::new(path).arg("--version").deadline(std::time::Duration::from_secs(10)).run().await.ok()?;
    number(&said.text())
}

fn number(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.map(|w| w.trim_matches('.')).find(|w| w.contains('.')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(memory("MemTotal:       24689024 kB\nMemFree: 1 kB\n"), Size(24_689_024 << 10));
        assert_eq!(cgroups("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), Cgroups::V2);
        assert_eq!(cgroups("c /x cgroup rw,cpu 0 0\nd /y cgroup2 rw 0 0\n"), Cgroups::Hybrid);
        assert_eq!(cgroups("c /x cgroup rw,cpu 0 0\n"), Cgroups::V1);
        assert_eq!(cgroups("/dev/sda / ext4 rw 0 0\n"), Cgroups::None);
        let here = quick();
        assert!(here.cores > 0 && here.memory.bytes() > 0 && !here.kernel.is_empty() && !here.hostname.is_empty());
    }

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        assert_eq!(number("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)").as_deref(), Some("7.2.22"));
        assert_eq!(number("libvirtd (libvirt) 9.0.0\n").as_deref(), Some("9.0.0"));
        assert_eq!(number("5.0.2\n").as_deref(), Some("5.0.2"));
        assert_eq!(number("nothing"), None);
    }
}
