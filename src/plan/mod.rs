//! From what is wanted and what is there to what would be done: pure, no I/O, no clock, no randomness.

pub mod desired;
pub mod diff;
pub mod file;
pub mod graph;
pub mod live;
pub mod make;
pub mod model;
pub mod overrides;
pub mod prune;
pub mod sift;
pub mod turns;
