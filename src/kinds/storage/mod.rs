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
        let claim = |value: String| Claim {
            code: "storage/place-taken",
            what: "the place",
            value,
            nodes: spec.nodes.clone(),
            path: "options".into(),
            help: "give each storage a place of its own",
        };
        place.map(claim).into_iter().collect()
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
