//! Keeps the node as the manifests say, without anyone asking.

pub mod queue;
