//! What a Node manifest says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine with Reeve on it; words to choose nodes by are its `metadata.labels`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// What the node is for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("x-reeve-change" = "none", "x-reeve-example" = "rack 4, with the fast disks"))]
    pub description: Option<String>,
}
