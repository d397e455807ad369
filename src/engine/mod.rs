//! Carries plans out: observe, accept, execute in the order of references, remember, recover.
//!
//! ```text
//! records   what the store keeps: accepted manifests, tombstones, the journal, events
//! observe   the world -> LiveState, all kinds at once, each with a deadline
//! execute   Plan -> Outcome per resource: bounded parallelism, journal around every outside effect
//! publish   what is known -> conditions, in the store
//! boots     which boot of the node guests were started in order for
//! picture   all of it at one moment, for whoever shows it
//! overrides single fields that are for a while not as their manifests say
//! recover   what a crash left: open intents, deletes that were begun
//! sources   which sources of manifests are suspended
//! request   what a person asks of one resource: its power, its adoption; kept: the volumes, and which is an orphan
//! ```

pub mod boots;
pub mod crash;
pub mod events;
pub mod execute;
pub mod journal;
pub mod kept;
pub mod observe;
pub mod overrides;
pub mod picture;
pub mod publish;
pub mod records;
pub mod recover;
pub mod request;
pub mod sources;
