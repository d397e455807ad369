//! Every integration test, in one binary: one link, one run. A folder or file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod agent;
mod api;
mod cli;
mod container;
mod convergence;
mod ct_driver;
mod error_codes;
mod image;
mod laws;
mod layers;
mod manifests;
mod network;
mod node_doctor;
mod plan_cases;
mod real_quickstart;
mod render;
mod samples;
mod scene;
mod storage_driver;
mod store;
mod turns;
mod vm;
mod vm_driver;
