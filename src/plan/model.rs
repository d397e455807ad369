//! A plan as data: steps with a reason and a disruption class each, hashable and immutable.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{Disruption, Fault, FaultKind, Seconds};
use crate::kinds::{Options, Ref};

/// Why a field differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The manifest says something new.
    Change,
    /// What runs is no longer what was last applied.
    Drift,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// The field below `spec`, such as `disks.root.size`; a whole device when it appears or goes.
    pub path: String,
    /// What it is; null when it is not there.
    pub have: Value,
    /// What it shall be; null when it shall go or return to its default.
    pub want: Value,
    /// What making the change costs the guest as it is now.
    pub disruption: Disruption,
    /// Why it differs.
    pub cause: Cause,
    /// Already configured, waiting for the guest to be stopped and started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

impl FieldChange {
    /// The first part of the path, `disks` of `disks.root.size`.
    pub fn head(&self) -> &str {
        self.path.split('.').next().unwrap_or_default()
    }

    /// The device's name, `root` of `disks.root.size`.
    pub fn device(&self) -> Option<&str> {
        self.path.split('.').nth(1)
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Makes what is absent.
    Create,
    /// Changes what is there.
    Update,
    /// Removes what is there.
    Delete,
}

/// Whether a step will be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "why")]
pub enum Readiness {
    /// It will be done whole.
    Ready,
    /// Part of it will be done; the rest waits for what is said.
    Partly(String),
    /// Nothing can be done now; it waits for what is said.
    Pending(String),
    /// It must not be done, for this reason.
    Blocked(String),
}

/// What a guest does in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moves {
    /// It starts.
    Start,
    /// It stops.
    Stop,
}

/// A guest's place among those that start or stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// What it does.
    pub moves: Moves,
    /// Its number; those without one start last and stop first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// How long those that come after it wait once it is done.
    pub delay: Seconds,
}

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What it is done to.
    pub resource: Ref,
    /// What is done.
    pub action: Action,
    /// The greatest cost of its changes.
    pub disruption: Disruption,
    /// Why, in words.
    pub reason: String,
    /// Whether it will be done.
    pub readiness: Readiness,
    /// What changes.
    pub fields: Vec<FieldChange>,
    /// The resources whose steps come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Ref>,
    /// Its place among the guests that start or stop, when one of them has a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
}

/// How many resources there are of each sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// To be made.
    pub create: usize,
    /// To be changed.
    pub update: usize,
    /// To be removed.
    pub delete: usize,
    /// That must not be touched, for a stated reason.
    pub blocked: usize,
    /// With changes that wait for a restart, a window or a permission.
    pub pending: usize,
    /// That are as they shall be.
    pub unchanged: usize,
}

/// What would be done, in an order that respects references.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The hash of everything below; the same plan has the same hash.
    pub hash: String,
    /// Counts.
    pub summary: Summary,
    /// What the plan was allowed to do.
    pub options: Options,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Refuses when the plan, made again, came out different.
    pub fn still(&self, again: &Self) -> Result<(), Fault> {
        if self.hash == again.hash {
            return Ok(());
        }
        let (was, is) = (short(&self.hash), short(&again.hash));
        let message =
            format!("the plan is stale: what runs has changed since plan {was} was made, it would now be plan {is}");
        Err(Fault::new(FaultKind::Identity, message))
    }
}

/// A plan's hash as people read it.
pub fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
