//! How results look: for people in a terminal, for a pull request, and for programs.

pub mod diff;
pub mod paint;
pub mod plan;
pub mod table;
