//! A container runtime in memory, for tests: what the real one promises, with faults on demand.
//!
//! Identity is checked before anything is touched, staged and live changes are told apart, and every changing call is
//! written down. With a file it keeps its state there, so that another process, or the same after a kill, sees what was
//! done.

mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;

use self::state::{Entry, Kept};
use super::running::{can_live, note, resize, stays};
use super::{Capabilities, Changed, CtDriver, Ended, Fill, Intent, Power, Record, Seen, Target};
use crate::base::{Fault, FaultKind, Name, Size};
use crate::kinds::container::CtSpec;

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

/// The container runtime; clones share their state.
#[derive(Default, Clone)]
pub struct Fake {
    inner: Arc<Mutex<Inner>>,
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
    /// Containers that cannot be looked at.
    hidden: Vec<String>,
}

impl Fake {
    /// A runtime without containers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A runtime whose state is in `file`, read before and written after every call.
    pub fn kept_in(file: &Path) -> Self {
        let inner = Inner { file: Some(file.to_owned()), ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)) }
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
        let mut inner = self.open();
        inner.troubles.clear();
        inner.hidden.clear();
    }

    /// Lets a guest ignore that it is asked to shut down.
    pub fn deafen(&self, name: &str) {
        self.open().deaf.push(name.to_owned());
    }

    /// Lets a container be there and not be readable.
    pub fn hide(&self, name: &str) {
        self.open().hidden.push(name.to_owned());
    }

    /// Lets a guest shut itself down or crash.
    pub fn end(&self, name: &str, how: Ended) {
        self.touch(name, |entry| entry.end(how));
    }

    /// Changes a container behind Reeve's back, in its configuration and while it runs.
    pub fn meddle(&self, name: &str, change: impl Fn(&mut CtSpec)) {
        self.touch(name, |entry| {
            change(&mut entry.configured);
            entry.running.iter_mut().for_each(&change);
        });
    }

    /// Changes only what runs behind Reeve's back.
    pub fn meddle_running(&self, name: &str, change: impl Fn(&mut CtSpec)) {
        self.touch(name, |entry| entry.running.iter_mut().for_each(&change));
    }

    /// Takes a container away behind Reeve's back, whether it runs or not.
    pub fn lose(&self, name: &str) {
        let mut inner = self.open();
        inner.kept.containers.remove(name);
        inner.save();
    }

    /// Puts a container in that Reeve does not know.
    pub fn put_foreign(&self, name: &str, spec: &CtSpec, power: Power) {
        let mut inner = self.open();
        inner.kept.containers.insert(name.to_owned(), Entry::foreign(spec, power));
        inner.save();
    }

    /// The places that were filled, and from what.
    pub fn filled(&self) -> BTreeMap<PathBuf, Option<PathBuf>> {
        self.open().kept.filled.clone()
    }

    fn touch(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        let mut inner = self.open();
        if let Some(entry) = inner.kept.containers.get_mut(name) {
            change(entry);
        }
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
        let trouble = {
            let mut inner = self.open();
            inner.calls.push(what.clone());
            let number = inner.calls.len();
            inner.troubles.get(&number).copied()
        };
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
    /// Reads the state again when it is kept in a file; without one yet there are no containers.
    fn load(&mut self) {
        let Some(file) = &self.file else { return };
        self.kept = match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                tracing::error!(file = %file.display(), error = %e, "the fake runtime's state cannot be read");
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
            tracing::error!(file = %file.display(), %error, "the fake runtime's state cannot be written");
        }
    }

    /// The container that is meant, after its identity was checked.
    fn entry(&mut self, target: &Target<'_>) -> Result<&mut Entry, Fault> {
        let missing = || Fault::new(FaultKind::NotFound, format!("there is no container {}", target.name));
        let entry = self.kept.containers.get_mut(target.name.as_str()).ok_or_else(missing)?;
        target.check(entry.record.as_ref())?;
        Ok(entry)
    }

    fn see(&self, name: &str) -> Option<Result<Seen, Fault>> {
        let entry = self.kept.containers.get(name)?;
        let hidden = self.hidden.iter().any(|h| h == name);
        let unreadable = || Fault::new(FaultKind::Unavailable, format!("container {name} cannot be read"));
        Some(if hidden { Err(unreadable()) } else { Ok(entry.seen()) })
    }
}

