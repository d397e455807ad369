//! The volumes of a container's file systems: made, filled, grown, let go, deleted; each under the container's mark.
//!
//! A volume is called `ct-CONTAINER-rootfs` or `ct-CONTAINER-MOUNT`, with a number behind when that name belongs to
//! something else, such as what a deleted container of the same name left behind. Its mark says what it is for, and
//! whether it was filled: one that is still `filling` is made anew, any other keeps what is on it.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::base::{Fault, FaultKind, Mark, Name, Size};
use crate::drivers::container::{Backing, Fill, Place};
use crate::drivers::storage::{Attachment, Format, NewVolume, Source, Storage, VolumeInfo};
use crate::kinds::Task;
use crate::kinds::storage::Content;

/// How many names are tried for a volume.
const NAMES: u32 = 100;
/// What the root file system's volume is called.
pub(super) const ROOT: &str = "rootfs";

/// What became of a volume, as its mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is being made; nothing on it is worth keeping.
    Filling,
    /// It is in use.
    Attached,
    /// Its mount was taken out of the manifest.
    Detached,
    /// Its container was deleted.
    Orphan,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Orphan => "orphan",
        }
    }
}

/// A file system of a container's own, as it shall be.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    /// What it is for: the mount's name, or [`ROOT`].
    pub disk: &'a str,
    /// The storage.
    pub storage: &'a Name,
    /// Its size.
    pub size: Size,
    /// The image it starts as a copy of, and where that is on this node.
    pub image: Option<(Name, PathBuf)>,
    /// Whether the guest's root is an ordinary user of the host.
    pub unprivileged: bool,
}

fn said(info: &VolumeInfo, key: &str) -> Option<String> {
    Some(info.mark.as_ref()?.applied.as_ref()?.get(key)?.as_str()?.to_owned())
}

fn mark(task: &Task<'_>, disk: &str, state: State) -> Mark {
    let kept = matches!(state, State::Detached | State::Orphan);
    let since = kept.then(|| task.world.clock.now().to_string());
    task.mark(Some(match since {
        None => json!({"disk": disk, "state": state.word()}),
        Some(since) => json!({"disk": disk, "state": state.word(), "since": since}),
    }))
}

fn is_ours(task: &Task<'_>, info: &VolumeInfo) -> bool {
    info.mark.as_ref().is_some_and(|m| m.uid == task.uid)
}

/// The volume of a file system; made and filled when it is not there, taken back when it was detached.
pub(super) async fn ensure(task: &Task<'_>, wanted: &Wanted<'_>) -> Result<Backing, Fault> {
    let storage = task.world.storage(&task.scope, wanted.storage)?;
    let (volume, found) = pick(task, &*storage, wanted.disk).await?;
    let filled = match &found {
        None => {
            make(task, &*storage, wanted, &volume).await?;
            false
        }
        Some(info) => said(info, "state").as_deref() != Some(State::Filling.word()),
    };
    let place = place(storage.attachment(&volume).await?)?;
    if filled {
        let info = found.ok_or_else(|| Fault::other("a volume that was found is gone"))?;
        return take_back(task, &*storage, wanted, &info, place).await;
    }
    let archive = wanted.image.as_ref().map(|(_, path)| path.clone());
    let fill = Fill { place: place.clone(), unprivileged: wanted.unprivileged, archive, keep: false };
    task.progress.step(task.reference, &format!("filling {volume}"), 0, 0);
    let detail = json!({"storage": wanted.storage, "volume": volume, "disk": wanted.disk});
    let done = task.effect("fill", detail, task.world.cts.fill(&fill)).await;
    done.map_err(|f| f.context(format!("making the file system {} of {}", wanted.disk, task.reference)))?;
    remark(task, &*storage, &volume, wanted.disk, State::Attached).await?;
    Ok(backing(wanted, volume, place, wanted.size))
}

fn backing(wanted: &Wanted<'_>, volume: String, place: Place, size: Size) -> Backing {
    Backing {
        place,
        storage: Some(wanted.storage.clone()),
        volume: Some(volume),
        resource: None,
        image: wanted.image.as_ref().map(|(name, _)| name.clone()),
        size: Some(size),
    }
}

/// The name of a volume, and the volume when it is there already.
async fn pick(task: &Task<'_>, storage: &dyn Storage, disk: &str) -> Result<(String, Option<VolumeInfo>), Fault> {
    let base = format!("ct-{}-{disk}", task.reference.name);
    for number in 1..=NAMES {
        let volume = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        match storage.find(&volume).await? {
            None => return Ok((volume, None)),
            Some(info) if is_ours(task, &info) && said(&info, "disk").as_deref() == Some(disk) => {
                return Ok((volume, Some(info)));
            }
            Some(_) => {}
        }
    }
    Err(Fault::new(FaultKind::Exists, format!("{base} and {NAMES} names like it are taken by other volumes"))
        .help("delete the volumes that earlier containers of this name left behind"))
}

async fn make(task: &Task<'_>, storage: &dyn Storage, wanted: &Wanted<'_>, volume: &str) -> Result<(), Fault> {
    let format = (storage.abilities().formats)(Content::Rootdir).first().copied().ok_or_else(|| {
        Fault::new(FaultKind::Unsupported, format!("storage/{} keeps no file systems of containers", wanted.storage))
    })?;
    let new = NewVolume {
        name: volume.to_owned(),
        content: Content::Rootdir,
        format,
        size: wanted.size,
        source: Source::Empty,
        mark: mark(task, wanted.disk, State::Filling),
    };
    let what = format!("file system {}", wanted.disk);
    let progress = |done, total| task.progress.step(task.reference, &what, done, total);
    let detail = json!({"storage": wanted.storage, "volume": volume, "disk": wanted.disk});
    let made = task.effect("volume", detail, storage.create(&new, &progress)).await;
    made.map_err(|f| f.context(format!("making the volume {} of {}", wanted.disk, task.reference))).map(drop)
}

