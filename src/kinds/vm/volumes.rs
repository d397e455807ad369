//! The volumes of a machine's disks: made, grown, let go, deleted; each under the mark of its machine.
//!
//! A volume is called `vm-MACHINE-DISK`, with a number behind when that name belongs to something else, such as what
//! a deleted machine of the same name left behind. Which one a disk has is in the machine's record.

use serde_json::json;

use super::spec::Disk;
use crate::base::{Fault, FaultKind, Mark, Name, Size};
use crate::drivers::guest::Origin;
use crate::drivers::storage::{Format, NewVolume, Source, Storage, VolumeInfo};
use crate::kinds::storage::Content;
use crate::kinds::{Task, image};

/// How many names are tried for a volume.
const NAMES: u32 = 100;

/// What became of a disk's volume, as its mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It was just made, and no machine has had it yet.
    New,
    /// It is a disk of its machine.
    Attached,
    /// Its disk was taken out of the manifest.
    Detached,
    /// Its machine was deleted.
    Orphan,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Orphan => "orphan",
        }
    }
}

/// What a volume's mark says of it.
fn said(info: &VolumeInfo, key: &str) -> Option<String> {
    Some(info.mark.as_ref()?.applied.as_ref()?.get(key)?.as_str()?.to_owned())
}

fn mark(task: &Task<'_>, disk: &str, state: State) -> Mark {
    let since = matches!(state, State::Detached | State::Orphan).then(|| task.world.clock.now().to_string());
    task.mark(Some(match since {
        None => json!({"disk": disk, "state": state.word()}),
        Some(since) => json!({"disk": disk, "state": state.word(), "since": since}),
    }))
}

/// The volume of a disk of the machine's own; made when it is not there, taken back when it was detached.
pub(super) async fn ensure(task: &Task<'_>, name: &Name, disk: &Disk) -> Result<Origin, Fault> {
    let missing = || Fault::new(FaultKind::Invalid, format!("disk {name} has no storage or no size"));
    let (storage_name, size) = disk.storage.as_ref().zip(disk.size).ok_or_else(missing)?;
    let storage = task.world.storage(&task.scope, storage_name)?;
    let (volume, found) = pick(task, &*storage, name).await?;
    let format = match &found {
        Some(info) => {
            take_back(task, &*storage, info, name, size).await?;
            info.format
        }
        None => make(task, &*storage, storage_name, &volume, name, disk, size).await?,
    };
    Ok(Origin {
        storage: Some(storage_name.clone()),
        attachment: Some(storage.attachment(&volume).await?),
        volume: Some(volume),
        resource: None,
        image: disk.image.clone(),
        format: Some(format),
    })
}

/// Says in the marks of volumes that were just made that their machine has them now.
pub(super) async fn keep(task: &Task<'_>, disk: &str, origin: &Origin) -> Result<(), Fault> {
    let Some((storage_name, volume)) = origin.storage.as_ref().zip(origin.volume.as_ref()) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    let Some(info) = own(task, &*storage, volume).await? else { return Ok(()) };
    if said(&info, "state").as_deref() != Some(State::New.word()) {
        return Ok(());
    }
    storage.remark(volume, info.mark.as_ref(), &mark(task, disk, State::Attached)).await
}

/// The name of a disk's volume, and the volume when it is there already.
async fn pick(task: &Task<'_>, storage: &dyn Storage, disk: &Name) -> Result<(String, Option<VolumeInfo>), Fault> {
    for volume in names(task, disk.as_str()) {
        match storage.find(&volume).await? {
            None => return Ok((volume, None)),
            Some(info) if is_ours(task, &info) && said(&info, "disk").as_deref() == Some(disk.as_str()) => {
                return Ok((volume, Some(info)));
            }
            Some(_) => {}
        }
    }
    let message =
        format!("no name is free for disk {disk}: {NAMES} volumes are called vm-{}-{disk}", task.reference.name);
    Err(Fault::new(FaultKind::Exists, message)
        .help("delete the volumes that earlier machines of this name left behind"))
}

fn is_ours(task: &Task<'_>, info: &VolumeInfo) -> bool {
    info.mark.as_ref().is_some_and(|m| m.uid == task.uid)
}

async fn make(
    task: &Task<'_>,
    storage: &dyn Storage,
    storage_name: &Name,
    volume: &str,
    name: &Name,
    disk: &Disk,
    size: Size,
) -> Result<Format, Fault> {
    let preferred = (storage.abilities().formats)(Content::Images).first().copied();
    let format = disk.format.or(preferred).unwrap_or(Format::Raw);
    let source = match &disk.image {
        None => Source::Empty,
        Some(image) => image_of(task, image, size).await?,
    };
    let new = NewVolume {
        name: volume.to_owned(),
        content: Content::Images,
        format,
        size,
        source,
        mark: mark(task, name.as_str(), State::New),
    };
    let what = format!("disk {name}");
    let progress = |done, total| task.progress.step(task.reference, &what, done, total);
    let detail = json!({"storage": storage_name, "volume": volume, "disk": name});
    let made = task.effect("volume", detail, storage.create(&new, &progress)).await;
    made.map_err(|e| e.context(format!("make disk {name} of {}", task.reference)))?;
    Ok(format)
}

async fn image_of(task: &Task<'_>, name: &Name, size: Size) -> Result<Source, Fault> {
    let local = image::local(task.world, &task.scope, name).await?;
    if local.virtual_size > size {
        let message = format!("image/{name} has {}, more than the disk's {size}", local.virtual_size);
        return Err(Fault::new(FaultKind::Invalid, message).help(format!("set size to {} or more", local.virtual_size)));
    }
    let format = local.format.volume().ok_or_else(|| {
        Fault::new(FaultKind::Invalid, format!("image/{name} is an archive, and a disk starts from a disk image"))
    })?;
    Ok(Source::Image { path: local.path, format })
}

