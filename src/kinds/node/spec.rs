//! What a Node manifest says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Name;

/// A machine with Reeve on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// What the node is for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub description: Option<String>,
    /// Words to choose nodes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub labels: Option<BTreeMap<Name, String>>,
}
