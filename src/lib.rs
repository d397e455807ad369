//! Reeve keeps hypervisors as their manifests say.

pub mod base;
pub mod cli;
pub mod doctor;
pub mod drivers;
pub mod engine;
pub mod kinds;
pub mod manifest;
pub mod plan;
pub mod store;
