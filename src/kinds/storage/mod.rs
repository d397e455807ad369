//! A place for volumes, images and backups.

mod spec;

pub use spec::{Content, StorageSpec};

/// The kind `Storage`.
#[derive(Debug)]
pub struct StorageKind;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use crate::base::{Fault, Mark, Name};
use crate::drivers::storage::find;
use crate::kinds::{Claim, Have, Kind, Observed, Reference, Report, Scope, Task, World};
use crate::plan::model::FieldChange;

/// What is observed of a storage.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageLive {
    /// The spec as it is in force.
    pub spec: StorageSpec,
    /// Our mark.
    pub mark: Option<Mark>,
}

#[async_trait]
impl Kind for StorageKind {
    type Spec = StorageSpec;
    type Live = StorageLive;

    fn check(_name: &Name, _spec: &StorageSpec, _scope: &Scope<'_>, _report: &mut Report<'_>) {}

    fn references(_spec: &StorageSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn claims(_name: &Name, spec: &StorageSpec) -> Vec<Claim> {
        let place = find(&spec.driver).and_then(|driver| driver.place(spec));
        // Storages that share no node may use the same place, each on its own.
        let nodes = || match spec.nodes.as_slice() {
            [] => vec!["*"],
            nodes => nodes.iter().map(Name::as_str).collect(),
        };
        let claim = |value: String| Claim {
            code: "storage/place-used-twice",
            what: "the place",
            value,
            path: "options".into(),
            help: "give each storage a place of its own",
        };
        place
            .iter()
            .flat_map(|place| nodes().into_iter().map(move |node| claim(format!("{place} on {node}"))))
            .collect()
    }

    fn want(_name: &Name, spec: &StorageSpec, _scope: &Scope<'_>) -> Value {
        serde_json::to_value(spec).unwrap_or_default()
    }

    fn have(live: &StorageLive) -> Have {
        Have {
            configured: serde_json::to_value(&live.spec).unwrap_or_default(),
            mark: live.mark.clone(),
            ..Have::default()
        }
    }

    async fn observe(_world: &World, _scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<StorageLive>>, Fault> {
        Ok(BTreeMap::new())
    }

    async fn create(_task: &Task<'_>, _spec: &StorageSpec) -> Result<(), Fault> {
        Ok(())
    }

    async fn update(
        _task: &Task<'_>,
        _spec: &StorageSpec,
        _live: &StorageLive,
        _changes: &[FieldChange],
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn delete(_task: &Task<'_>, _live: &StorageLive) -> Result<(), Fault> {
        Ok(())
    }
}
