//! Makes an image: get the bytes, look into them, put them on the shelf. Any part of it may be repeated.

use super::shelf::{Kept, Shelf, Sidecar, modified, part_note, remove_file};
use super::{ImageKind, ImageSpec, copy, debian, fetch, inspect};
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind, Size};
use crate::kinds::{Kind as _, Task};

/// Brings the image of this spec to this node and notes that the spec is applied.
pub async fn make(task: &Task<'_>, spec: &ImageSpec) -> Result<(), Fault> {
    let name = &task.meta.name;
    let shelf = Shelf::of(task.world);
    shelf.make()?;
    let _lock = shelf.lock(name)?;
    shelf.clean(name, task.uid, Some(spec))?;
    match shelf.find(name, spec)? {
        Some(kept) if sound(task, &kept).await? => note(task, &shelf, kept, spec).await,
        _ => get(task, &shelf, spec).await,
    }
}

/// Whether a file on the shelf still has the bytes it was made with.
async fn sound(task: &Task<'_>, kept: &Kept) -> Result<bool, Fault> {
    Ok(kept.intact || copy::digest(task, &kept.path).await? == kept.sidecar.digest)
}

/// Notes what is said of an image that is there already.
async fn note(task: &Task<'_>, shelf: &Shelf, kept: Kept, spec: &ImageSpec) -> Result<(), Fault> {
    ours(task, &kept)?;
    let virtual_size = inspect::inspect(&kept.path, spec).await?;
    let meta = std::fs::metadata(&kept.path).attempt(|| format!("look at {}", kept.path.display()))?;
    let sidecar = Sidecar {
        mark: task.mark(Some(ImageKind::want(&task.meta.name, spec, &task.scope))),
        spec: spec.canonical(),
        virtual_size,
        modified: modified(&meta),
        made: task.world.clock.now(),
        ..kept.sidecar
    };
    shelf.note(&kept.path, &sidecar)
}

/// Puts this task's mark on the image of this spec.
pub async fn adopt(task: &Task<'_>, spec: &ImageSpec) -> Result<(), Fault> {
    let name = &task.meta.name;
    let shelf = Shelf::of(task.world);
    let _lock = shelf.lock(name)?;
    let Some(mut kept) = shelf.find(name, spec)? else {
        return Err(Fault::new(FaultKind::NotFound, format!("image/{name} is not on this node")));
    };
    kept.sidecar.mark = task.mark(Some(ImageKind::want(name, spec, &task.scope)));
    shelf.note(&kept.path, &kept.sidecar)
}

/// Clears away what a broken-off run left, save a download that the image still needs.
pub fn undo(task: &Task<'_>, spec: Option<&ImageSpec>) -> Result<(), Fault> {
    let name = &task.meta.name;
    let shelf = Shelf::of(task.world);
    shelf.make()?;
    let _lock = shelf.lock(name)?;
    shelf.clean(name, task.uid, spec)
}

/// Removes every file of the image, those of earlier sources too.
pub async fn remove(task: &Task<'_>) -> Result<(), Fault> {
    let name = &task.meta.name;
    let shelf = Shelf::of(task.world);
    shelf.make()?;
    let lock = shelf.lock(name)?;
    let found = shelf.list()?.remove(name).unwrap_or_default();
    if let Some(why) = found.unreadable {
        return Err(Fault::other(why));
    }
    for kept in &found.kept {
        ours(task, kept)?;
    }
    for kept in &found.kept {
        shelf.remove(kept)?;
    }
    shelf.clean(name, task.uid, None)?;
    shelf.unlock(name, lock)
}

/// Refuses what carries another resource's mark.
pub fn ours(task: &Task<'_>, kept: &Kept) -> Result<(), Fault> {
    if kept.sidecar.mark.uid == task.uid {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::Identity,
        format!("{} belongs to another image, with UID {}", kept.path.display(), kept.sidecar.mark.uid),
    )
    .help("take it over with `reeve adopt`, or remove the file and its .json"))
}

async fn get(task: &Task<'_>, shelf: &Shelf, spec: &ImageSpec) -> Result<(), Fault> {
    let name = &task.meta.name;
    let source = &spec.canonical().source;
    if let (Some(url), Some(sha256)) = (&source.url, &source.sha256) {
        let part = shelf.path(name, spec, "part");
        fetch::fetch(task, fetch::Wanted { url, sha256, part: &part }).await?;
        store(task, shelf, spec, &part, sha256.clone()).await?;
        return remove_file(&part_note(&part));
    }
    if let Some(file) = &source.file {
        let to = shelf.path(name, spec, "copy");
        let sum = copy::copy(task, file.as_ref(), &to, source.sha256.as_deref()).await?;
        let stored = store(task, shelf, spec, &to, sum).await;
        if stored.is_err() {
            remove_file(&to)?;
        }
        return stored;
    }
    if let Some(debian) = &source.debian {
        let dir = shelf.build_dir(task.uid);
        let stored = match debian::build(task, spec, debian, &dir).await {
            Ok(file) => {
                let sum = copy::digest(task, &file).await?;
                store(task, shelf, spec, &file, sum).await
            }
            Err(fault) => Err(fault),
        };
        debian::clear(&dir)?;
        return stored;
    }
    Err(Fault::new(FaultKind::Invalid, format!("image/{name} has no source")).help("run `reeve validate`"))
}

/// Looks into a finished file and puts it on the shelf.
async fn store(
    task: &Task<'_>,
    shelf: &Shelf,
    spec: &ImageSpec,
    made: &std::path::Path,
    digest: String,
) -> Result<(), Fault> {
    let virtual_size = inspect::inspect(made, spec).await?;
    let meta = std::fs::metadata(made).attempt(|| format!("look at {}", made.display()))?;
    let sidecar = Sidecar {
        mark: task.mark(Some(ImageKind::want(&task.meta.name, spec, &task.scope))),
        spec: spec.canonical(),
        digest,
        size: Size(meta.len()),
        virtual_size,
        modified: modified(&meta),
        made: task.world.clock.now(),
    };
    shelf.keep(&task.meta.name, made, &sidecar)
}
