//! Every integration test, in one binary: one link, one run. A folder or file a subject.

mod cli;
mod ct_driver;
mod error_codes;
mod image;
mod layers;
mod manifests;
mod plan_cases;
mod samples;
mod store;
mod network;
mod scene;
mod vm_driver;
