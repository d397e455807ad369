//! Crash points at the journal; see [`crate::base::crash`].

pub use crate::base::crash::point;
