//! Looks at every storage of this node at the same time, each with a deadline, so that a dead one delays no other.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use super::record::{self, Record};
use super::{StorageLive, StorageSpec, StorageState};
use crate::base::{Fault, FaultKind, Mark, Name};
use crate::drivers::storage::{self as drivers, Storage, VolumeInfo};
use crate::kinds::{KindName, Observed, Scope, Spec, World};

/// How long one storage may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whether a storage belongs to this node.
pub fn is_here(world: &World, spec: &StorageSpec) -> bool {
    spec.nodes.is_empty() || spec.nodes.contains(&world.node)
}

/// Every storage that a manifest names for this node.
pub async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<StorageLive>>, Fault> {
    let looks = scope.catalog().of(KindName::Storage).filter_map(|resource| match &resource.spec {
        Spec::Storage(spec) if is_here(world, spec) => Some(async {
            let seen = match tokio::time::timeout(DEADLINE, look(world, scope, resource.name(), spec)).await {
                Ok(Ok(seen)) => seen,
                Ok(Err(fault)) => Observed::Unknown(said(&fault)),
                Err(_) => Observed::Unknown(format!("it did not answer within {} s", DEADLINE.as_secs())),
            };
            (resource.name().clone(), seen)
        }),
        _ => None,
    });
    Ok(join_all(looks).await.into_iter().collect())
}

fn said(fault: &Fault) -> String {
    match &fault.help {
        Some(help) => format!("{}; {help}", fault.message),
        None => fault.message.clone(),
    }
}

async fn look(
    world: &World,
    scope: &Scope<'_>,
    name: &Name,
    spec: &StorageSpec,
) -> Result<Observed<StorageLive>, Fault> {
    let record = record::read(world, name)?;
    // What was set up is looked at where it was set up, even when the manifest now says another place.
    let place = record.as_ref().map_or(spec, |r| &r.spec);
    let storage = world.storages.open(name, place, &world.secrets)?;
    if record.is_some() {
        if let Some(base) = drivers::find(&place.driver).and_then(|driver| driver.base(place)) {
            world.storage(scope, &base)?.reach().await.map_err(|f| f.context(format!("its base, storage/{base}")))?;
        }
        storage.reach().await?;
    }
    if !storage.active().await? {
        return match record {
            None => Ok(Observed::Absent),
            Some(_) => Err(lost(world, name, "it was set up, and what was set up is not there any more")),
        };
    }
    let Some(marked) = storage.marked() else {
        // A place that cannot carry a mark is ours when this node remembers it.
        let mark = record.as_ref().map(|r| Mark { uid: r.uid, resource: format!("storage/{name}"), applied: None });
        return match record {
            None => Ok(Observed::Absent),
            Some(record) => Ok(Observed::Present(live(&*storage, record.spec, mark).await)),
        };
    };
    match (marked.mark().await?, record) {
        (None, None) => Ok(Observed::Absent),
        (None, Some(_)) => Err(lost(world, name, "it was set up, and the mark at its place is gone")),
        (Some(mark), _) if mark.resource != format!("storage/{name}") => Err(Fault::new(
            FaultKind::Identity,
            format!("its place belongs to {} with the UID {}", mark.resource, mark.uid),
        )
        .help("give each storage a place of its own")),
        (Some(mark), Some(record)) if mark.uid != record.uid => {
            Err(lost(world, name, &format!("its place now belongs to {} with the UID {}", mark.resource, mark.uid)))
        }
        (Some(mark), record) => {
            let applied = mark.applied.clone().and_then(|a| serde_json::from_value(a).ok());
            let spec = in_force(record, applied, spec);
            Ok(Observed::Present(live(&*storage, spec, Some(mark)).await))
        }
    }
}

/// The spec in force: what this node remembers, else what the mark says, else the manifest.
fn in_force(record: Option<Record>, applied: Option<StorageSpec>, manifest: &StorageSpec) -> StorageSpec {
    record.map(|r| r.spec).or(applied).unwrap_or_else(|| manifest.clone())
}

async fn live(storage: &dyn Storage, spec: StorageSpec, mark: Option<Mark>) -> StorageLive {
    // A storage that answers and cannot tell how full it is can still be used.
    let usage = storage.usage().await.ok();
    let state = if usage.is_some() { StorageState::Ready } else { StorageState::Unavailable };
    StorageLive { spec, mark, state, usage }
}

fn lost(world: &World, name: &Name, why: &str) -> Fault {
    let file = record::path(world, name);
    Fault::new(FaultKind::Unavailable, why).help(format!(
        "mount its file system again; if it is gone for good, remove {} and apply the manifest anew",
        file.display()
    ))
}

/// Every volume on a storage; none when the storage was not set up yet, an error when it cannot be known.
pub async fn volumes(world: &World, scope: &Scope<'_>, name: &Name) -> Result<Vec<VolumeInfo>, Fault> {
    let storage = world.storage(scope, name)?;
    told(world, name, storage.list()).await
}

/// These volumes of a storage; those that are not there are left out.
pub async fn volumes_named(
    world: &World,
    scope: &Scope<'_>,
    name: &Name,
    wanted: &[&str],
) -> Result<Vec<VolumeInfo>, Fault> {
    let storage = world.storage(scope, name)?;
    let looks = join_all(wanted.iter().map(|volume| storage.find(volume)));
    told(world, name, async { looks.await.into_iter().filter_map(Result::transpose).collect() }).await
}

/// What a storage says of its volumes, within its time.
async fn told(
    world: &World,
    name: &Name,
    look: impl Future<Output = Result<Vec<VolumeInfo>, Fault>>,
) -> Result<Vec<VolumeInfo>, Fault> {
    let listed = match tokio::time::timeout(DEADLINE, look).await {
        Ok(listed) => listed,
        Err(_) => {
            let message = format!("storage/{name} did not answer within {} s", DEADLINE.as_secs());
            return Err(Fault::new(FaultKind::Deadline, message));
        }
    };
    match listed {
        Err(fault) if fault.kind == FaultKind::NotFound => match record::read(world, name)? {
            None => Ok(Vec::new()),
            Some(_) => Err(lost(world, name, &format!("storage/{name} was set up, and what was set up is gone"))),
        },
        other => other,
    }
}
