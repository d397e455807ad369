//! A place for volumes, images and backups.
//!
//! A storage is what was activated on this node: the mark at its place says whose it is and with which spec, and a
//! small record in the data directory says where that place is. So a storage whose file system is not mounted is known
//! from one that was never made, and a manifest that moves a storage elsewhere is refused instead of starting empty.

mod act;
mod check;
mod observe;
mod record;
mod spec;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use self::observe::{is_here, volumes, volumes_named};
pub use self::spec::{Content, StorageSpec, StorageState};
use crate::base::{Fault, FaultKind, Mark, Name, Place};
use crate::drivers::storage::{self as drivers, Usage};
use crate::kinds::{AsKind, Claim, Have, Kind, KindName, Observed, Reference, Report, Scope, Task, World};
use crate::plan::model::FieldChange;

/// The kind `Storage`.
#[derive(Debug)]
pub struct StorageKind;

/// What is observed of a storage.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageLive {
    /// The spec as it is in force.
    pub spec: StorageSpec,
    /// Our mark.
    pub mark: Option<Mark>,
    /// Whether it can be used now.
    pub state: StorageState,
    /// How full it is, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// The spec in canonical form: every default filled in, lists in a fixed order.
pub fn canonical(spec: &StorageSpec) -> Value {
    let driver = drivers::find(&spec.driver);
    let options = driver.and_then(|d| d.canonical(&spec.options).ok()).unwrap_or_else(|| spec.options.clone());
    let mut content = content(spec);
    content.sort_unstable();
    content.dedup();
    let mut nodes = spec.nodes.clone();
    nodes.sort_unstable();
    nodes.dedup();
    json!({"driver": spec.driver, "options": options, "content": content, "nodes": nodes})
}

/// What a storage may keep: what its manifest says, or all that its driver can.
pub fn content(spec: &StorageSpec) -> Vec<Content> {
    let all = || drivers::find(&spec.driver).map_or(Vec::new(), |d| d.abilities().content.to_vec());
    spec.content.clone().unwrap_or_else(all)
}

/// Where a storage says what it keeps, or of which type it is, and that in words; for problems of what is to be kept there.
pub fn declared(scope: &Scope<'_>, name: &Name) -> (Option<Place>, String) {
    let spec = scope.spec(KindName::Storage, name).and_then(AsKind::<StorageKind>::as_kind);
    let field = if spec.is_some_and(|s| s.content.is_some()) { "spec.content" } else { "spec.driver" };
    (scope.place(KindName::Storage, name, field), format!("storage/{name} says it here"))
}

#[async_trait]
impl Kind for StorageKind {
    type Spec = StorageSpec;
    type Live = StorageLive;

    fn check(name: &Name, spec: &StorageSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
        check::check(name, spec, scope, report);
    }

    fn references(spec: &StorageSpec) -> Vec<Reference> {
        let base = drivers::find(&spec.driver).and_then(|driver| driver.base(spec));
        base.map(|base| Reference::required(KindName::Storage, &base, "options.base")).into_iter().collect()
    }

    fn claims(_name: &Name, spec: &StorageSpec) -> Vec<Claim> {
        let places = drivers::find(&spec.driver).map(|driver| [driver.place(spec), driver.mounted_at(spec)]);
        let claim = |value: String| Claim {
            code: "storage/place-taken",
            what: "the place",
            value,
            nodes: spec.nodes.clone(),
            path: "options".into(),
            help: "give each storage a place of its own",
        };
        places.into_iter().flatten().flatten().map(claim).collect()
    }

    fn want(_name: &Name, spec: &StorageSpec, _scope: &Scope<'_>) -> Value {
        canonical(spec)
    }

    fn have(live: &StorageLive) -> Have {
        Have { configured: canonical(&live.spec), mark: live.mark.clone(), ..Have::default() }
    }

    fn refuse(changes: &[FieldChange], live: &StorageLive) -> Option<Fault> {
        let keep = "the volumes on it would be lost from sight; declare a second storage and move them there";
        let said =
            |change: &FieldChange| format!("{} cannot change from {} to {}", change.path, change.have, change.want);
        if let Some(change) = changes.iter().find(|c| c.path == "driver") {
            return Some(Fault::new(FaultKind::Invalid, said(change)).help(keep));
        }
        let moved = moved(changes, live)?;
        Some(Fault::new(FaultKind::Invalid, said(moved)).help(keep))
    }

    fn spec_of(live: &StorageLive) -> Option<StorageSpec> {
        Some(live.spec.clone())
    }

    fn columns(live: Option<&StorageLive>) -> Vec<(&'static str, String, bool)> {
        let text = |f: &dyn Fn(&StorageLive) -> Option<String>| live.and_then(f).unwrap_or_default();
        let size = |f: fn(&Usage) -> u64| text(&|l| l.usage.as_ref().map(|u| crate::kinds::storage::rough(f(u))));
        let nodes = |l: &StorageLive| l.spec.nodes.iter().map(Name::as_str).collect::<Vec<_>>().join(",");
        vec![
            ("TYPE", text(&|l| Some(l.spec.driver.clone())), false),
            ("STATE", text(&|l| Some(format!("{:?}", l.state))), false),
            ("TOTAL", size(|u| u.total.bytes()), false),
            ("USED", size(|u| u.used.bytes()), false),
            ("NODES", text(&|l| Some(if l.spec.nodes.is_empty() { "all".into() } else { nodes(l) })), false),
            ("CONTENT", text(&|l| Some(Content::words(&content(&l.spec)))), true),
            ("PLACE", text(&|l| drivers::find(&l.spec.driver)?.place(&l.spec)), true),
        ]
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<StorageLive>>, Fault> {
        observe::observe(world, scope).await
    }

    async fn create(task: &Task<'_>, spec: &StorageSpec) -> Result<(), Fault> {
        act::set_up(task, spec).await
    }

    async fn update(
        task: &Task<'_>,
        spec: &StorageSpec,
        live: &StorageLive,
        changes: &[FieldChange],
    ) -> Result<(), Fault> {
        match Self::refuse(changes, live) {
            Some(fault) => Err(fault),
            None => act::set_up(task, spec).await,
        }
    }

    async fn delete(task: &Task<'_>, live: &StorageLive) -> Result<(), Fault> {
        act::forget(task, live).await
    }
}

/// The change that would put the storage in another place.
fn moved<'a>(changes: &'a [FieldChange], live: &StorageLive) -> Option<&'a FieldChange> {
    let driver = drivers::find(&live.spec.driver)?;
    changes.iter().find(|change| {
        let Some(option) = change.path.strip_prefix("options.") else { return false };
        let mut spec = live.spec.clone();
        spec.options.insert(option.to_owned(), change.want.clone());
        driver.place(&spec) != driver.place(&live.spec)
    })
}

/// A number of bytes for people, with one digit after the point.
pub fn rough(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}