/// A volume that is there already and ours: it is attached again with what is on it, and never made smaller.
async fn take_back(
    task: &Task<'_>,
    storage: &dyn Storage,
    wanted: &Wanted<'_>,
    info: &VolumeInfo,
    place: Place,
) -> Result<Backing, Fault> {
    if info.size > wanted.size {
        let message =
            format!("the kept volume {} of {} has {}, more than {}", info.name, wanted.disk, info.size, wanted.size);
        return Err(Fault::new(FaultKind::Invalid, message)
            .help(format!("set size to {} or more, or give the new mount another name", info.size)));
    }
    remark(task, storage, &info.name, wanted.disk, State::Attached).await?;
    if info.size < wanted.size {
        let detail = json!({"volume": info.name, "size": wanted.size});
        let to = mark(task, wanted.disk, State::Attached);
        task.effect("grow", detail, storage.grow(&info.name, &to, wanted.size)).await?;
    }
    // Its file system has the size it had; it grows before it is mounted.
    Ok(backing(wanted, info.name.clone(), place, info.size))
}

async fn remark(task: &Task<'_>, storage: &dyn Storage, volume: &str, disk: &str, state: State) -> Result<(), Fault> {
    let Some(info) = own(task, storage, volume).await? else { return Ok(()) };
    if said(&info, "state").as_deref() == Some(state.word()) {
        return Ok(());
    }
    let to = mark(task, disk, state);
    let detail = json!({"volume": volume, "state": state.word()});
    task.effect("mark-volume", detail, storage.remark(volume, info.mark.as_ref(), &to)).await
}

/// How the container reaches a volume.
pub(super) fn place(attachment: Attachment) -> Result<Place, Fault> {
    match attachment {
        Attachment::File { path, format: Format::Raw } => Ok(Place::Image(path)),
        Attachment::Block { path } => Ok(Place::Block(path)),
        Attachment::Directory { path } => Ok(Place::Directory(path)),
        other => {
            let message = format!("a container cannot mount {other:?}");
            Err(Fault::new(FaultKind::Unsupported, message)
                .help("use a volume of format raw, or a storage with block devices or directories"))
        }
    }
}

/// A volume of a container's own: the storage and the volume's name there.
pub(super) fn own_volume(backing: &Backing) -> Option<(&Name, &str)> {
    backing.storage.as_ref().filter(|_| backing.resource.is_none()).zip(backing.volume.as_deref())
}

/// Makes a volume larger; one that is large enough is left alone.
pub(super) async fn grow(task: &Task<'_>, backing: &Backing, to: Size) -> Result<(), Fault> {
    let Some((storage_name, volume)) = own_volume(backing) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    let Some(info) = own(task, &*storage, volume).await? else {
        return Err(Fault::new(FaultKind::NotFound, format!("volume {volume} is not on storage/{storage_name}")));
    };
    let Some(mark) = info.mark.as_ref().filter(|_| info.size < to) else { return Ok(()) };
    let detail = json!({"storage": storage_name, "volume": volume, "size": to});
    task.effect("grow", detail, storage.grow(volume, mark, to)).await
}

/// Says in the mark of a volume that its mount or its container is gone; what is on it stays.
pub(super) async fn let_go(task: &Task<'_>, disk: &str, backing: &Backing, state: State) -> Result<(), Fault> {
    let Some((storage_name, volume)) = own_volume(backing) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    remark(task, &*storage, volume, disk, state).await
}

/// Deletes a volume for good.
pub(super) async fn destroy(task: &Task<'_>, backing: &Backing) -> Result<(), Fault> {
    let Some((storage_name, volume)) = own_volume(backing) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    // One that was broken off between a volume and its mark leaves the mark.
    let Some(info) = own(task, &*storage, volume).await? else { return storage.clean(volume).await };
    let Some(mark) = &info.mark else { return Ok(()) };
    let detail = json!({"storage": storage_name, "volume": volume});
    task.effect("delete-volume", detail, storage.delete(volume, mark, info.size)).await
}

/// The volume of that name, which must be ours where it is there.
pub(super) async fn own(task: &Task<'_>, storage: &dyn Storage, volume: &str) -> Result<Option<VolumeInfo>, Fault> {
    let Some(info) = storage.find(volume).await? else { return Ok(None) };
    if is_ours(task, &info) {
        return Ok(Some(info));
    }
    let owner = info.mark.as_ref().map_or("nobody".to_owned(), |m| format!("{} ({})", m.resource, m.uid));
    let message = format!("volume {volume} belongs to {owner}, not to {} ({})", task.reference, task.uid);
    Err(Fault::new(FaultKind::Identity, message).help("look at the volume before anything is done to it"))
}

/// Deletes a volume that a broken-off create made and that nothing uses.
pub(super) async fn undo(task: &Task<'_>, detail: &Value, used: bool) -> Result<(), Fault> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str);
    let Some((storage_name, volume)) = text("storage").and_then(|s| Name::new(s).ok()).zip(text("volume")) else {
        return Ok(());
    };
    let storage = task.world.storage(&task.scope, &storage_name)?;
    storage.clean(volume).await?;
    let Some(info) = storage.find(volume).await? else { return Ok(()) };
    let fresh = [State::Filling, State::Attached].iter().any(|s| said(&info, "state").as_deref() == Some(s.word()));
    match info.mark.as_ref().filter(|_| is_ours(task, &info) && fresh && !used) {
        Some(mark) => storage.delete(volume, mark, info.size).await,
        None => Ok(()),
    }
}
