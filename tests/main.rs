//! Every integration test, in one binary: one link, one run. A folder or file a subject.

mod store;
mod layers;
mod plan_cases;
