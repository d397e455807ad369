//! A volume group: found or made, its marks, and the tags of its volumes; the same for whole volumes and for thin ones.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::command::{lvm, report};
use super::parse::{self, Extents, Volume};
use super::tags::{self, About};
use crate::base::{Fault, FaultKind, Mark, Size};
use crate::drivers::storage::pool::Blank;

/// A volume group by its name.
#[derive(Debug)]
pub struct Group<'a>(pub &'a str);

impl Group<'_> {
    /// A logical volume for LVM's programs.
    pub fn full(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// A logical volume's device.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/dev").join(self.0).join(name)
    }

    fn missing(&self, fault: Fault) -> Fault {
        if fault.kind != FaultKind::NotFound {
            return fault;
        }
        Fault::new(FaultKind::NotFound, format!("there is no volume group {}", self.0))
            .help("if it was there before, a device of it does not answer: see `pvs` and `dmesg`; make a new one with `vgcreate`, or say `initialize: true` and list its empty `devices`")
    }

    /// What `vgs` says of it; `NotFound` when it is not there.
    pub async fn extents(&self) -> Result<Extents, Fault> {
        parse::group(&report("vgs", parse::GROUP, self.0).await.map_err(|f| self.missing(f))?)
    }

    /// All its volumes, by one `lvs`.
    pub async fn volumes(&self) -> Result<Vec<Volume>, Fault> {
        parse::volumes(&report("lvs", parse::VOLUME, self.0).await.map_err(|f| self.missing(f))?)
    }

    /// The volume of that name.
    pub async fn volume(&self, name: &str) -> Result<Volume, Fault> {
        let found = self.volumes().await?.into_iter().find(|v| v.name == name);
        found.ok_or_else(|| Fault::new(FaultKind::NotFound, format!("there is no logical volume {}", self.full(name))))
    }

    /// Makes sure that it is there: found, or made of empty devices where the manifest allows it.
    pub async fn ensure(&self, extent: Size, devices: Option<&[String]>) -> Result<(), Fault> {
        let absent = match self.extents().await {
            Ok(found) if extent.bytes().is_multiple_of(found.extent().bytes().max(1)) => return Ok(()),
            Ok(found) => {
                let have = found.extent();
                let message = format!("the extents of {} have {have}, and `extentSize` says {extent}", self.0);
                return Err(Fault::new(FaultKind::Invalid, message).help(format!("say extentSize: {have}")));
            }
            Err(fault) if fault.kind == FaultKind::NotFound => fault,
            Err(fault) => return Err(fault),
        };
        let Some(devices) = devices.filter(|d| !d.is_empty()) else { return Err(absent) };
        let _held = Blank::prove(devices).await?;
        let extent = format!("{}b", extent.bytes());
        let args = ["-q", "-s", &extent, self.0].into_iter().chain(devices.iter().map(String::as_str));
        lvm("vgcreate", args).await.map(drop)
    }

    /// Puts tags on a volume, or takes them off, in one command.
    pub async fn retag(&self, name: &str, gone: &BTreeSet<String>, new: &BTreeSet<String>) -> Result<(), Fault> {
        retag("lvchange", &self.full(name), gone, new).await
    }

    /// Replaces the mark of a volume.
    pub async fn set_mark(&self, name: &str, to: &Mark) -> Result<(), Fault> {
        let have = tags::of(About::Volume, &self.volume(name).await?.tags());
        self.retag(name, &have, &tags::write(About::Volume, to)?).await
    }

    /// The mark of the storage `about` on the group.
    pub async fn place_mark(&self, about: About<'_>) -> Result<Option<Mark>, Fault> {
        tags::read(about, &self.extents().await?.tags())
            .map_err(|why| Fault::new(FaultKind::Identity, format!("the volume group {}: {why}", self.0)))
    }

    /// Replaces or removes it.
    pub async fn set_place_mark(&self, about: About<'_>, to: Option<&Mark>) -> Result<(), Fault> {
        let have = tags::of(about, &self.extents().await?.tags());
        let want = to.map_or(Ok(BTreeSet::new()), |mark| tags::write(about, mark))?;
        retag("vgchange", self.0, &have, &want).await
    }

    /// Makes a volume's device appear.
    pub async fn open(&self, name: &str) -> Result<PathBuf, Fault> {
        lvm("lvchange", ["-q", "-ay", "-K", &self.full(name)]).await?;
        Ok(self.path(name))
    }

    /// Makes it vanish; `Busy` when something has it open.
    pub async fn close(&self, name: &str) -> Result<(), Fault> {
        lvm("lvchange", ["-q", "-an", &self.full(name)]).await.map(drop)
    }

    /// Removes volumes; `Busy` when something has one open.
    pub async fn remove<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Result<(), Fault> {
        let targets: Vec<String> = names.into_iter().map(|name| self.full(name)).collect();
        if targets.is_empty() {
            return Ok(());
        }
        lvm("lvremove", ["-q", "-y"].into_iter().chain(targets.iter().map(String::as_str))).await.map(drop)
    }
}

/// Tags as arguments of a command that makes a volume.
pub fn adding(tags: &BTreeSet<String>) -> Vec<&str> {
    tags.iter().flat_map(|tag| ["--addtag", tag.as_str()]).collect()
}

async fn retag(program: &str, target: &str, have: &BTreeSet<String>, want: &BTreeSet<String>) -> Result<(), Fault> {
    let gone = have.difference(want).flat_map(|tag| ["--deltag", tag.as_str()]);
    let new = want.difference(have).flat_map(|tag| ["--addtag", tag.as_str()]);
    let args: Vec<&str> = gone.chain(new).collect();
    if args.is_empty() {
        return Ok(());
    }
    lvm(program, ["-q"].into_iter().chain(args).chain([target])).await.map(drop)
}
