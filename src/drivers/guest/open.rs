//! The one list of hypervisors.

use std::path::Path;
use std::sync::Arc;

use super::VmDriver;
use super::fake::Fake;
use super::nothing::Nothing;
use crate::base::{Fault, FaultKind};

/// The hypervisor at `uri`; nothing is connected yet.
///
/// `qemu:///system` is libvirt's; `fake:/path/to/state.json` is the fake with its state in that file, for tests.
pub fn open(uri: &str) -> Arc<dyn VmDriver> {
    if let Some(path) = uri.strip_prefix("fake:") {
        return Arc::new(Fake::kept_in(Path::new(path)));
    }
    Arc::new(Nothing(
        Fault::new(FaultKind::Unsupported, format!("there is no driver for the hypervisor at {uri}"))
            .help("use a build of Reeve with the feature `libvirt`, and an address such as qemu:///system"),
    ))
}
