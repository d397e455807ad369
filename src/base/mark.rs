//! The mark that Reeve leaves on what it manages, where that thing lives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Uid;

/// Says that a thing is ours, whose it is, and what was last applied to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The UID of the resource this thing belongs to.
    pub uid: Uid,
    /// The kind and name of that resource, `vm/web-1`.
    pub resource: String,
    /// The spec that was last applied in full, without secrets; tells a change from drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<serde_json::Value>,
}

/// How much a change costs a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Disruption {
    /// The guest cannot notice.
    #[default]
    None,
    /// Done while the guest runs.
    Live,
    /// Takes effect when the guest is stopped and started again.
    Restart,
    /// The guest moves to another node.
    Migrate,
    /// Data is lost.
    Destroy,
}

impl Disruption {
    /// The word used in schemas, plans and options.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Live => "live",
            Self::Restart => "restart",
            Self::Migrate => "migrate",
            Self::Destroy => "destroy",
        }
    }
}

impl std::fmt::Display for Disruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

impl std::str::FromStr for Disruption {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::None, Self::Live, Self::Restart, Self::Migrate, Self::Destroy]
            .into_iter()
            .find(|d| d.word() == text)
            .ok_or_else(|| format!("{text:?} is not one of none, live, restart, migrate, destroy"))
    }
}
