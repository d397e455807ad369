//! Reeve keeps hypervisors as their manifests say.

pub mod base;
pub mod cli;
pub mod drivers;
pub mod kinds;
pub mod plan;
