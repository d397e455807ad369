//! A virtual machine.

mod spec;

pub use spec::*;
