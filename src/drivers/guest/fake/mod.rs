//! A hypervisor in memory, for tests: what the real one promises, with faults on demand.
//!
//! It keeps to the trait's words: what only the record knows is not given back, `auto` and `q35` are resolved, hotplug
//! has its limits, identity is checked before anything is touched. Every call is written down. With a file it keeps
//! its state there, so that another process, or the same after a kill, sees what was done.

mod change;
mod snapshot;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use self::state::{Entry, Kept};
use super::{
    Balloons, Capabilities, Changed, Domain, Machine, Power, Record, SecretValues, Shared, Stop, Target, VmDriver,
};
use crate::base::{Fault, FaultKind, Name, Size};
use crate::kinds::vm::Accelerator;

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It fails and does nothing.
    Fails(FaultKind),
    /// It does its work, and then says that it failed.
    FailsAfter(FaultKind),
    /// It takes this long.
    Slow(Duration),
}

/// The hypervisor.
#[derive(Default)]
pub struct Fake {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    kept: Kept,
    file: Option<PathBuf>,
    /// The calls that change something, in order: `define web-1`.
    calls: Vec<String>,
    /// By the number of the changing call, from 1.
    troubles: BTreeMap<usize, Trouble>,
    /// Guests that do not shut down when asked.
    deaf: Vec<String>,
    /// Paths whose hotplug the guest refuses.
    stiff: Vec<String>,
    /// What the host has, and what of it is available when no guest lends anything.
    memory: (Size, Size),
}

impl Fake {
    /// A hypervisor without guests.
    pub fn new() -> Self {
        Self::default()
    }

    /// A hypervisor whose state is in `file`, read before and written after every call.
    pub fn kept_in(file: &Path) -> Self {
        Self { inner: Mutex::new(Inner { file: Some(file.to_owned()), ..Inner::default() }) }
    }

    /// The calls so far that changed or tried to change something.
    pub fn calls(&self) -> Vec<String> {
        self.open().calls.clone()
    }

    /// Forgets the calls so far, so that the next has number 1 again.
    pub fn forget_calls(&self) {
        self.open().calls.clear();
    }

    /// Lets the changing call of that number, from 1, go wrong.
    pub fn trouble(&self, call: usize, trouble: Trouble) {
        self.open().troubles.insert(call, trouble);
    }

    /// Takes all troubles back.
    pub fn calm(&self) {
        self.open().troubles.clear();
    }

    /// Lets a guest ignore that it is asked to shut down.
    pub fn deafen(&self, name: &str) {
        self.open().deaf.push(name.to_owned());
    }

    /// Lets a guest refuse to take a change at `path` while it runs.
    pub fn stiffen(&self, path: &str) {
        self.open().stiff.push(path.to_owned());
    }

    /// Says how much memory the host has, and how much of it is available while no guest lends any.
    pub fn host_memory(&self, total: Size, available: Size) {
        self.open().memory = (total, available);
    }

    /// What a running guest has.
    pub fn memory_of(&self, name: &str) -> Option<Size> {
        self.open().kept.domains.get(name).and_then(Entry::memory)
    }

    /// Lets a guest shut itself down, crash, or be switched off by someone else.
    pub fn end(&self, name: &str, how: Stop) {
        let mut inner = self.open();
        if let Some(entry) = inner.kept.domains.get_mut(name) {
            entry.end(how);
        }
        inner.save();
    }

    /// Changes a machine behind Reeve's back, in its configuration and while it runs.
    pub fn meddle(&self, name: &str, change: impl Fn(&mut Machine)) {
        let mut inner = self.open();
        if let Some(entry) = inner.kept.domains.get_mut(name) {
            change(&mut entry.configured);
            entry.running.iter_mut().for_each(&change);
        }
        inner.save();
    }

    /// Takes the seed out of a running machine's drive, as an exchange that was broken off leaves it.
    pub fn eject_seed(&self, name: &str) {
        let mut inner = self.open();
        let entry = inner.kept.domains.get_mut(name);
        if let Some(seed) = entry.and_then(|e| e.running.as_mut()).and_then(|m| m.seed.as_mut()) {
            seed.clear();
        }
        inner.save();
    }

