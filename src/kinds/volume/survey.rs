//! Everything that is kept on this node's storages, and what of it nobody needs any more.

use serde::Serialize;

use super::observe::listed;
use crate::base::{Fault, Mark, Name, Size};
use crate::drivers::storage::{Format, VolumeInfo};
use crate::kinds::storage::Content;
use crate::kinds::{Ref, Scope, World};

/// What a volume is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ownership {
    /// Its owner has a manifest and uses it.
    Managed,
    /// It was a disk or mount of its owner, which no longer asks for it.
    Detached,
    /// Its owner was deleted, or has no manifest.
    Orphan,
    /// It does not carry our mark.
    Foreign,
}

/// One volume on one storage.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The storage.
    pub storage: Name,
    /// Its name there.
    pub volume: String,
    /// Whose it is, `vm/web-1`.
    pub owner: Option<String>,
    /// What it is there for.
    pub ownership: Ownership,
    /// Since when it is detached or an orphan, where its mark says it.
    pub since: Option<String>,
    /// What it is kept as.
    pub content: Content,
    /// Its format.
    pub format: Format,
    /// The size the guest sees.
    pub size: Size,
    /// The space it takes, where that is cheap to know.
    pub allocated: Option<Size>,
    /// Why it cannot be read, when it cannot.
    pub problem: Option<String>,
    /// Its mark, by which it is known again.
    #[serde(skip)]
    pub mark: Option<Mark>,
}

/// What a volume's mark says became of it: `attached`, `detached`, `orphan`, or nothing.
pub fn state(mark: &Mark) -> Option<&str> {
    mark.applied.as_ref()?.get("state")?.as_str()
}

/// Every volume on every storage of this node, and the storages that could not be listed.
pub async fn survey(world: &World, scope: &Scope<'_>) -> (Vec<Row>, Vec<(Name, Fault)>) {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for (storage, volumes) in listed(world, scope).await {
        match volumes {
            Ok(volumes) => rows.extend(volumes.into_iter().map(|info| row(&storage, info, scope))),
            Err(fault) => failed.push((storage, fault)),
        }
    }
    (rows, failed)
}

fn row(storage: &Name, info: VolumeInfo, scope: &Scope<'_>) -> Row {
    let VolumeInfo { name, content, format, size, allocated, mark, problem } = info;
    let said = |key: &str| Some(mark.as_ref()?.applied.as_ref()?.get(key)?.as_str()?.to_owned());
    let ownership = mark.as_ref().map_or(Ownership::Foreign, |mark| ownership(mark, scope));
    let (since, owner) = (said("since"), mark.as_ref().map(|m| m.resource.clone()));
    let (storage, volume) = (storage.clone(), name);
    Row { storage, volume, owner, ownership, since, content, format, size, allocated, problem, mark }
}

fn ownership(mark: &Mark, scope: &Scope<'_>) -> Ownership {
    let owned = mark.resource.parse::<Ref>().is_ok_and(|owner| scope.catalog().get(&owner).is_some());
    match state(mark) {
        Some("orphan") => Ownership::Orphan,
        Some("detached") if owned => Ownership::Detached,
        _ if owned => Ownership::Managed,
        _ => Ownership::Orphan,
    }
}
