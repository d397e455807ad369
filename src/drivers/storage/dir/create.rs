//! Makes a volume: checked, filled out of sight, then put in place with its mark.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use super::copy::copy;
use super::sidecar::Sidecar;
use super::spot::Spot;
use super::{Dir, Preallocation, tree};
use crate::base::crash::point;
use crate::base::{Attempt as _, Fault, FaultKind, Size};
use crate::drivers::storage::lock::Lock;
use crate::drivers::storage::rules::{self, Wanted, open_image};
use crate::drivers::storage::{Format, NewVolume, OnProgress, Source, VolumeInfo, qcow2, qemu_img};
use crate::kinds::storage::Content;

/// Makes the volume, or finds that it is made already.
pub async fn create(dir: &Dir, new: &NewVolume, progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
    let spot = check(dir, new)?;
    let what = format!("make the volume {:?}", new.name);
    let (name, wanted, storage) = (new.name.clone(), Wanted::of(new), dir.name.clone());
    let lock = dir.lock(&what, &new.name).await?;
    let prepare = dir.on(&what, move |tree| {
        let found = tree.find(&name)?;
        if let Some((_, info)) = &found {
            wanted.is(&storage, info)?;
        }
        tree.clean(&name)?;
        Ok(found)
    });
    if let Some((_, info)) = prepare.await? {
        return Ok(info);
    }
    let made = match fill(dir, new, &spot, progress).await {
        Ok(()) => publish(dir, new, &spot, &lock).await,
        Err(fault) => Err(fault),
    };
    if made.is_err() {
        let name = new.name.clone();
        let held = lock.clone();
        // The first failure is the one to tell; what cannot be cleared away now is found as a leftover.
        let _ = dir
            .on("clear away a volume that was not made", move |tree| {
                let _held = held;
                tree.clean(&name)
            })
            .await;
    }
    made
}

/// Refuses what this storage cannot keep.
fn check(dir: &Dir, new: &NewVolume) -> Result<Spot, Fault> {
    rules::possible(&dir.name, &dir.content, dir.abilities.formats, new)?;
    if new.format == Format::Subvol && !matches!(new.source, Source::Empty) {
        return Err(rules::no_tree_from_an_image(&dir.name, &new.name));
    }
    Ok(Spot::new(&dir.tree.root, &new.name, new.content, new.format))
}

/// Writes what the volume starts with into its staged file.
async fn fill(dir: &Dir, new: &NewVolume, spot: &Spot, progress: OnProgress<'_>) -> Result<(), Fault> {
    match &new.source {
        Source::Empty => empty(dir, new, spot).await,
        Source::Image { path, format } => from_image(dir, new, spot, (path, *format), progress).await,
    }
}

async fn empty(dir: &Dir, new: &NewVolume, spot: &Spot) -> Result<(), Fault> {
    let (place, size, preallocation) = (spot.clone(), new.size, dir.preallocation);
    let by_qemu = match spot.format {
        Format::Qcow2 => preallocation != Preallocation::Off || size.bytes() > qcow2::MAX_SIZE,
        Format::Raw => preallocation == Preallocation::Full,
        Format::Vmdk => true,
        Format::Subvol => false,
    };
    dir.on(format!("make the volume {:?}", new.name), move |_| {
        if place.format == Format::Subvol {
            tree::staging(&place)?;
            let staged = place.staged();
            return std::fs::create_dir(&staged).attempt(|| format!("cannot make {}", staged.display()));
        }
        let file = tree::fresh(&place)?;
        point("storage.dir.create.opened");
        match place.format {
            _ if by_qemu => Ok(()),
            Format::Qcow2 => qcow2::write_empty(&file, size.bytes()).map_err(Fault::from),
            _ => raw(&file, size, preallocation),
        }
    })
    .await?;
    if by_qemu {
        let word = if spot.format == Format::Vmdk { "off" } else { preallocation.word() };
        qemu_img::create(&spot.staged(), spot.format, size, word).await?;
    }
    point("storage.dir.create.filled");
    Ok(())
}

/// Gives a raw file its size, and its space where that is asked for.
fn raw(file: &File, size: Size, preallocation: Preallocation) -> Result<(), Fault> {
    if matches!(preallocation, Preallocation::Falloc | Preallocation::Full) {
        fallocate(file, FallocateFlags::empty(), 0, size.bytes()).map_err(std::io::Error::from)?;
    }
    Ok(file.set_len(size.bytes())?)
}

async fn from_image(
    dir: &Dir,
    new: &NewVolume,
    spot: &Spot,
    (image, format): (&Path, Format),
    progress: OnProgress<'_>,
) -> Result<(), Fault> {
    let plain = !matches!(spot.content, Content::Images | Content::Rootdir);
    let (path, size) = (image.to_owned(), new.size);
    let doing = format!("copy {} into the volume {:?}", image.display(), new.name);
    let (source, image_size) = dir.on(&doing, move |_| open_image(&path, format, size, plain)).await?;
    let place = spot.clone();
    let target = dir.on(&doing, move |_| tree::fresh(&place)).await?;
    point("storage.dir.create.opened");
    if plain || format == spot.format {
        let what = format!("storage/{}: cannot {doing}", dir.name);
        dir.offload.long(what, progress, move |meter| Ok(copy(&source, &target, meter).map(drop)?)).await?;
    } else {
        drop((source, target));
        qemu_img::convert((image, format), (&spot.staged(), spot.format), image_size, progress).await?;
    }
    point("storage.dir.create.copied");
    if !plain && image_size < size {
        if spot.format == Format::Vmdk {
            let message = format!("a vmdk volume cannot have {size}, more than its image's {image_size}");
            return Err(Fault::new(FaultKind::Unsupported, message).help("choose qcow2 or raw"));
        }
        qemu_img::resize(&spot.staged(), spot.format, size).await?;
    }
    if spot.format == Format::Raw && !plain {
        let (place, preallocation) = (spot.clone(), dir.preallocation);
        let open = move |place: &Spot| File::options().write(true).open(place.staged());
        dir.offload.long(&doing, &|_, _| {}, move |_| raw(&open(&place)?, size, preallocation)).await?;
    }
    point("storage.dir.create.filled");
    Ok(())
}

/// Puts the filled volume in place.
async fn publish(dir: &Dir, new: &NewVolume, spot: &Spot, lock: &Arc<Lock>) -> Result<VolumeInfo, Fault> {
    let (name, mark, held, place) = (new.name.clone(), new.mark.clone(), lock.clone(), spot.clone());
    let size = (spot.format == Format::Subvol).then_some(new.size);
    let work = move |tree: &tree::Tree| {
        let _held = held;
        tree.publish(&place, &Sidecar::new(&mark, size))?;
        let found = tree.find(&name)?;
        found.map(|(_, info)| info).ok_or_else(|| Fault::other("it vanished right after it was made"))
    };
    let tree = dir.tree.clone();
    // Making a large copy durable takes as long as the disk needs.
    let what = format!("storage/{}: cannot make the volume {:?}", dir.name, new.name);
    dir.offload.long(what, &|_, _| {}, move |_| work(&tree)).await
}