    /// Takes a machine away behind Reeve's back, whether it runs or not.
    pub fn lose(&self, name: &str) {
        let mut inner = self.open();
        inner.kept.domains.remove(name);
        inner.save();
    }

    /// Puts a machine in that Reeve does not know, with devices that have no names of ours.
    pub fn put_foreign(&self, name: &str, machine: &Machine, power: Power) {
        let mut inner = self.open();
        let entry = Entry::foreign(Uuid::new_v4(), machine, power);
        inner.kept.domains.insert(name.to_owned(), entry);
        inner.save();
    }

    fn open(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.load();
        inner
    }

    /// Does one changing call, with the trouble that was ordered for it.
    async fn call<T>(
        &self,
        what: String,
        work: impl FnOnce(&mut Inner) -> Result<T, Fault> + Send,
    ) -> Result<T, Fault> {
        let (trouble, delay) = {
            let mut inner = self.open();
            inner.calls.push(what.clone());
            let number = inner.calls.len();
            (inner.troubles.get(&number).copied(), Duration::from_millis(inner.kept.delay))
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let failed = |kind| Fault::new(kind, format!("{what} was told to fail"));
        match trouble {
            Some(Trouble::Fails(kind)) => return Err(failed(kind)),
            Some(Trouble::Slow(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        let mut inner = self.open();
        let done = work(&mut inner);
        inner.save();
        match trouble {
            Some(Trouble::FailsAfter(kind)) => Err(failed(kind)),
            _ => done,
        }
    }
}

impl Inner {
    /// Reads the state again when it is kept in a file; without one yet there are no guests.
    fn load(&mut self) {
        let Some(file) = &self.file else { return };
        self.kept = match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                tracing::error!(file = %file.display(), error = %e, "the fake hypervisor's state cannot be read");
                Kept::default()
            }),
            Err(_) => Kept::default(),
        };
    }

    /// Writes the state, whole or not at all.
    fn save(&self) {
        let Some(file) = &self.file else { return };
        let written = serde_json::to_vec(&self.kept).map_err(std::io::Error::other).and_then(|bytes| {
            let folder = file.parent().unwrap_or(Path::new("."));
            let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut fresh, &bytes)?;
            fresh.persist(file).map(drop).map_err(|e| e.error)
        });
        if let Err(error) = written {
            tracing::error!(file = %file.display(), %error, "the fake hypervisor's state cannot be written");
        }
    }

    /// The machine that is meant, after its identity was checked.
    fn entry(&mut self, target: &Target<'_>) -> Result<&mut Entry, Fault> {
        let missing = || Fault::new(FaultKind::NotFound, format!("there is no domain {}", target.name));
        let entry = self.kept.domains.get_mut(target.name).ok_or_else(missing)?;
        if entry.uuid != target.uuid {
            let message = format!("domain {} has uuid {}, not {}", target.name, entry.uuid, target.uuid);
            return Err(Fault::new(FaultKind::Identity, message));
        }
        target.check_owner(entry.record.as_ref())?;
        Ok(entry)
    }
}

#[async_trait]
impl Balloons for Fake {
    async fn shared(&self, guests: &[Uuid]) -> Result<Shared, Fault> {
        let inner = self.open();
        let of = |e: &Entry| Some((e.uuid, e.memory()?));
        let lent = |e: &Entry| e.memory().map_or(0, |now| e.configured.spec.memory().size().0.saturating_sub(now.0));
        let (total, available) = inner.memory;
        let available = Size(available.0 + inner.kept.domains.values().map(lent).sum::<u64>());
        let guests = inner.kept.domains.values().filter(|e| guests.contains(&e.uuid)).filter_map(of).collect();
        Ok(Shared { total, available, guests })
    }

