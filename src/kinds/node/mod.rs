//! A machine with Reeve on it: its facts, and what people say of it.
//!
//! A node is there as soon as Reeve runs on it; a manifest adds words. The manifest of another node is that node's
//! matter: it plans to nothing here.

pub mod facts;
mod spec;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use self::facts::Facts;
pub use self::spec::NodeSpec;
use crate::base::fault::Attempt as _;
use crate::base::{Fault, Mark, Name};
use crate::kinds::{Have, Kind, KindName, Observed, Reference, Report, Scope, Task, World};
use crate::plan::model::FieldChange;

/// The kind `Node`.
#[derive(Debug)]
pub struct NodeKind;

/// What is observed of this node.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeLive {
    /// The node's name.
    pub name: Name,
    /// The spec as it was last applied.
    pub spec: NodeSpec,
    /// What it is.
    pub facts: Facts,
    /// Our mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
}

/// What is kept of a node's manifest.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    spec: NodeSpec,
    mark: Mark,
}

/// The canonical form; `node` says whose it is, so that a plan leaves other nodes' manifests alone.
fn canonical(name: &Name, spec: &NodeSpec) -> Value {
    json!({"node": name, "description": spec.description})
}

fn file(world: &World) -> PathBuf {
    world.data_dir.join("node.json")
}

fn read(world: &World) -> Result<Option<Kept>, Fault> {
    let path = file(world);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let kept = serde_json::from_slice(&bytes);
            kept.map(Some)
                .map_err(|e| Fault::other(format!("read {}: it is not what reeve wrote: {e}", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::from(error).context(format!("read {}", path.display()))),
    }
}

async fn note(task: &Task<'_>, spec: &NodeSpec) -> Result<(), Fault> {
    let mark = task.mark(Some(canonical(&task.meta.name, spec)));
    let path = file(task.world);
    let write = async {
        let store = || -> io::Result<()> {
            std::fs::create_dir_all(&task.world.data_dir)?;
            let file = tempfile::NamedTempFile::new_in(&task.world.data_dir)?;
            serde_json::to_writer_pretty(&file, &Kept { spec: spec.clone(), mark })?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            std::fs::File::open(&task.world.data_dir)?.sync_all()
        };
        store().attempt(|| format!("write {}", path.display()))
    };
    task.effect("note-node", Value::Null, write).await
}

#[async_trait]
impl Kind for NodeKind {
    type Spec = NodeSpec;
    type Live = NodeLive;

    fn check(_name: &Name, _spec: &NodeSpec, _scope: &Scope<'_>, _report: &mut Report<'_>) {}

    fn references(_spec: &NodeSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn want(name: &Name, spec: &NodeSpec, _scope: &Scope<'_>) -> Value {
        canonical(name, spec)
    }

    fn have(live: &NodeLive) -> Have {
        Have { configured: canonical(&live.name, &live.spec), mark: live.mark.clone(), ..Have::default() }
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<NodeLive>>, Fault> {
        let declared = scope.resource(KindName::Node, &world.node).is_some();
        let facts = facts::gather(world, declared).await;
        let (spec, mark) = read(world)?.map(|k| (k.spec, Some(k.mark))).unwrap_or_default();
        let live = NodeLive { name: world.node.clone(), spec, facts, mark };
        Ok(BTreeMap::from([(world.node.clone(), Observed::Present(live))]))
    }

    async fn create(task: &Task<'_>, spec: &NodeSpec) -> Result<(), Fault> {
        note(task, spec).await
    }

    async fn update(task: &Task<'_>, spec: &NodeSpec, _live: &NodeLive, _changes: &[FieldChange]) -> Result<(), Fault> {
        note(task, spec).await
    }

    async fn delete(task: &Task<'_>, _live: &NodeLive) -> Result<(), Fault> {
        let path = file(task.world);
        let remove = async {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Fault::from(error).context(format!("remove {}", path.display())))
                }
                _ => Ok(()),
            }
        };
        task.effect("forget-node", Value::Null, remove).await
    }

    async fn adopt(task: &Task<'_>, spec: &NodeSpec, _live: &NodeLive) -> Result<(), Fault> {
        note(task, spec).await
    }

    fn spec_of(live: &NodeLive) -> Option<NodeSpec> {
        Some(live.spec.clone())
    }
}