#[async_trait]
impl CtDriver for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        let cgroups = ["cpu", "cpuset", "memory", "devices"].map(|c| (c.to_owned(), 2)).into();
        Ok(Capabilities { version: "0".into(), cpus: 4, cgroups, swap: true, unprivileged: Ok(()) })
    }

    async fn list(&self) -> Result<BTreeMap<Name, Result<Seen, Fault>>, Fault> {
        let inner = self.open();
        let one = |name: &String| Some((Name::new(name).ok()?, inner.see(name)?));
        Ok(inner.kept.containers.keys().filter_map(one).collect())
    }

    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault> {
        self.open().see(name.as_str()).transpose()
    }

    async fn fill(&self, fill: &Fill) -> Result<(), Fault> {
        self.call(format!("fill {}", fill.place.path().display()), |inner| {
            let path = fill.place.path().clone();
            if !fill.keep || !inner.kept.filled.contains_key(&path) {
                inner.kept.filled.insert(path, fill.archive.clone());
            }
            Ok(())
        })
        .await
    }

    async fn define(&self, name: &Name, record: &Record) -> Result<(), Fault> {
        self.call(format!("define {name}"), |inner| {
            if let Some(entry) = inner.kept.containers.get(name.as_str()) {
                let target = Target { name, owner: Some(record.mark.uid) };
                return target.check(entry.record.as_ref()).map_err(|f| Fault { kind: FaultKind::Exists, ..f });
            }
            inner.kept.containers.insert(name.to_string(), Entry::new(record));
            Ok(())
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

    async fn reconfigure(
        &self,
        target: &Target<'_>,
        new: &Record,
        paths: &[String],
        now: bool,
    ) -> Result<Changed, Fault> {
        self.call(format!("reconfigure {} {}", target.name, paths.join(" ")), |inner| {
            let entry = inner.entry(target)?;
            let mut changed = Changed::default();
            entry.configure(new);
            let Some(running) = entry.running.as_mut().filter(|_| now) else {
                return Ok(Changed { staged: paths.to_vec(), ..changed });
            };
            for path in paths {
                if can_live(path, running, stays(path, &new.spec)) {
                    note(running, &new.spec, path);
                    changed.live.push(path.clone());
                } else {
                    changed.staged.push(path.clone());
                }
            }
            Ok(changed)
        })
        .await
    }

    async fn grow(&self, target: &Target<'_>, mount: Option<&Name>, to: Size) -> Result<(), Fault> {
        self.call(format!("grow {} {}", target.name, mount.map_or("rootfs", Name::as_str)), |inner| {
            let entry = inner.entry(target)?;
            if let Some(record) = &mut entry.record {
                match mount {
                    None => record.rootfs.size = Some(to),
                    Some(mount) => record.mounts.get_mut(mount).into_iter().for_each(|m| m.size = Some(to)),
                }
            }
            resize(&mut entry.configured, mount, to);
            entry.running.iter_mut().for_each(|r| resize(r, mount, to));
            Ok(())
        })
        .await
    }

    async fn start(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.call(format!("start {}", target.name), |inner| {
            inner.entry(target)?.start();
            Ok(())
        })
        .await
    }

    async fn shutdown(&self, target: &Target<'_>, _within: Duration, intent: Intent) -> Result<bool, Fault> {
        self.call(format!("shutdown {}", target.name), |inner| {
            let deaf = inner.deaf.iter().any(|d| d == target.name.as_str());
            let entry = inner.entry(target)?;
            entry.intend(intent);
            if !deaf {
                entry.end(Ended::Halted);
            }
            Ok(!entry.power.active())
        })
        .await
    }

    async fn kill(&self, target: &Target<'_>, intent: Intent) -> Result<(), Fault> {
        self.call(format!("kill {}", target.name), |inner| {
            let entry = inner.entry(target)?;
            entry.intend(intent);
            entry.end(Ended::Failed);
            Ok(())
        })
        .await
    }

    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.call(format!("undefine {}", target.name), |inner| {
            if !inner.kept.containers.contains_key(target.name.as_str()) {
                return Ok(());
            }
            if inner.entry(target)?.power.active() {
                return Err(Fault::new(FaultKind::Busy, format!("container {} still runs", target.name)));
            }
            inner.kept.containers.remove(target.name.as_str());
            Ok(())
        })
        .await
    }

    async fn console(&self, target: &Target<'_>) -> Result<Vec<String>, Fault> {
        let mut inner = self.open();
        if inner.entry(target)?.power.active() {
            return Ok(["echo", "console of", target.name.as_str()].map(String::from).into());
        }
        Err(Fault::new(FaultKind::Unavailable, format!("container {} does not run", target.name)))
    }

    fn watch(&self) -> BoxStream<'static, Name> {
        let fake = self.clone();
        let state = (fake, None::<BTreeMap<String, Entry>>, Vec::<Name>::new());
        futures::stream::unfold(state, |(fake, mut known, mut queue)| async move {
            loop {
                if let Some(name) = queue.pop() {
                    return Some((name, (fake, known, queue)));
                }
                let now = fake.open().kept.containers.clone();
                if let Some(before) = &known {
                    let names = before.keys().chain(now.keys().filter(|n| !before.contains_key(*n)));
                    let changed = names.filter(|n| before.get(*n) != now.get(*n));
                    queue.extend(changed.filter_map(|n| Name::new(n).ok()));
                }
                known = Some(now);
                if queue.is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        })
        .boxed()
    }
}
