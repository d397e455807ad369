//! Makes a volume in a volume manager: checked, made with its mark, filled, and only then said to be whole.

use std::fs::File;
use std::path::Path;

use super::{Pool, Pooled};
use crate::base::crash::point;
use crate::base::{Fault, FaultKind, Size};
use crate::drivers::storage::rules::{self, Wanted, open_image};
use crate::drivers::storage::{Format, NewVolume, OnProgress, Source, VolumeInfo, qemu_img};

/// Makes the volume, or finds that it is made already.
pub async fn create<P: Pool>(s: &Pooled<P>, new: &NewVolume, progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
    check(s, new)?;
    let image = image_of(s, new).await?;
    let _lock = s.lock(&format!("make the volume {:?}", new.name), &new.name).await?;
    if let Some(info) = already(s, new).await? {
        return Ok(info);
    }
    let made = match image {
        None => s.pool.make(new, false).await,
        Some((path, format, size, _held)) => {
            let filled = fill(s, new, (path, format, size), progress).await;
            if filled.is_err() {
                // The first failure is the one to tell; what cannot be cleared away now is found as a leftover.
                let _ = s.clear(&new.name).await;
            }
            filled
        }
    };
    made.map_err(|f| s.about("make", &new.name, f))?;
    point("storage.pool.create.whole");
    s.volume("make", &new.name).await?.map(|e| e.info).ok_or_else(|| {
        Fault::other(format!("storage/{}: the volume {:?} vanished right after it was made", s.name, new.name))
    })
}

/// Makes a volume that shares the blocks of a snapshot.
pub async fn create_from<P: Pool>(
    s: &Pooled<P>,
    new: &NewVolume,
    origin: &str,
    snapshot: &str,
) -> Result<VolumeInfo, Fault> {
    check(s, new)?;
    let _lock = s.lock(&format!("make the volume {:?}", new.name), &new.name).await?;
    if let Some(info) = already(s, new).await? {
        return Ok(info);
    }
    let from = s.volume("clone", origin).await?.ok_or_else(|| s.missing(origin))?;
    if !from.snapshots.iter().any(|known| known == snapshot) {
        return Err(Fault::new(FaultKind::NotFound, format!("the volume {origin:?} has no snapshot {snapshot:?}")));
    }
    if from.info.format != new.format || new.size < from.info.size {
        let why = format!("it would start as {} of {}", from.info.format, from.info.size);
        return Err(rules::invalid(&s.name, &new.name, &why).help("give it that format, and at least that size"));
    }
    let larger = new.size != from.info.size;
    let cloned = s.pool.clone_snapshot(new, &from.info, snapshot, larger).await;
    cloned.map_err(|f| s.about("clone", origin, f))?;
    point("storage.pool.clone.made");
    if larger {
        let clone = VolumeInfo { name: new.name.clone(), ..from.info };
        s.pool.resize(&clone, new.size).await.map_err(|f| s.about("grow", &new.name, f))?;
        s.pool.finish(&new.name).await.map_err(|f| s.about("clone", origin, f))?;
    }
    s.volume("clone", &new.name).await?.map(|e| e.info).ok_or_else(|| s.missing(&new.name))
}

/// Refuses what this storage cannot keep.
fn check<P: Pool>(s: &Pooled<P>, new: &NewVolume) -> Result<(), Fault> {
    rules::possible(&s.name, &s.content, s.pool.abilities().formats, new)?;
    s.check_name(&new.name)?;
    s.check_granule(&new.name, new.size)
}

/// The image that the volume starts as, opened, so that it is the one that was looked at.
async fn image_of<'a, P: Pool>(
    s: &Pooled<P>,
    new: &'a NewVolume,
) -> Result<Option<(&'a Path, Format, Size, File)>, Fault> {
    let Source::Image { path, format } = &new.source else { return Ok(None) };
    if new.format == Format::Subvol {
        return Err(rules::no_tree_from_an_image(&s.name, &new.name));
    }
    let (owned, of, size) = (path.clone(), *format, new.size);
    let what = format!("storage/{}: cannot make the volume {:?}", s.name, new.name);
    let (file, length) = s.offload.run(what, move || open_image(&owned, of, size, false)).await?;
    Ok(Some((path, *format, length, file)))
}

/// The volume when it is made already; what was broken off before is cleared away.
async fn already<P: Pool>(s: &Pooled<P>, new: &NewVolume) -> Result<Option<VolumeInfo>, Fault> {
    match s.entry("make", &new.name).await? {
        Some(entry) if entry.unfinished => {
            s.pool.destroy(&entry).await.map_err(|f| s.about("clear away what is left of", &new.name, f))?;
            Ok(None)
        }
        Some(entry) => Wanted::of(new).is(&s.name, &entry.info).map(|()| Some(entry.info)),
        None => Ok(None),
    }
}

/// Makes the entry, copies the image into its device, and says that it is whole.
async fn fill<P: Pool>(
    s: &Pooled<P>,
    new: &NewVolume,
    (image, format, length): (&Path, Format, Size),
    progress: OnProgress<'_>,
) -> Result<(), Fault> {
    s.pool.make(new, true).await?;
    point("storage.pool.create.made");
    let (device, zeroed) = s.pool.device(&new.name).await?;
    qemu_img::fill((image, format), &device, length, zeroed, progress).await?;
    point("storage.pool.create.filled");
    s.pool.finish(&new.name).await
}
