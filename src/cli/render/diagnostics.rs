//! Diagnostics for people and programs.

use crate::base::Diagnostics;

/// For a terminal.
pub fn text(found: &Diagnostics, _colour: bool) -> String {
    found.0.iter().map(|d| format!("{d}\n    help: {}\n", d.help.as_deref().unwrap_or(""))).collect()
}

/// For programs.
pub fn json(_found: &Diagnostics) -> String {
    String::new()
}
