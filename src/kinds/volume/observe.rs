//! Finds volumes by listing every storage once, all at the same time.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::{VolumeKind, VolumeLive, on_storage};
use crate::base::{Fault, Name};
use crate::drivers::storage::VolumeInfo;
use crate::kinds::storage::{StorageKind, is_here, volumes};
use crate::kinds::{AsKind, KindName, Observed, Scope, World};

/// The volumes of every storage of this node, or why they cannot be known.
pub async fn listed(world: &World, scope: &Scope<'_>) -> BTreeMap<Name, Result<Vec<VolumeInfo>, Fault>> {
    let here = scope
        .catalog()
        .of(KindName::Storage)
        .filter(|resource| AsKind::<StorageKind>::as_kind(&resource.spec).is_some_and(|spec| is_here(world, spec)));
    let looks = here.map(|resource| async {
        let name = resource.name();
        (name.clone(), volumes(world, scope, name).await)
    });
    join_all(looks).await.into_iter().collect()
}

/// Every volume that is or should be there.
pub async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<VolumeLive>>, Fault> {
    let mut seen = BTreeMap::new();
    let listed = listed(world, scope).await;
    for (storage, volumes) in &listed {
        for info in volumes.iter().flatten() {
            let Some(name) = info.name.strip_prefix("vol-").and_then(|name| Name::new(name).ok()) else { continue };
            let fresh = observed(storage, info);
            if seen
                .get(&name)
                .is_none_or(|known| rank(&fresh, wanted(scope, &name)) > rank(known, wanted(scope, &name)))
            {
                seen.insert(name, fresh);
            }
        }
    }
    for resource in scope.catalog().of(KindName::Volume) {
        let Some(storage) = wanted(scope, resource.name()) else { continue };
        if let Some(Err(fault)) = listed.get(storage) {
            let why = format!("volume {} cannot be looked for: {fault}", on_storage(resource.name()));
            seen.insert(resource.name().clone(), Observed::Unknown(why));
        }
    }
    Ok(seen)
}

/// The storage that the manifest names.
fn wanted<'a>(scope: &Scope<'a>, name: &Name) -> Option<&'a Name> {
    scope.spec(KindName::Volume, name).and_then(AsKind::<VolumeKind>::as_kind).map(|spec| &spec.storage)
}

/// Of two volumes of one name: the marked one, then the one where the manifest wants it.
fn rank(seen: &Observed<VolumeLive>, wanted: Option<&Name>) -> u8 {
    match seen {
        Observed::Present(live) => 2 * u8::from(live.mark.is_some()) + u8::from(Some(&live.storage) == wanted),
        _ => 4,
    }
}

fn observed(storage: &Name, info: &VolumeInfo) -> Observed<VolumeLive> {
    if let Some(problem) = &info.problem {
        return Observed::Unknown(problem.clone());
    }
    let VolumeInfo { name, content, format, size, allocated, mark, problem: _ } = info.clone();
    Observed::Present(VolumeLive { storage: storage.clone(), volume: name, size, format, content, allocated, mark })
}