    async fn lend(&self, target: &Target<'_>, size: Size) -> Result<(), Fault> {
        self.call(format!("lend {} {size}", target.name), |inner| {
            if let Some(running) = &mut inner.entry(target)?.running {
                running.spec.memory.get_or_insert_default().size = Some(size);
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl VmDriver for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        Ok(Capabilities {
            accelerators: vec![Accelerator::Tcg],
            machines: vec![state::Q35.into(), state::PC.into()],
            cpus: vec!["qemu64".into()],
            uefi: true,
            secure_boot: true,
            tpm: true,
        })
    }

    async fn list(&self) -> Result<BTreeMap<String, Result<Domain, Fault>>, Fault> {
        Ok(self.open().kept.domains.iter().map(|(name, e)| (name.clone(), Ok(e.domain(name)))).collect())
    }

    async fn find(&self, name: &str) -> Result<Option<Domain>, Fault> {
        Ok(self.open().kept.domains.get(name).map(|e| e.domain(name)))
    }

    async fn define(
        &self,
        name: &str,
        uuid: Uuid,
        machine: &Machine,
        record: &Record,
        _secrets: &SecretValues,
    ) -> Result<(), Fault> {
        self.call(format!("define {name}"), |inner| {
            if let Some(old) = inner.kept.domains.get_mut(name) {
                Target { name, uuid, owner: Some(record.mark.uid) }.check_owner(old.record.as_ref())?;
                if old.uuid != uuid {
                    return Err(Fault::new(FaultKind::Exists, format!("domain {name} has another uuid")));
                }
                old.configured = machine.clone();
                old.record = Some(record.clone());
                return Ok(());
            }
            inner.kept.domains.insert(name.to_owned(), Entry::new(uuid, machine, record));
            Ok(())
        })
        .await
    }

    async fn reconfigure(
        &self,
        target: &Target<'_>,
        _old: &Domain,
        new: &Machine,
        paths: &[String],
        _secrets: &SecretValues,
        now: bool,
    ) -> Result<Changed, Fault> {
        let mode = if now { "now" } else { "later" };
        self.call(format!("reconfigure {} {mode}: {}", target.name, paths.join(" ")), |inner| {
            let stiff = inner.stiff.clone();
            change::apply(inner.entry(target)?, new, paths, &stiff, now)
        })
        .await
    }

    async fn set_record(&self, target: &Target<'_>, record: &Record) -> Result<(), Fault> {
        self.call(format!("set_record {}", target.name), |inner| {
            inner.entry(target)?.record = Some(record.clone());
            Ok(())
        })
        .await
    }

    fn balloons(&self) -> Option<&dyn Balloons> {
        Some(self)
    }

    async fn start(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.call(format!("start {}", target.name), |inner| {
            inner.entry(target)?.start();
            Ok(())
        })
        .await
    }

    async fn shutdown(&self, target: &Target<'_>, _within: Duration) -> Result<bool, Fault> {
        self.call(format!("shutdown {}", target.name), |inner| {
            let deaf = inner.deaf.iter().any(|n| n == target.name);
            let entry = inner.entry(target)?;
            if deaf && entry.power.active() {
                return Ok(false);
            }
            entry.end(Stop::Shutdown);
            Ok(true)
        })
        .await
    }

    async fn destroy(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.call(format!("destroy {}", target.name), |inner| {
            inner.entry(target)?.end(Stop::Destroyed);
            Ok(())
        })
        .await
    }

    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.call(format!("undefine {}", target.name), |inner| {
            if !inner.kept.domains.contains_key(target.name) {
                return Ok(());
            }
            if inner.entry(target)?.power.active() {
                return Err(Fault::new(FaultKind::Busy, format!("domain {} runs", target.name)));
            }
            inner.kept.domains.remove(target.name);
            Ok(())
        })
        .await
    }

    async fn console(&self, target: &Target<'_>) -> Result<PathBuf, Fault> {
        if self.open().entry(target)?.power.active() {
            return Ok(PathBuf::from("/dev/null"));
        }
        Err(Fault::new(FaultKind::Invalid, format!("domain {} does not run", target.name)))
    }

    fn snapshots(&self) -> Option<&dyn super::GuestSnapshots> {
        Some(self)
    }
}

/// A device's name of ours, `root` of `disks.root.size`.
fn device<'a>(path: &'a str, section: &str) -> Option<(Name, Option<&'a str>)> {
    let rest = path.strip_prefix(section)?.strip_prefix('.')?;
    let (name, field) = rest.split_once('.').map_or((rest, None), |(n, f)| (n, Some(f)));
    Some((Name::new(name).ok()?, field))
}
