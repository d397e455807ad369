//! Makes, grows, lets go of and deletes the volume of a Volume.

use serde_json::{Value, json};

use super::{VolumeLive, VolumeSpec, canonical, format, on_storage, online};
use crate::base::{Fault, FaultKind, Mark, Name};
use crate::drivers::storage::{NewVolume, Source};
use crate::kinds::{Task, image};

/// The mark of the volume as it shall be.
fn mark(task: &Task<'_>, spec: &VolumeSpec) -> Mark {
    task.mark(Some(canonical(spec, &task.scope)))
}

/// Makes the volume.
pub async fn create(task: &Task<'_>, spec: &VolumeSpec) -> Result<(), Fault> {
    let storage = task.world.storage(&task.scope, &spec.storage)?;
    let format = format(spec, &task.scope).ok_or_else(|| {
        Fault::new(FaultKind::Unsupported, format!("storage/{} has no format for {}", spec.storage, spec.content()))
    })?;
    let new = NewVolume {
        name: on_storage(&task.reference.name),
        content: spec.content(),
        format,
        size: spec.size,
        source: source(task, spec).await?,
        mark: mark(task, spec),
    };
    let progress = |done, total| task.progress.step(task.reference, "volume", done, total);
    let detail = json!({"storage": spec.storage, "volume": new.name});
    task.effect("volume", detail, storage.create(&new, &progress)).await?;
    Ok(())
}

async fn source(task: &Task<'_>, spec: &VolumeSpec) -> Result<Source, Fault> {
    let Some(name) = &spec.image else { return Ok(Source::Empty) };
    let local = image::local(task.world, &task.scope, name).await?;
    let format = local.format.volume().ok_or_else(|| {
        Fault::new(FaultKind::Invalid, format!("image/{name} is an archive, and a volume starts from a disk image"))
    })?;
    Ok(Source::Image { path: local.path, format })
}

/// Grows the volume where it is too small, and says in its mark what was applied.
pub async fn update(task: &Task<'_>, spec: &VolumeSpec, live: &VolumeLive) -> Result<(), Fault> {
    let storage = task.world.storage(&task.scope, &live.storage)?;
    let mark = mark(task, spec);
    if live.size < spec.size {
        let detail = json!({"storage": live.storage, "volume": live.volume, "size": spec.size});
        task.effect("grow", detail, async {
            match storage.grow(&live.volume, &mark, spec.size).await {
                Err(fault) if fault.kind == FaultKind::Busy => {
                    online::grow(task, &*storage, live, spec.size, fault).await
                }
                other => other,
            }
        })
        .await?;
        crate::kinds::container::volume_grew(task, &task.reference.name, spec.size).await?;
    }
    if live.mark.as_ref() == Some(&mark) {
        return Ok(());
    }
    let detail = json!({"storage": live.storage, "volume": live.volume});
    task.effect("mark-volume", detail, storage.remark(&live.volume, live.mark.as_ref(), &mark)).await
}

/// Deletes the volume when its data may go; otherwise keeps it, and says in its mark that it is an orphan.
pub async fn delete(task: &Task<'_>, live: &VolumeLive) -> Result<(), Fault> {
    let storage = task.world.storage(&task.scope, &live.storage)?;
    let Some(mark) = live.mark.as_ref().filter(|m| m.uid == task.uid) else {
        let message = format!("the volume {} of storage/{} does not carry our mark", live.volume, live.storage);
        return Err(
            Fault::new(FaultKind::Identity, message).help("it is not touched; remove it by hand if it shall go")
        );
    };
    let detail = json!({"storage": live.storage, "volume": live.volume});
    if task.options.destroy_data {
        return task.effect("delete-volume", detail, storage.delete(&live.volume, mark, live.size)).await;
    }
    let mut applied = mark.applied.clone().unwrap_or_else(|| json!({}));
    if let Value::Object(applied) = &mut applied {
        applied.insert("state".into(), "orphan".into());
        applied.insert("since".into(), task.world.clock.now().to_string().into());
    }
    let orphan = Mark { applied: Some(applied), ..mark.clone() };
    task.effect("mark-volume", detail, storage.remark(&live.volume, Some(mark), &orphan)).await
}

/// Puts our mark on a volume that has none.
pub async fn adopt(task: &Task<'_>, spec: &VolumeSpec, live: &VolumeLive) -> Result<(), Fault> {
    let storage = task.world.storage(&task.scope, &live.storage)?;
    let detail = json!({"storage": live.storage, "volume": live.volume});
    task.effect("mark-volume", detail, storage.remark(&live.volume, None, &mark(task, spec))).await
}

/// Clears away the unfinished volume of a create that was broken off.
pub async fn undo(task: &Task<'_>, effect: &str, detail: &Value) -> Result<(), Fault> {
    let text = |key: &str| detail.get(key).and_then(Value::as_str);
    let place = text("storage").and_then(|name| Name::new(name).ok()).zip(text("volume"));
    match (effect, place) {
        ("volume" | "delete-volume" | "mark-volume", Some((storage, volume))) => {
            task.world.storage(&task.scope, &storage)?.clean(volume).await
        }
        _ => Ok(()),
    }
}
