//! A machine with Reeve on it: its facts, and labels that people give it.

mod spec;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

pub use self::spec::NodeSpec;
use crate::base::{Fault, Mark, Name};
use crate::kinds::{Have, Kind, Observed, Reference, Report, Scope, Task, World};
use crate::plan::model::FieldChange;

/// The kind `Node`.
#[derive(Debug)]
pub struct NodeKind;

/// What is observed of this node.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLive {
    /// The spec as it was last applied.
    pub spec: NodeSpec,
    /// Our mark.
    pub mark: Option<Mark>,
}

#[async_trait]
impl Kind for NodeKind {
    type Spec = NodeSpec;
    type Live = NodeLive;

    fn check(_name: &Name, _spec: &NodeSpec, _scope: &Scope<'_>, _report: &mut Report<'_>) {}

    fn references(_spec: &NodeSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn want(_name: &Name, spec: &NodeSpec, _scope: &Scope<'_>) -> Value {
        serde_json::to_value(spec).unwrap_or_default()
    }

    fn have(live: &NodeLive) -> Have {
        Have {
            configured: serde_json::to_value(&live.spec).unwrap_or_default(),
            mark: live.mark.clone(),
            ..Have::default()
        }
    }

    async fn observe(_world: &World, _scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<NodeLive>>, Fault> {
        Ok(BTreeMap::new())
    }

    async fn create(_task: &Task<'_>, _spec: &NodeSpec) -> Result<(), Fault> {
        Ok(())
    }

    async fn update(
        _task: &Task<'_>,
        _spec: &NodeSpec,
        _live: &NodeLive,
        _changes: &[FieldChange],
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn delete(_task: &Task<'_>, _live: &NodeLive) -> Result<(), Fault> {
        Ok(())
    }
}
