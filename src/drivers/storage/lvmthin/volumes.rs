//! What can be done with the volumes of a thin pool.
//!
//! Going back to a snapshot makes a copy of it, which takes the volume's place by one change of a tag, and then its name.
//! Whatever touches the volume next ends what broke off between the two.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::members::{Members, copy_name, fresh_id, id, id_tag, instead, part, snapshot_name};
use super::options::LvmThinOptions;
use crate::base::crash::point;
use crate::base::{Fault, FaultKind, Mark, Size};
use crate::drivers::storage::lvm::command::lvm;
use crate::drivers::storage::lvm::group::{Group, adding};
use crate::drivers::storage::lvm::options::misfit;
use crate::drivers::storage::lvm::parse::{UNFINISHED, Volume};
use crate::drivers::storage::lvm::tags::{self, About};
use crate::drivers::storage::pool::{Entry, Pool};
use crate::drivers::storage::{Abilities, Attachment, NewVolume, Usage, VolumeInfo, lvm as whole};

/// A thin pool.
#[derive(Debug)]
pub struct Thin {
    options: LvmThinOptions,
    /// The pool as the last look saw it; every change begins with a look.
    seen: Mutex<Option<Volume>>,
}

impl Thin {
    /// The pool that these options name.
    pub fn new(options: LvmThinOptions) -> Self {
        Self { options, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Volume>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn group(&self) -> Group<'_> {
        Group(&self.options.group)
    }

    fn full(&self) -> String {
        self.group().full(&self.options.pool)
    }

    /// The pool, and what is in it, by one `lvs`; `NotFound` when it is not there.
    async fn look(&self) -> Result<(Volume, Members), Fault> {
        let volumes = self.group().volumes().await?;
        let pool = volumes.iter().find(|v| v.name == self.options.pool);
        let pool = pool.filter(|v| v.is_pool()).cloned().ok_or_else(|| {
            Fault::new(FaultKind::NotFound, format!("there is no thin pool {}", self.full()))
                .help("make it with `lvcreate --type thin-pool`, or say `initialize: true`")
        })?;
        *self.seen() = Some(pool.clone());
        Ok((pool, Members::of(&self.options.pool, volumes)))
    }

    /// What is in the pool, after a copy has got the name of the volume whose place it takes.
    async fn settled(&self, name: &str) -> Result<(Volume, Members), Fault> {
        let (pool, members) = self.look().await?;
        let Some(copy) = members.copy_for(name) else { return Ok((pool, members)) };
        let group = self.group();
        if copy.name != name {
            group.remove(members.named(name).map(|v| v.name.as_str())).await?;
            point("storage.lvmthin.rollback.removed");
            lvm("lvrename", ["-q", group.0, &copy.name, name]).await?;
            point("storage.lvmthin.rollback.renamed");
        }
        group.retag(name, &BTreeSet::from([instead(name)]), &BTreeSet::new()).await?;
        self.look().await
    }

    /// Refuses what would take more of a pool that is as good as full.
    fn room(&self, pool: &Volume) -> Result<(), Fault> {
        let limit = f64::from(self.options.full_at);
        let data = pool.data().filter(|percent| *percent >= limit).map(|percent| ("data", percent));
        let metadata = pool.metadata().filter(|percent| *percent >= limit).map(|percent| ("metadata", percent));
        if let Some((what, percent)) = data.or(metadata) {
            let message = format!("the {what} of the thin pool {} is {percent} % full", self.full());
            return Err(Fault::new(FaultKind::NoSpace, message)
                .help("delete what is not needed, `fstrim` in the guests, or make the pool larger with `lvextend`"));
        }
        match pool.health() {
            None => Ok(()),
            Some(why) => Err(Fault::new(FaultKind::Unavailable, format!("the thin pool {} {why}", self.full()))
                .help("see `lvs` and `dmesg`; `lvconvert --repair` mends its metadata while nothing uses it")),
        }
    }

    fn one<'m>(&self, members: &'m Members, name: &str) -> Result<&'m Volume, Fault> {
        let missing =
            || Fault::new(FaultKind::NotFound, format!("there is no logical volume {}/{name}", self.options.group));
        members.named(name).ok_or_else(missing)
    }
}

