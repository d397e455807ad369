//! The command line: one file per command, one place for exit codes, one for looks.

pub mod args;
pub mod render;
