//! How results look: for people in a terminal, for a pull request, and for programs.

pub mod diagnostics;
pub mod diff;
pub mod paint;
pub mod plan;
pub mod table;

use serde::Serialize;

use super::error::{CliError, Result};

/// A document as JSON, indented.
pub fn json(document: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(document)
        .map_err(|e| CliError::new(format!("the result cannot be written as JSON: {e}")))
}

/// A document as YAML.
pub fn yaml(document: &impl Serialize) -> Result<String> {
    serde_yaml::to_string(document).map_err(|e| CliError::new(format!("the result cannot be written as YAML: {e}")))
}
