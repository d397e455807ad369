//! Checks of this host.

use crate::kinds::World;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
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
#[derive(Debug, Clone, serde::Serialize)]
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

/// Checks everything.
pub async fn examine(_world: &World) -> Vec<Finding> {
    Vec::new()
}
