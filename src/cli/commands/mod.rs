//! One file per command.

pub mod adopt;
pub mod agent;
pub mod apply;
pub mod by_agent;
pub mod console;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod doctor;
pub mod drift;
pub mod events;
pub mod explain;
pub mod export;
pub mod get;
pub mod observe;
pub mod overrides;
pub mod plan;
pub mod power;
pub mod schema;
pub mod shell;
pub mod sources;
pub mod sync;
pub mod validate;
pub mod volumes;
