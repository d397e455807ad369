//! What goes over the wire and is no document of its own: requests and answers, with their schemas.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::{Finding, Problem};
use crate::base::Disruption;
use crate::kinds::Ref;
use crate::plan::model::Action;

/// What to plan or apply: manifests, deletes, or both.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// Manifests as YAML or JSON text; all that were accepted when neither this nor `delete` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<String>,
    /// Resources to delete, such as `vm/web-1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub delete: Vec<Ref>,
    /// Whether a delete takes the data with it; it cannot be brought back.
    #[serde(default)]
    pub destroy_data: bool,
    /// The greatest disruption that may be done: none, live, restart or migrate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Disruption>,
}

/// What to apply: a wish, or exactly a plan that was made earlier.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// A saved plan, as `POST /v1/plan` gives it in `saved` or `reeve plan --out` writes it; stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<Value>,
    /// What to bring about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// Where manifests of a saved plan came from, such as the folder, so that what is taken out there can be pruned.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub sources: BTreeMap<Ref, String>,
}

/// What a guest's power shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PowerWord {
    /// It runs.
    Start,
    /// It is shut down.
    Stop,
    /// It is shut down and runs again, with what was configured meanwhile.
    Restart,
}

/// What to do about a guest's power.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PowerWish {
    /// What it shall be.
    pub to: PowerWord,
    /// Whether the power is cut instead of asking the guest to shut down.
    #[serde(default)]
    pub force: bool,
}

/// Something that is there and shall be managed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adoption {
    /// The manifest that says what it is; it is refused when it would change anything.
    pub manifest: Value,
}

/// A field that shall for a while be other than its manifest says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideWish {
    /// The field, such as `spec.memory.size`.
    pub field: String,
    /// What it shall be; null is its documented default.
    pub value: Value,
    /// For how many seconds.
    pub ttl_seconds: u64,
    /// Why.
    pub reason: String,
}

/// One override.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideItem {
    /// The resource.
    #[schemars(with = "String")]
    pub resource: Ref,
    /// The field below `spec`.
    pub field: String,
    /// What it shall be.
    pub value: Value,
    /// What its manifest says; null when it leaves the field out.
    pub manifest: Value,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub since: jiff::Timestamp,
    /// Until when.
    #[schemars(with = "String")]
    pub until: jiff::Timestamp,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Every override in force.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideList {
    /// In the order of their resources and fields.
    pub overrides: Vec<OverrideItem>,
}

/// What is no longer overridden.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cleared {
    /// The fields below `spec`.
    pub fields: Vec<String>,
}

/// The manifests a look at the node is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Look {
    /// Documents with their defaults; what they name, such as storages, is looked at as well.
    pub manifests: Vec<Value>,
}

/// One record of the store.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeptRecord {
    /// Where it is.
    pub key: String,
    /// What it says: JSON as text.
    pub value: String,
    /// The revision that made it.
    pub created: u64,
    /// The revision that last wrote it.
    pub modified: u64,
    /// How often it was written.
    pub version: u64,
}

/// Records of the store, all as they were at one revision.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordList {
    /// In the order of their keys.
    pub entries: Vec<KeptRecord>,
    /// The revision.
    pub revision: u64,
}

/// A plan, and the same plan with all it was made from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanAnswer {
    /// The plan: its hash, counts, options and steps.
    pub plan: Value,
    /// What `POST /v1/apply` takes to do exactly this plan.
    pub saved: Value,
    /// Problems of the manifests that do not stop them.
    pub warnings: Vec<Finding>,
}

/// Manifests that were accepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Accepted {
    /// By resource, such as `vm/web-1`: its identifier; empty after a dry run.
    pub accepted: BTreeMap<String, String>,
    /// How many resources the manifests declare.
    pub resources: usize,
    /// Problems that do not stop them.
    pub warnings: Vec<Finding>,
}

/// Resources with their status.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceList {
    /// Each one's manifest, and its `status`: state, uid, live, conditions, pending step.
    pub items: Vec<Value>,
    /// By kind: why nothing is known of it.
    pub unreadable: BTreeMap<String, String>,
}

/// Events that were kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventList {
    /// Oldest first.
    pub events: Vec<Value>,
    /// Follow after this one to miss nothing and see nothing twice.
    pub revision: u64,
}

/// How the node is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// The process answers.
    pub live: bool,
    /// It has read what is wanted and can be asked for changes.
    pub ready: bool,
    /// What is wrong, one sentence each.
    pub wrong: Vec<String>,
    /// The node's name.
    pub node: String,
    /// The version of Reeve.
    pub version: String,
}

/// What became of the agent's sources.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncAnswer {
    /// Each of them.
    pub sources: Vec<SyncedSource>,
}

/// A source.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceName {
    /// Its name, or a part of it that no other has.
    pub source: String,
}

/// What became of one source.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncedSource {
    /// Its name: the folder, or the repository, branch and folder.
    pub name: String,
    /// Whether it was read since it was asked for.
    pub done: bool,
    /// The commit in force, of a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Since when and by whom it is suspended, when it is: nothing new is taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
    /// Why it could not be fetched or read; what was in force stays in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How many of its resources are valid.
    pub valid: usize,
    /// What is not valid, and why.
    pub refused: BTreeMap<String, String>,
    /// New resources that are taken in once their state is known.
    pub waits: BTreeMap<String, String>,
    /// Problems that name no resource.
    pub problems: Vec<String>,
    /// What is gone and will be removed.
    pub gone: Vec<String>,
    /// Why what is gone is not removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TaskState {
    /// It waits for its turn.
    Waiting,
    /// It works.
    Running,
    /// Everything was done.
    Done,
    /// Something waits, is blocked, or was not begun.
    Unconverged,
    /// Something failed.
    Failed,
}

impl TaskState {
    /// Whether it has ended.
    pub fn ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepResult {
    /// The resource.
    #[schemars(with = "String")]
    pub resource: Ref,
    /// What was to be done: create, update or delete.
    #[schemars(with = "String")]
    pub action: Action,
    /// What became of it: done, waits, blocked, failed or skipped.
    pub ending: String,
    /// Why, when it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How far an effect is, in bytes or steps; `total` is 0 when it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// How much of it.
    pub done: u64,
    /// Of how much.
    pub total: u64,
}

/// Something that was started, and goes on without its client.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// Its identifier.
    pub id: String,
    /// What was asked for: apply, delete, start, stop, restart or adopt.
    pub what: String,
    /// Who asked.
    pub who: String,
    /// How far it is.
    pub state: TaskState,
    /// Whether it was asked to stop.
    pub cancelled: bool,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub created: jiff::Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended: Option<jiff::Timestamp>,
    /// The hash of the plan it carries out, once that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// How many steps the plan has.
    pub steps: usize,
    /// What became of the steps that ended, in the order they ended.
    pub results: Vec<StepResult>,
    /// By resource: how far what is being done to it is.
    pub progress: BTreeMap<String, Progress>,
    /// What an earlier run left and could not be cleared: resource and reason.
    pub left: BTreeMap<String, String>,
    /// Why it did nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// Every task that is remembered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskList {
    /// Oldest first.
    pub tasks: Vec<Task>,
}
