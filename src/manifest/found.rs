//! Collects the problems of one file, up to a bound, so that a file full of nonsense is answered quickly.

use std::sync::Arc;

use super::parse::Spot;
use crate::base::{Diagnostic, Place};

/// How many problems are told of one file.
pub const MOST_PROBLEMS: usize = 1_000;

/// The problems of one file or of a part of it.
#[derive(Debug)]
pub struct Found {
    file: Arc<str>,
    list: Vec<Diagnostic>,
    errors: usize,
}

impl Found {
    /// No problems yet in `file`.
    pub fn new(file: Arc<str>) -> Self {
        Self { file, list: Vec::new(), errors: 0 }
    }

    /// The file, as the user named it.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// A place in the file.
    pub fn place(&self, spot: Spot) -> Place {
        Place { file: self.file.clone(), line: spot.line, column: spot.column, length: spot.length }
    }

    /// Adds an error at `spot`.
    pub fn error(&mut self, code: &'static str, spot: Spot, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(spot);
        self.push(Diagnostic::error(code, message).at(place).help(help));
    }

    /// Adds any diagnostic; beyond the bound it is only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.errors += usize::from(diagnostic.is_error());
        if self.list.len() <= MOST_PROBLEMS {
            self.list.push(diagnostic);
        }
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether looking for more is of no use.
    pub fn is_full(&self) -> bool {
        self.list.len() > MOST_PROBLEMS
    }

    /// The problems.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}
