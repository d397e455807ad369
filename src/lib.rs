//! Reeve keeps hypervisors as their manifests say. This page is the map.
//!
//! ```text
//! manifest text  manifest::load         typed resources, every diagnostic with file, line and column
//!                plan::desired          the catalog, checked together, in the order of references
//! live           engine::observe        what is there: present, absent or unknown
//! plan           plan::make             steps as data, with a reason and a cost each; pure
//! execute        engine::execute        effects with a journal around each, several at once
//! status         cli::render            text, markdown, JSON, YAML, exit status
//! ```
//!
//! `base` has the words everyone shares and uses nothing else. `store` keeps what was accepted. `drivers` talk to one
//! hypervisor, network or storage type each. `kinds` say what can be declared, one folder each. `manifest` reads text.
//! `plan` compares. `engine` acts. `agent` does it all the time. `api` answers on its socket. `doctor` examines the host.
//! `cli` is what a person types. Which may use which is in `specs/architecture.md`, and a test holds it.

pub mod agent;
pub mod api;
pub mod base;
pub mod cli;
pub mod doctor;
pub mod drivers;
pub mod engine;
pub mod kinds;
pub mod manifest;
pub mod plan;
pub mod store;
