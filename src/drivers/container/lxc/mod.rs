//! Containers by LXC: its programs start and stop them, its configuration files hold them, and the kernel's own
//! interfaces (cgroups, network namespaces, mounts) change them while they run.
//!
//! ```text
//! /var/lib/lxc/NAME/config         LXC's configuration; our lines and, below a marker, others'
//!                   reeve.json     our record: mark, spec, where each file system and bridge is; no record, not ours
//!                   running.json   what runs, while that is no longer what is configured
//!                   lxc.log        what LXC said of the last run; tells a shutdown from a crash
//!                   seccomp root/ mounts/NAME devices/NAME     what the configuration refers to
//! ```
//! `config` renders and reads, `seen` observes, `rootfs` makes file systems, `power` starts and stops, `change` changes,
//! with `cgroup`, `net`, `graft`, `files` and `device` for the parts of it.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::{Capabilities, Changed, CtDriver, Fill, Intent, Record, Seen, Target};
use crate::base::exec::Command;
use crate::base::{Attempt as _, Fault, FaultKind, Name, Size};

mod apart;
mod cgroup;
mod change;
mod config;
mod device;
mod files;
mod graft;
mod host;
mod keep;
mod net;
mod power;
mod rootfs;
mod seen;
mod watch;

use cgroup::{Controller, Layout, Version};
use files::Root;
use host::{Host, Ids, Paths};

/// Containers by LXC below one directory.
#[derive(Debug)]
pub struct Lxc {
    paths: Paths,
}

/// A call of one of LXC's programs for a container.
fn program(program: &str, host: &Host, name: &Name) -> Command {
    Command::new(program).arg("-P").arg(host.paths.root()).args(["-n", name.as_str()])
}

impl Default for Lxc {
    fn default() -> Self {
        Self::below("/var/lib/lxc")
    }
}

impl Lxc {
    /// Containers below `root`, LXC's `lxc.lxcpath`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { paths: Paths::below(root) }
    }

    /// What this host is like now.
    fn host(&self) -> Result<Host, Fault> {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").attempt(|| "counting processors")?;
        let cpus = host::numbers(&online);
        Ok(Host { paths: self.paths.clone(), layout: Layout::detect()?, ids: Ids::of_root(), cpus })
    }
}