#[async_trait]
impl Pool for Thin {
    fn abilities(&self) -> &'static Abilities {
        &super::ABILITIES
    }

    fn granule(&self) -> u64 {
        self.options.extent_size.bytes()
    }

    fn misfit(&self, name: &str) -> Option<String> {
        if name == self.options.pool {
            return Some("the pool itself has this name".into());
        }
        misfit(&self.options.group, name)
    }

    async fn activate(&self) -> Result<(), Fault> {
        let LvmThinOptions { group: _, pool, initialize, devices, size, extent_size, full_at: _ } = &self.options;
        self.group().ensure(*extent_size, initialize.then_some(devices)).await?;
        match self.look().await {
            Err(fault) if fault.kind == FaultKind::NotFound && *initialize => {}
            other => return other.map(drop),
        }
        if self.group().volumes().await?.iter().any(|v| v.name == *pool) {
            let message = format!("{} is a logical volume, and no thin pool", self.full());
            return Err(Fault::new(FaultKind::Exists, message).help("give the pool another name"));
        }
        let size = size.map_or(["-l".to_owned(), "90%FREE".to_owned()], |s| ["-L".into(), format!("{}b", s.bytes())]);
        let args = ["-q", "-y", "-Z", "y", "--type", "thin-pool", "-n", pool, &size[0], &size[1], &self.options.group];
        lvm("lvcreate", args).await.map(drop)
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        let (pool, members) = self.look().await?;
        let total = pool.size();
        let used = part(total.bytes(), pool.data().unwrap_or_default());
        let promised = members.entries().iter().map(|e| e.info.size.bytes()).sum();
        Ok(Usage { total, used: Size(used), free: Size(total.bytes() - used), promised: Some(Size(promised)) })
    }

    async fn read(&self, name: Option<&str>) -> Result<Vec<Entry>, Fault> {
        let mut entries = self.look().await?.1.entries();
        entries.retain(|e| name.is_none_or(|name| e.info.name == name));
        Ok(entries)
    }

    async fn make(&self, new: &NewVolume, unfinished: bool) -> Result<(), Fault> {
        if let Some(pool) = &*self.seen() {
            self.room(pool)?;
        }
        let mut tags = whole::volumes::tags_of(new, unfinished)?;
        tags.insert(id_tag(&fresh_id()));
        let (size, pool) = (format!("{}b", new.size.bytes()), self.full());
        let args = ["-q", "-y", "-n", &new.name, "-V", &size, "--thinpool", &pool];
        lvm("lvcreate", args.into_iter().chain(adding(&tags))).await.map(drop)
    }

    async fn device(&self, name: &str) -> Result<(PathBuf, bool), Fault> {
        // A pool that hands out blocks as others left them shows them around what is written.
        Ok((self.group().open(name).await?, self.look().await?.0.zeroes()))
    }

    async fn finish(&self, name: &str) -> Result<(), Fault> {
        self.group().retag(name, &BTreeSet::from([UNFINISHED.to_owned()]), &BTreeSet::new()).await
    }

    async fn resize(&self, info: &VolumeInfo, to: Size) -> Result<(), Fault> {
        self.room(&self.settled(&info.name).await?.0)?;
        let (size, target) = (format!("{}b", to.bytes()), self.group().full(&info.name));
        lvm("lvextend", ["-q", "-y", "-L", &size, &target]).await.map(drop)
    }

    async fn set_mark(&self, name: &str, to: &Mark) -> Result<(), Fault> {
        let (_, members) = self.settled(name).await?;
        let have = tags::of(About::Volume, &self.one(&members, name)?.tags());
        self.group().retag(name, &have, &tags::write(About::Volume, to)?).await
    }

    async fn destroy(&self, entry: &Entry) -> Result<(), Fault> {
        let (name, group) = (entry.info.name.as_str(), self.group());
        let (_, members) = self.settled(name).await?;
        let Some(volume) = members.named(name) else { return Ok(()) };
        let snapshots: Vec<String> =
            members.snapshots(volume).iter().map(|(_, snapshot)| snapshot_name(name, snapshot)).collect();
        if !snapshots.is_empty() {
            // What has it open is told before a snapshot is gone.
            group.close(name).await?;
            group.remove(snapshots.iter().map(String::as_str)).await?;
            point("storage.lvmthin.destroy.snapshots");
        }
        group.remove([name]).await
    }

    async fn open(&self, info: &VolumeInfo) -> Result<Attachment, Fault> {
        drop(self.settled(&info.name).await?);
        Ok(Attachment::Block { path: self.group().open(&info.name).await? })
    }

    async fn close(&self, info: &VolumeInfo) -> Result<(), Fault> {
        drop(self.settled(&info.name).await?);
        self.group().close(&info.name).await
    }

    async fn place_mark(&self) -> Result<Option<Mark>, Fault> {
        drop(self.look().await?);
        self.group().place_mark(About::Pool(&self.options.pool)).await
    }

    async fn set_place_mark(&self, to: Option<&Mark>) -> Result<(), Fault> {
        self.group().set_place_mark(About::Pool(&self.options.pool), to).await
    }

    async fn snapshot(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault> {
        let (group, name) = (self.group(), snapshot_name(&info.name, snapshot));
        if let Some(why) = self.misfit(&name) {
            return Err(Fault::new(
                FaultKind::Invalid,
                format!("the snapshot would be the logical volume {name}: {why}"),
            ));
        }
        let (pool, members) = self.settled(&info.name).await?;
        self.room(&pool)?;
        let volume = self.one(&members, &info.name)?;
        let own = match id(volume) {
            Some(own) => own,
            None => {
                let own = fresh_id();
                group.retag(&info.name, &BTreeSet::new(), &BTreeSet::from([id_tag(&own)])).await?;
                own
            }
        };
        let tags = BTreeSet::from([members.next(volume, &own, snapshot)]);
        let of = group.full(&info.name);
        let args = ["-q", "-y", "-s", "-n", &name];
        lvm("lvcreate", args.into_iter().chain(adding(&tags)).chain([of.as_str()])).await.map(drop)
    }

    async fn roll_back(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault> {
        let (group, name) = (self.group(), info.name.as_str());
        let (_, members) = self.settled(name).await?;
        let volume = self.one(&members, name)?;
        // `Busy` when it is open; nothing has happened then.
        group.close(name).await?;
        let copy = copy_name(name);
        if let Some(left) = members.named(&copy).filter(|v| v.tags().iter().any(|t| t == UNFINISHED)) {
            group.remove([left.name.as_str()]).await?;
        }
        // The identity, which the snapshots hang on, goes over with the place.
        let own: BTreeSet<String> = id(volume).map(|id| id_tag(&id)).into_iter().collect();
        let mut tags: BTreeSet<String> = volume.tags().into_iter().filter(|t| !own.contains(t)).collect();
        tags.insert(UNFINISHED.into());
        let of = group.full(&snapshot_name(name, snapshot));
        let args = ["-q", "-y", "-s", "-kn", "-an", "-n", &copy];
        lvm("lvcreate", args.into_iter().chain(adding(&tags)).chain([of.as_str()])).await?;
        point("storage.lvmthin.rollback.copied");
        let (gone, mut new) = (BTreeSet::from([UNFINISHED.to_owned()]), own);
        new.insert(instead(name));
        group.retag(&copy, &gone, &new).await?;
        point("storage.lvmthin.rollback.decided");
        self.settled(name).await.map(drop)
    }

    async fn drop_snapshot(&self, info: &VolumeInfo, snapshot: &str) -> Result<(), Fault> {
        self.group().remove([snapshot_name(&info.name, snapshot).as_str()]).await
    }

    async fn clone_snapshot(
        &self,
        new: &NewVolume,
        origin: &VolumeInfo,
        snapshot: &str,
        unfinished: bool,
    ) -> Result<(), Fault> {
        self.room(&self.settled(&origin.name).await?.0)?;
        let mut tags = whole::volumes::tags_of(new, unfinished)?;
        tags.insert(id_tag(&fresh_id()));
        let of = self.group().full(&snapshot_name(&origin.name, snapshot));
        let args = ["-q", "-y", "-s", "-kn", "-ay", "-n", &new.name];
        lvm("lvcreate", args.into_iter().chain(adding(&tags)).chain([of.as_str()])).await.map(drop)
    }
}
