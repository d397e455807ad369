//! Every integration test, in one binary: one link, one run. A folder or file a subject.

mod cli;
mod image;
mod layers;
mod manifests;
mod plan_cases;
mod storage_driver;
mod store;
