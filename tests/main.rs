//! Every integration test, in one binary: one link, one run. A folder or file a subject.
mod vm_driver;
