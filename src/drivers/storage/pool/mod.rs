//! What all types have in common whose volumes are entries of a volume manager, such as ZFS and LVM.
//!
//! A type says how its entries are read and changed, one command a method, as a [`Pool`]; [`Pooled`] keeps the contract
//! of storages with it: the lock of the name, mark and size read again under it, one owner, no shrinking, and volumes
//! that are seen only when they are whole. An entry that has to be filled is made as *unfinished*, in the same command
//! as its mark, and that word is taken off when it is filled; a crash between leaves an unfinished entry, which no
//! listing shows as a volume, and `leftovers` and `clean` find.

mod blank;
mod create;
mod kind;
mod open;
mod said;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::blank::Blank;
use self::blank::bad_device;
pub use self::kind::{PoolType, bad_devices, devices_only};
pub use self::open::not_open;
pub use self::said::{Saying, explain};
use super::lock::Lock;
use super::offload::Offload;
use super::rules::{self, same_mark};
use super::{
    Abilities, Attachment, Clones, Marked, NewVolume, OnProgress, RollBack, Snapshots, Storage, Usage, VolumeInfo, dir,
};
use crate::base::{Attempt as _, Fault, FaultKind, Mark, Name, Size};
use crate::kinds::storage::Content;

/// How long a volume may be locked by another before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many changes of one storage are under way at once, and how long another waits for its turn.
const TURNS: usize = 8;
const QUEUE: Duration = Duration::from_secs(300);
/// How long looking at an image may take.
const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
/// The lock on the storage's own mark; no volume's name starts with '.'.
const ROOT_LOCK: &str = ".storage";
/// Where lock files are: on this node only, and gone when it restarts.
const LOCKS: &str = "/run/lock/reeve";

/// One entry of a volume manager, as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The volume that it is.
    pub info: VolumeInfo,
    /// Whether it was never filled to its end.
    pub unfinished: bool,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<String>,
    /// What else hangs on it and would go with it, in words.
    pub below: Option<String>,
}

