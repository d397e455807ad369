//! Keeps the node as the manifests say, without anyone asking; so far what says when to look at what.

pub mod queue;