/// A volume that is there already and ours: it is attached again with what is on it, and never made smaller.
async fn take_back(
    task: &Task<'_>,
    storage: &dyn Storage,
    info: &VolumeInfo,
    disk: &Name,
    size: Size,
) -> Result<(), Fault> {
    if info.size > size {
        let message = format!("the kept volume {} of disk {disk} has {}, more than {size}", info.name, info.size);
        return Err(Fault::new(FaultKind::Invalid, message)
            .help(format!("set size to {} or more, or give the new disk another name", info.size)));
    }
    let to = mark(task, disk.as_str(), State::Attached);
    let new = said(info, "state").as_deref() == Some(State::New.word());
    if !new && info.mark.as_ref() != Some(&to) {
        let detail = json!({"volume": info.name, "state": State::Attached.word()});
        task.effect("mark-volume", detail, storage.remark(&info.name, info.mark.as_ref(), &to)).await?;
    }
    if info.size < size {
        let detail = json!({"volume": info.name, "size": size});
        let mark = if new { info.mark.as_ref().unwrap_or(&to) } else { &to };
        task.effect("grow", detail, storage.grow(&info.name, mark, size)).await?;
    }
    Ok(())
}

/// Makes a disk's volume larger; one that is large enough is left alone.
pub(super) async fn grow(task: &Task<'_>, origin: &Origin, to: Size) -> Result<(), Fault> {
    let Some((storage_name, volume)) = origin.storage.as_ref().zip(origin.volume.as_ref()) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    let Some(info) = own(task, &*storage, volume).await? else {
        return Err(Fault::new(FaultKind::NotFound, format!("volume {volume} is not on storage/{storage_name}")));
    };
    let Some(mark) = info.mark.as_ref().filter(|_| info.size < to) else { return Ok(()) };
    let detail = json!({"storage": storage_name, "volume": volume, "size": to});
    task.effect("grow", detail, storage.grow(volume, mark, to)).await
}

/// Says in the mark of a volume that its disk or its machine is gone; what is on it stays.
pub(super) async fn let_go(task: &Task<'_>, disk: &str, origin: &Origin, state: State) -> Result<(), Fault> {
    let Some((storage_name, volume)) = origin.storage.as_ref().zip(origin.volume.as_ref()) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    let Some(info) = own(task, &*storage, volume).await? else { return Ok(()) };
    if said(&info, "state").as_deref() == Some(state.word()) {
        return Ok(());
    }
    let to = mark(task, disk, state);
    let detail = json!({"storage": storage_name, "volume": volume, "state": state.word()});
    task.effect("mark-volume", detail, storage.remark(volume, info.mark.as_ref(), &to)).await
}

/// Deletes a disk's volume for good.
pub(super) async fn destroy(task: &Task<'_>, origin: &Origin) -> Result<(), Fault> {
    let Some((storage_name, volume)) = origin.storage.as_ref().zip(origin.volume.as_ref()) else { return Ok(()) };
    let storage = task.world.storage(&task.scope, storage_name)?;
    // One that was broken off between a volume and its mark leaves the mark.
    let Some(info) = own(task, &*storage, volume).await? else { return storage.clean(volume).await };
    let Some(mark) = &info.mark else { return Ok(()) };
    let detail = json!({"storage": storage_name, "volume": volume});
    task.effect("delete-volume", detail, storage.delete(volume, mark, info.size)).await
}

/// Whether a disk's volume may be let go or deleted, asked before anything is done.
pub(super) async fn own(task: &Task<'_>, storage: &dyn Storage, volume: &str) -> Result<Option<VolumeInfo>, Fault> {
    let Some(info) = storage.find(volume).await? else { return Ok(None) };
    if is_ours(task, &info) {
        return Ok(Some(info));
    }
    let owner = info.mark.as_ref().map_or("nobody".to_owned(), |m| format!("{} ({})", m.resource, m.uid));
    let message = format!("volume {volume} belongs to {owner}, not to {} ({})", task.reference, task.uid);
    Err(Fault::new(FaultKind::Identity, message).help("look at the volume before anything is done to it"))
}

/// Deletes the volumes that a broken-off effect made and that no machine ever had; `used` tells those in use.
pub(super) async fn undo(
    task: &Task<'_>,
    storage_name: &Name,
    disk: &str,
    used: &(dyn Fn(&str) -> bool + Sync),
) -> Result<(), Fault> {
    let storage = task.world.storage(&task.scope, storage_name)?;
    for volume in names(task, disk) {
        storage.clean(&volume).await?;
        let Some(info) = storage.find(&volume).await? else { return Ok(()) };
        let new = said(&info, "state").as_deref() == Some(State::New.word());
        let disks = said(&info, "disk").as_deref() == Some(disk);
        let Some(old) = info.mark.as_ref().filter(|_| is_ours(task, &info) && new && disks) else { continue };
        if used(&volume) {
            // Its machine has it; only its mark was never told.
            storage.remark(&volume, Some(old), &mark(task, disk, State::Attached)).await?;
        } else {
            storage.delete(&volume, old, info.size).await?;
        }
    }
    Ok(())
}

/// The names a disk's volume may have, the first the usual one.
fn names(task: &Task<'_>, disk: &str) -> impl Iterator<Item = String> + Send + use<> {
    let base = format!("vm-{}-{disk}", task.reference.name);
    (1..=NAMES).map(move |number| if number == 1 { base.clone() } else { format!("{base}-{number}") })
}
