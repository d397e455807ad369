//! Checks of this host, as data: what was looked at, what was found, and what to install or do.
//!
//! Nothing is changed, and each check is on its own: one that cannot be made says so and the others go on.

mod guests;
mod host;
mod tools;

use serde::Serialize;

use crate::kinds::World;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Well.
    Ok,
    /// Something is missing that some features need.
    Warn,
    /// Something is missing that Reeve needs.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// A stable name.
    pub id: &'static str,
    /// What was checked.
    pub title: String,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to install or do.
    pub advice: Option<String>,
}

impl Finding {
    /// A check that came out well.
    fn ok(id: &'static str, title: &str, found: impl Into<String>) -> Self {
        Self { id, title: title.into(), state: State::Ok, found: found.into(), advice: None }
    }

    /// A check that found something missing.
    fn bad(id: &'static str, title: &str, state: State, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { id, title: title.into(), state, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Checks everything; takes some seconds the first time after the host started, when KVM is tried out.
pub async fn examine(world: &World) -> Vec<Finding> {
    let (machines, clock, versions) =
        tokio::join!(guests::machines(world), host::clock(world), crate::kinds::node::facts::versions());
    let mut found = vec![host::root()];
    found.extend(guests::programs(&versions));
    found.extend(machines);
    found.extend(guests::containers(&versions));
    found.push(host::cgroups());
    found.extend(host::networks());
    found.push(host::space(world));
    found.push(clock);
    found.extend(tools::images());
    found
}
