//! One place that turns what went wrong into words and an exit status.

use std::fmt;

use crate::base::{Diagnostics, Fault};

/// How a command ended when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// It said what is wrong already.
    Error,
    /// There are changes, or something waits or did not converge.
    Changes,
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum CliError {
    /// The manifests have problems.
    Diagnostics(Diagnostics),
    /// Something outside failed.
    Fault(Fault),
}

impl CliError {
    /// An error with a message only.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Fault(Fault::other(message))
    }

    /// An error with a message and what to do.
    pub fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Fault(Fault::other(message).help(help))
    }
}

impl From<Fault> for CliError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diagnostics(found) => write!(f, "{} problems in the manifests", found.0.len()),
            Self::Fault(fault) => fault.fmt(f),
        }
    }
}

/// What a command gives.
pub type Result<T = Exit> = std::result::Result<T, CliError>;
