//! Every integration test, in one binary: one link, one run. A folder or file a subject.

mod ct_driver;
mod layers;
mod manifests;
mod plan_cases;
mod store;