#[async_trait]
impl CtDriver for Lxc {
    fn name(&self) -> &'static str {
        "lxc"
    }

    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        let host = self.host()?;
        let version = |c: &Controller| match host.layout.version(*c) {
            Version::V1 => 1,
            Version::V2 => 2,
        };
        let cgroups = Controller::ALL.iter().map(|c| (c.word().to_owned(), version(c))).collect();
        Ok(Capabilities {
            version: seen::version().await?,
            cpus: u32::try_from(host.cpus.len()).unwrap_or(u32::MAX),
            cgroups,
            swap: host.layout.swap(),
            unprivileged: host.ids.map(drop).map_err(|f| f.message),
        })
    }

    async fn list(&self) -> Result<std::collections::BTreeMap<Name, Result<Seen, Fault>>, Fault> {
        seen::list(&self.host()?).await
    }

    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault> {
        seen::find(&self.host()?, name).await
    }

    async fn fill(&self, fill: &Fill) -> Result<(), Fault> {
        rootfs::fill(fill, &self.host()?).await
    }

    async fn define(&self, name: &Name, record: &Record) -> Result<(), Fault> {
        let host = self.host()?;
        let dir = host.paths.dir(name);
        std::fs::create_dir_all(&dir).attempt(|| format!("making the directory {}", dir.display()))?;
        let _lock = keep::lock(&host.paths, name).await?;
        if let Some(files) = seen::files(&host, name)? {
            let target = Target { name, owner: Some(record.mark.uid) };
            return target.check(files.record.as_ref()).map_err(|f| Fault { kind: FaultKind::Exists, ..f });
        }
        let text = config::render(name, record, &host, &[])?;
        power::points(&host, name, record)?;
        keep::remove(&host.paths.log(name))?;
        // The mark is there before the container is.
        keep::put_record(&host.paths, name, record)?;
        keep::write(&host.paths.config(name), &text)?;
        keep::sync_dir(host.paths.root())
    }

    async fn set_record(&self, target: &Target<'_>, record: &Record) -> Result<(), Fault> {
        let host = self.host()?;
        let _lock = keep::lock(&host.paths, target.name).await?;
        let files = seen::files(&host, target.name)?
            .ok_or_else(|| Fault::new(FaultKind::NotFound, format!("there is no container {}", target.name)))?;
        target.check(files.record.as_ref())?;
        keep::put_record(&host.paths, target.name, record)
    }

    async fn reconfigure(
        &self,
        target: &Target<'_>,
        new: &Record,
        paths: &[String],
        now: bool,
    ) -> Result<Changed, Fault> {
        let host = self.host()?;
        let _lock = keep::lock(&host.paths, target.name).await?;
        change::reconfigure(&host, target, new, paths, now).await
    }

    async fn grow(&self, target: &Target<'_>, mount: Option<&Name>, to: Size) -> Result<(), Fault> {
        let host = self.host()?;
        let _lock = keep::lock(&host.paths, target.name).await?;
        change::grow(&host, target, mount, to).await
    }

    async fn start(&self, target: &Target<'_>) -> Result<(), Fault> {
        let host = self.host()?;
        let _lock = keep::lock(&host.paths, target.name).await?;
        let (files, _) = power::held(&host, target).await?;
        let record = files.record.ok_or_else(|| {
            Fault::new(FaultKind::Identity, format!("container {} is not ours to start", target.name))
        })?;
        power::start(&host, target.name, record).await
    }

    async fn shutdown(&self, target: &Target<'_>, within: Duration, intent: Intent) -> Result<bool, Fault> {
        let host = self.host()?;
        let _lock = keep::lock(&host.paths, target.name).await?;
        power::intend(&host, target, intent).await?;
        power::shutdown(&host, target.name, within).await
    }

    async fn kill(&self, target: &Target<'_>, intent: Intent) -> Result<(), Fault> {
        let host = self.host()?;
        let _lock = keep::lock(&host.paths, target.name).await?;
        power::intend(&host, target, intent).await?;
        power::kill(&host, target.name).await
    }

    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault> {
        let host = self.host()?;
        let name = target.name;
        let dir = host.paths.dir(name);
        if !dir.exists() {
            return Ok(());
        }
        let _lock = keep::lock(&host.paths, name).await?;
        target.check(keep::record(&host.paths, name)?.as_ref())?;
        if host.paths.config(name).exists() && seen::state(&host, name).await?.power.active() {
            return Err(Fault::new(FaultKind::Busy, format!("container {name} still runs, and is not removed")));
        }
        host.layout.sweep(name);
        // Without a configuration it is no container; without a record it is not ours. In that order.
        keep::remove(&host.paths.config(name))?;
        keep::sync_dir(&dir)?;
        clear(&host, name)?;
        keep::remove(&host.paths.record(name))?;
        // What others put there stays, and so does the directory then.
        let _ = std::fs::remove_dir(&dir);
        keep::sync_dir(host.paths.root())
    }

    async fn console(&self, target: &Target<'_>) -> Result<Vec<String>, Fault> {
        let host = self.host()?;
        let (_, state) = power::held(&host, target).await?;
        if !state.power.active() {
            let fault = Fault::new(FaultKind::Unavailable, format!("container {} does not run", target.name));
            return Err(fault.help(format!("start it with `reeve start ct/{}`", target.name)));
        }
        let root = host.paths.root().display().to_string();
        Ok(["lxc-attach", "-P", &root, "-n", target.name.as_str()].map(String::from).into())
    }

    fn watch(&self) -> BoxStream<'static, Name> {
        watch::watch(self.paths.clone()).boxed()
    }
}

/// Removes what our configuration referred to in a container's directory.
fn clear(host: &Host, name: &Name) -> Result<(), Fault> {
    for file in [host.paths.running(name), host.paths.log(name), host.paths.seccomp(name)] {
        keep::remove(&file)?;
    }
    let dir = host.paths.dir(name);
    for sub in ["devices", "mounts"] {
        for entry in std::fs::read_dir(dir.join(sub)).into_iter().flatten().flatten() {
            // Mount points are empty: nothing is mounted there but in a monitor's own namespace.
            let path = entry.path();
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
        }
        let _ = std::fs::remove_dir(dir.join(sub));
    }
    let _ = std::fs::remove_dir(host.paths.root_point(name));
    Ok(())
}
