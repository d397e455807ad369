//! The options of the fake storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Size;

/// A storage that keeps nothing; for tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FakeOptions {
    /// Which fake it is; two storages of one process with the same id see the same volumes.
    #[schemars(extend("x-reeve-example" = "one"))]
    pub id: String,
    /// A file that keeps the state from one process to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How much fits; sizes count in full.
    #[serde(default = "capacity")]
    pub capacity: Size,
    /// Calls that fail, such as `list`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fail: Vec<String>,
    /// Calls that never come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hang: Vec<String>,
}

fn capacity() -> Size {
    Size::gib(1024)
}