/// What a volume manager can do with its entries; each change is one command, and none asks whose the entry is.
#[async_trait]
pub trait Pool: Send + Sync {
    /// What the type can do.
    fn abilities(&self) -> &'static Abilities;
    /// The number of bytes that every size is a multiple of.
    fn granule(&self) -> u64;
    /// Why no entry can have this name, when that is so.
    fn misfit(&self, name: &str) -> Option<String>;
    /// Makes the place ready.
    async fn activate(&self) -> Result<(), Fault>;
    /// How full it is.
    async fn usage(&self) -> Result<Usage, Fault>;
    /// Every entry, or the one of that name, in one or two commands; `NotFound` when the place is not there.
    async fn read(&self, name: Option<&str>) -> Result<Vec<Entry>, Fault>;
    /// Makes an empty entry with its mark; `unfinished` says that it will be filled.
    async fn make(&self, new: &NewVolume, unfinished: bool) -> Result<(), Fault>;
    /// The device of a fresh entry, to be filled, and whether it reads as zeroes.
    async fn device(&self, name: &str) -> Result<(PathBuf, bool), Fault>;
    /// Says that an entry is whole.
    async fn finish(&self, name: &str) -> Result<(), Fault>;
    /// Makes an entry larger.
    async fn resize(&self, info: &VolumeInfo, to: Size) -> Result<(), Fault>;
    /// Replaces the mark of an entry.
    async fn set_mark(&self, name: &str, to: &Mark) -> Result<(), Fault>;
    /// Removes an entry with its snapshots; `Busy` when something has it open.
    async fn destroy(&self, entry: &Entry) -> Result<(), Fault>;
    /// How a guest reaches it, opened for that.
    async fn open(&self, info: &VolumeInfo) -> Result<Attachment, Fault>;
    /// The opposite of `open`.
    async fn close(&self, info: &VolumeInfo) -> Result<(), Fault>;
    /// The mark on the place itself; `NotFound` when the place is not there.
    async fn place_mark(&self) -> Result<Option<Mark>, Fault>;
    /// Replaces or removes the mark on the place itself.
    async fn set_place_mark(&self, to: Option<&Mark>) -> Result<(), Fault>;
    /// Takes a snapshot.
    async fn snapshot(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault>;
    /// Goes back to a snapshot.
    async fn roll_back(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault>;
    /// Removes a snapshot; `Busy` when a clone hangs on it.
    async fn drop_snapshot(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault>;
    /// Makes an entry that shares a snapshot's blocks, with its mark; `unfinished` says that it will be made larger.
    async fn clone_snapshot(
        &self,
        new: &NewVolume,
        origin: &VolumeInfo,
        snapshot: &str,
        unfinished: bool,
    ) -> Result<(), Fault>;
}

/// A storage in a volume manager.
#[derive(Debug)]
pub struct Pooled<P> {
    name: Name,
    content: Vec<Content>,
    locks: PathBuf,
    offload: Offload,
    turns: Arc<Semaphore>,
    pool: P,
}

/// The lock on a name, and a turn among the changes of one storage.
#[derive(Debug)]
struct Guard {
    _lock: Lock,
    _turn: OwnedSemaphorePermit,
}

impl<P: Pool> Pooled<P> {
    /// The storage `name` for these contents; `place` is the same for all storages in the same place.
    pub fn new(name: &Name, place: &str, content: Option<Vec<Content>>, pool: P) -> Self {
        let content = content.unwrap_or_else(|| pool.abilities().content.to_vec());
        let locks = PathBuf::from(LOCKS).join(place.replace('/', ":"));
        Self {
            name: name.clone(),
            content,
            locks,
            offload: Offload::new(DEADLINE),
            turns: Arc::new(Semaphore::new(TURNS)),
            pool,
        }
    }

    /// Takes the lock on a volume's name; a name that is busy for long is given up.
    async fn lock(&self, what: &str, name: &str) -> Result<Guard, Fault> {
        let attempt = || format!("storage/{}: cannot {what}", self.name);
        std::fs::create_dir_all(&self.locks).attempt(attempt)?;
        let begun = tokio::time::Instant::now();
        loop {
            if let Some(lock) = Lock::take(&self.locks, name).map_err(|f| f.context(attempt()))? {
                // Only who has a lock waits here, so nobody who has a turn waits for a lock.
                let turn = tokio::time::timeout(QUEUE, self.turns.clone().acquire_owned()).await;
                let Ok(Ok(turn)) = turn else {
                    let message = format!("{}: {TURNS} earlier changes have not come back", attempt());
                    return Err(
                        Fault::new(FaultKind::Unavailable, message).help("see whether its volume manager answers")
                    );
                };
                return Ok(Guard { _lock: lock, _turn: turn });
            }
            if begun.elapsed() > PATIENCE {
                let message = format!("{}: something else is being done to it", attempt());
                return Err(Fault::new(FaultKind::Busy, message).help("wait until it is done, and try again"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Refuses names that no volume of this storage has.
    fn check_name(&self, name: &str) -> Result<(), Fault> {
        dir::check_name(name)?;
        match self.pool.misfit(name) {
            None => Ok(()),
            Some(why) => Err(rules::invalid(&self.name, name, &why).help("choose a name of letters, digits and '-'")),
        }
    }

    fn about(&self, what: &str, name: &str, fault: Fault) -> Fault {
        fault.context(format!("storage/{}: cannot {what} the volume {name:?}", self.name))
    }

    /// The entry of that name, finished or not.
    async fn entry(&self, what: &str, name: &str) -> Result<Option<Entry>, Fault> {
        self.check_name(name)?;
        let entries = self.pool.read(Some(name)).await.map_err(|f| self.about(what, name, f))?;
        Ok(entries.into_iter().find(|e| e.info.name == name))
    }

    /// The volume of that name.
    async fn volume(&self, what: &str, name: &str) -> Result<Option<Entry>, Fault> {
        Ok(self.entry(what, name).await?.filter(|e| !e.unfinished))
    }

    /// Locks the name, and finds the volume that carries the mark `expect`.
    async fn hold(&self, what: &str, name: &str, expect: Option<&Mark>) -> Result<(Guard, Option<Entry>), Fault> {
        self.check_name(name)?;
        let lock = self.lock(&format!("{what} the volume {name:?}"), name).await?;
        let found = self.volume(what, name).await?;
        if let Some(entry) = &found {
            same_mark(&self.name, &entry.info, expect)?;
        }
        Ok((lock, found))
    }

    /// The same, for a call that needs the volume to be there.
    async fn hold_one(&self, what: &str, name: &str, expect: Option<&Mark>) -> Result<(Guard, Entry), Fault> {
        let (lock, found) = self.hold(what, name, expect).await?;
        Ok((lock, found.ok_or_else(|| self.missing(name))?))
    }

    fn missing(&self, name: &str) -> Fault {
        Fault::new(FaultKind::NotFound, format!("storage/{} has no volume {name:?}", self.name))
    }

    /// Removes what is unfinished of that name; the caller has the lock.
    async fn clear(&self, name: &str) -> Result<(), Fault> {
        match self.entry("clear away", name).await? {
            Some(entry) if entry.unfinished => self.pool.destroy(&entry).await,
            _ => Ok(()),
        }
    }

    /// Refuses what a volume of this type has no snapshots for.
    fn can_snapshot(&self, info: &VolumeInfo) -> Result<(), Fault> {
        if self.pool.abilities().snapshots.contains(&info.format) {
            return Ok(());
        }
        let message =
            format!("the volume {:?} of storage/{} is {} and has no snapshots", info.name, self.name, info.format);
        Err(Fault::new(FaultKind::Unsupported, message).help("keep it on a storage whose type has them"))
    }
}

#[async_trait]
impl<P: Pool> Storage for Pooled<P> {
    fn abilities(&self) -> &'static Abilities {
        self.pool.abilities()
    }

    async fn activate(&self) -> Result<(), Fault> {
        let _lock = self.lock("activate it", ROOT_LOCK).await?;
        self.pool.activate().await.map_err(|f| f.context(format!("cannot activate storage/{}", self.name)))
    }

    async fn active(&self) -> Result<bool, Fault> {
        match self.pool.place_mark().await {
            Ok(_) => Ok(true),
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(false),
            Err(fault) => Err(fault.context(format!("cannot look at storage/{}", self.name))),
        }
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        self.pool.usage().await.map_err(|f| f.context(format!("cannot tell how full storage/{} is", self.name)))
    }

    async fn list(&self) -> Result<Vec<VolumeInfo>, Fault> {
        let read = self.pool.read(None).await;
        let entries = read.map_err(|f| f.context(format!("cannot list the volumes of storage/{}", self.name)))?;
        Ok(entries.into_iter().filter(|e| !e.unfinished).map(|e| e.info).collect())
    }

    async fn find(&self, name: &str) -> Result<Option<VolumeInfo>, Fault> {
        Ok(self.volume("look for", name).await?.map(|e| e.info))
    }

    async fn create(&self, new: &NewVolume, progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
        create::create(self, new, progress).await
    }

    async fn grow(&self, name: &str, mark: &Mark, to: Size) -> Result<(), Fault> {
        let (_lock, entry) = self.hold_one("grow", name, Some(mark)).await?;
        if to == entry.info.size {
            return Ok(());
        }
        rules::may_grow(&entry.info, to)?;
        self.check_granule(name, to)?;
        self.pool.resize(&entry.info, to).await.map_err(|f| self.about("grow", name, f))
    }

    async fn remark(&self, name: &str, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        let (_lock, _) = self.hold_one("mark", name, from).await?;
        self.pool.set_mark(name, to).await.map_err(|f| self.about("mark", name, f))
    }

    async fn delete(&self, name: &str, expect: &Mark, size: Size) -> Result<(), Fault> {
        let (_lock, found) = self.hold("delete", name, Some(expect)).await?;
        let Some(entry) = found else { return self.clear(name).await };
        rules::same_size(&self.name, &entry.info, size)?;
        if let Some(below) = &entry.below {
            let message = format!("storage/{}: cannot delete the volume {name:?}: {below} would go with it", self.name);
            return Err(Fault::new(FaultKind::Busy, message).help("delete or move that first"));
        }
        self.pool.destroy(&entry).await.map_err(|f| self.about("delete", name, f))
    }

    async fn attachment(&self, name: &str) -> Result<Attachment, Fault> {
        let entry = self.volume("attach", name).await?.ok_or_else(|| self.missing(name))?;
        self.pool.open(&entry.info).await.map_err(|f| self.about("attach", name, f))
    }

    async fn release(&self, name: &str) -> Result<(), Fault> {
        match self.volume("release", name).await? {
            Some(entry) => self.pool.close(&entry.info).await.map_err(|f| self.about("release", name, f)),
            None => Ok(()),
        }
    }

    async fn clean(&self, name: &str) -> Result<(), Fault> {
        dir::check_name(name)?;
        if self.pool.misfit(name).is_some() {
            return Ok(());
        }
        let _lock = self.lock(&format!("clear away what is left of the volume {name:?}"), name).await?;
        self.clear(name).await.map_err(|f| self.about("clear away what is left of", name, f))
    }

    async fn leftovers(&self) -> Result<Vec<String>, Fault> {
        let read = self.pool.read(None).await;
        let entries = read.map_err(|f| f.context(format!("cannot look for leftovers on storage/{}", self.name)))?;
        Ok(entries.into_iter().filter(|e| e.unfinished).map(|e| e.info.name).collect())
    }

    fn marked(&self) -> Option<&dyn Marked> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        if self.pool.abilities().snapshots.is_empty() { None } else { Some(self) }
    }

    fn clones(&self) -> Option<&dyn Clones> {
        if self.pool.abilities().linked_clones.is_empty() { None } else { Some(self) }
    }
}

#[async_trait]
impl<P: Pool> Marked for Pooled<P> {
    async fn mark(&self) -> Result<Option<Mark>, Fault> {
        self.pool.place_mark().await.map_err(|f| f.context(format!("cannot read the mark of storage/{}", self.name)))
    }

    async fn set_mark(&self, from: Option<&Mark>, to: Option<&Mark>) -> Result<(), Fault> {
        let _lock = self.lock("mark it", ROOT_LOCK).await?;
        let present = self.mark().await?;
        let uid = |mark: Option<&Mark>| mark.map(|m| m.uid);
        if uid(present.as_ref()) != uid(from) && uid(present.as_ref()) != uid(to) {
            let whose = present.map_or("nobody's".to_owned(), |m| format!("{} with the UID {}", m.resource, m.uid));
            return Err(Fault::new(
                FaultKind::Identity,
                format!("the place of storage/{} is that of {whose}", self.name),
            )
            .help("give each storage a place of its own; if this one is yours, take that mark off by hand"));
        }
        if present.as_ref() == to {
            return Ok(());
        }
        self.pool.set_place_mark(to).await.map_err(|f| f.context(format!("cannot mark storage/{}", self.name)))
    }
}

#[async_trait]
impl<P: Pool> Snapshots for Pooled<P> {
    async fn take(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        dir::check_snapshot(snapshot)?;
        if let Some(why) = self.pool.misfit(snapshot) {
            return Err(Fault::new(FaultKind::Invalid, format!("a snapshot cannot be named {snapshot:?}: {why}"))
                .help("choose a name of letters, digits and '-'"));
        }
        let (_lock, entry) = self.hold_one("take a snapshot of", volume, Some(mark)).await?;
        self.can_snapshot(&entry.info)?;
        if entry.snapshots.iter().any(|s| s == snapshot) {
            let message = format!("the volume {volume:?} has a snapshot {snapshot:?} already");
            return Err(Fault::new(FaultKind::Exists, message));
        }
        self.pool.snapshot(&entry.info, snapshot).await.map_err(|f| self.about("take a snapshot of", volume, f))
    }

    async fn roll_back(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        let (_lock, entry) = self.hold_one("roll back", volume, Some(mark)).await?;
        self.can_snapshot(&entry.info)?;
        let Some(at) = entry.snapshots.iter().position(|s| s == snapshot) else {
            return Err(Fault::new(FaultKind::NotFound, format!("the volume {volume:?} has no snapshot {snapshot:?}")));
        };
        let later = &entry.snapshots[at + 1..];
        if self.pool.abilities().roll_back == RollBack::Newest && !later.is_empty() {
            let message = format!("the volume {volume:?} cannot go back to {snapshot:?} and keep those after it");
            return Err(Fault::new(FaultKind::Unsupported, message).help(format!("remove {} first", later.join(", "))));
        }
        self.pool.roll_back(&entry.info, snapshot).await.map_err(|f| self.about("roll back", volume, f))
    }

    async fn remove(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        let (_lock, entry) = self.hold_one("remove a snapshot of", volume, Some(mark)).await?;
        self.can_snapshot(&entry.info)?;
        if !entry.snapshots.iter().any(|s| s == snapshot) {
            return Ok(());
        }
        let dropped = self.pool.drop_snapshot(&entry.info, snapshot).await;
        dropped.map_err(|f| self.about("remove a snapshot of", volume, f))
    }

    async fn list(&self, volume: &str) -> Result<Vec<String>, Fault> {
        let entry = self.volume("list the snapshots of", volume).await?.ok_or_else(|| self.missing(volume))?;
        Ok(entry.snapshots)
    }
}

#[async_trait]
impl<P: Pool> Clones for Pooled<P> {
    async fn create_from(&self, new: &NewVolume, origin: &str, snapshot: &str) -> Result<VolumeInfo, Fault> {
        create::create_from(self, new, origin, snapshot).await
    }
}

impl<P: Pool> Pooled<P> {
    /// Refuses a size that the volume manager would round.
    fn check_granule(&self, name: &str, size: Size) -> Result<(), Fault> {
        let granule = self.pool.granule();
        if size.bytes().is_multiple_of(granule) {
            return Ok(());
        }
        let next = Size(size.bytes().div_ceil(granule).saturating_mul(granule));
        let why = format!("its size {size} is no multiple of {}", Size(granule));
        Err(rules::invalid(&self.name, name, &why).help(format!("write {next}")))
    }
}
