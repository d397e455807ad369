//! A system container.

mod spec;

pub use spec::*;
