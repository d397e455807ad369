//! Sets a storage up, and forgets it again; never formats anything and never deletes a volume.

use serde_json::json;

use super::record::{self, Record};
use super::{StorageLive, StorageSpec, canonical};
use crate::base::Fault;
use crate::kinds::Task;

/// Makes the storage ready, marks its place, and remembers it; what is there already is kept as it is.
pub async fn set_up(task: &Task<'_>, spec: &StorageSpec) -> Result<(), Fault> {
    let name = &task.reference.name;
    let storage = task.world.storages.open(name, spec, &task.world.secrets)?;
    let applied = canonical(spec);
    task.effect("activate", json!({"driver": spec.driver}), storage.activate()).await?;
    if let Some(marked) = storage.marked() {
        let mark = task.mark(Some(applied.clone()));
        let detail = json!({"uid": task.uid});
        task.effect("mark", detail, async {
            let present = marked.mark().await?.filter(|m| m.uid == task.uid);
            if present.as_ref() == Some(&mark) { Ok(()) } else { marked.set_mark(present.as_ref(), Some(&mark)).await }
        })
        .await?;
    }
    let spec = serde_json::from_value(applied).unwrap_or_else(|_| spec.clone());
    let record = Record { uid: task.uid, spec };
    task.effect("record", json!({}), async { record::write(task.world, name, &record) }).await
}

/// Takes the mark off the place and forgets it; volumes, images and backups stay where they are.
pub async fn forget(task: &Task<'_>, live: &StorageLive) -> Result<(), Fault> {
    let name = &task.reference.name;
    let storage = task.world.storages.open(name, &live.spec, &task.world.secrets)?;
    if let Some(marked) = storage.marked() {
        task.effect("unmark", json!({"uid": task.uid}), marked.set_mark(live.mark.as_ref(), None)).await?;
    }
    task.effect("forget", json!({}), async { record::remove(task.world, name) }).await
}
