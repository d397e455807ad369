//! What can be done with the logical volumes of a group that take their whole size.
//!
//! With `zero`, new space is filled with zeroes before anybody sees it: a new volume is unfinished until then, and one that
//! grows keeps its old size in a tag and is seen with that size, so that whatever broke off is done again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;

use super::command::{lvm, zero};
use super::group::{Group, adding};
use super::options::{LvmOptions, misfit};
use super::parse::{self, GROWING, ROOTDIR, UNFINISHED};
use super::tags::{self, About};
use crate::base::crash::point;
use crate::base::{Fault, FaultKind, Mark, Size};
use crate::drivers::storage::pool::{Entry, Pool};
use crate::drivers::storage::{Abilities, Attachment, NewVolume, Usage, VolumeInfo};
use crate::kinds::storage::Content;

/// A volume group.
#[derive(Debug)]
pub struct Lvm(pub LvmOptions);

impl Lvm {
    fn group(&self) -> Group<'_> {
        Group(&self.0.group)
    }
}

/// The tags of a new volume.
pub fn tags_of(new: &NewVolume, unfinished: bool) -> Result<BTreeSet<String>, Fault> {
    let mut tags = tags::write(About::Volume, &new.mark)?;
    tags.extend((new.content == Content::Rootdir).then(|| ROOTDIR.to_owned()));
    tags.extend(unfinished.then(|| UNFINISHED.to_owned()));
    Ok(tags)
}

#[async_trait]
impl Pool for Lvm {
    fn abilities(&self) -> &'static Abilities {
        &super::ABILITIES
    }

    fn granule(&self) -> u64 {
        self.0.extent_size.bytes()
    }

    fn misfit(&self, name: &str) -> Option<String> {
        misfit(&self.0.group, name)
    }

    async fn activate(&self) -> Result<(), Fault> {
        let LvmOptions { group: _, initialize, devices, extent_size, zero: _, base: _ } = &self.0;
        self.group().ensure(*extent_size, initialize.then_some(devices)).await
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        let group = self.group().extents().await?;
        let (total, free) = (group.size(), group.free());
        Ok(Usage { total, used: Size(total.bytes().saturating_sub(free.bytes())), free, promised: None })
    }

    async fn read(&self, name: Option<&str>) -> Result<Vec<Entry>, Fault> {
        // LVM reads the whole group's metadata anyway, and says of a single missing volume less clearly what is missing.
        let mut entries = parse::entries(&self.group().volumes().await?);
        entries.retain(|e| name.is_none_or(|name| e.info.name == name));
        Ok(entries)
    }

    async fn make(&self, new: &NewVolume, unfinished: bool) -> Result<(), Fault> {
        let (group, bytes) = (self.group(), new.size.bytes());
        let tags = tags_of(new, unfinished || self.0.zero)?;
        let size = format!("{bytes}b");
        let args = ["-q", "-y", "-W", "y", "-Z", "y", "-n", &new.name, "-L", &size];
        lvm("lvcreate", args.into_iter().chain(adding(&tags)).chain([group.0])).await?;
        point("storage.lvm.make.made");
        if !self.0.zero {
            return Ok(());
        }
        let zeroed = zero(&group.path(&new.name), 0, bytes).await;
        if zeroed.is_err() {
            // The first failure is the one to tell; what cannot be removed now is found as a leftover.
            let _ = group.remove([new.name.as_str()]).await;
        }
        zeroed?;
        point("storage.lvm.make.zeroed");
        if unfinished { Ok(()) } else { self.finish(&new.name).await }
    }

    async fn device(&self, name: &str) -> Result<(PathBuf, bool), Fault> {
        Ok((self.group().path(name), self.0.zero))
    }

    async fn finish(&self, name: &str) -> Result<(), Fault> {
        self.group().retag(name, &BTreeSet::from([UNFINISHED.to_owned()]), &BTreeSet::new()).await
    }

    async fn resize(&self, info: &VolumeInfo, to: Size) -> Result<(), Fault> {
        let (group, name) = (self.group(), info.name.as_str());
        let growing = BTreeSet::from([format!("{GROWING}{}", info.size.bytes())]);
        let have = group.volume(name).await?;
        if self.0.zero && have.grown_from().is_none() {
            group.retag(name, &BTreeSet::new(), &growing).await?;
            point("storage.lvm.grow.noted");
        }
        if have.size() < to {
            lvm("lvextend", ["-q", "-y", "-L", &format!("{}b", to.bytes()), &group.full(name)]).await?;
            point("storage.lvm.grow.grown");
        }
        if self.0.zero {
            let device = group.open(name).await?;
            zero(&device, info.size.bytes(), to.max(have.size()).bytes() - info.size.bytes()).await?;
            point("storage.lvm.grow.zeroed");
        }
        let noted: BTreeSet<String> =
            have.tags().into_iter().filter(|t| t.starts_with(GROWING)).chain(growing).collect();
        group.retag(name, &noted, &BTreeSet::new()).await
    }

    async fn set_mark(&self, name: &str, to: &Mark) -> Result<(), Fault> {
        self.group().set_mark(name, to).await
    }

    async fn destroy(&self, entry: &Entry) -> Result<(), Fault> {
        self.group().remove([entry.info.name.as_str()]).await
    }

    async fn open(&self, info: &VolumeInfo) -> Result<Attachment, Fault> {
        Ok(Attachment::Block { path: self.group().open(&info.name).await? })
    }

    async fn close(&self, info: &VolumeInfo) -> Result<(), Fault> {
        self.group().close(&info.name).await
    }

    async fn place_mark(&self) -> Result<Option<Mark>, Fault> {
        self.group().place_mark(About::Group).await
    }

    async fn set_place_mark(&self, to: Option<&Mark>) -> Result<(), Fault> {
        self.group().set_place_mark(About::Group, to).await
    }

    async fn snapshot(&self, _info: &VolumeInfo, _snapshot: &str) -> Result<(), Fault> {
        Err(none())
    }

    async fn roll_back(&self, _info: &VolumeInfo, _snapshot: &str) -> Result<(), Fault> {
        Err(none())
    }

    async fn drop_snapshot(&self, _info: &VolumeInfo, _snapshot: &str) -> Result<(), Fault> {
        Err(none())
    }

    async fn clone_snapshot(
        &self,
        _new: &NewVolume,
        _origin: &VolumeInfo,
        _snapshot: &str,
        _unfinished: bool,
    ) -> Result<(), Fault> {
        Err(none())
    }
}

/// What is never asked for, because the type declares no snapshots.
fn none() -> Fault {
    Fault::new(FaultKind::Unsupported, "logical volumes of their whole size have no snapshots")
}
