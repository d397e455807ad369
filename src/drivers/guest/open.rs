//! The one list of hypervisors.

use std::path::Path;
use std::sync::Arc;

use super::VmDriver;
use super::fake::Fake;
#[cfg(not(feature = "libvirt"))]
use super::nothing::Nothing;
#[cfg(not(feature = "libvirt"))]
use crate::base::{Fault, FaultKind};

/// The hypervisor at `uri`; nothing is connected yet.
///
/// `qemu:///system` is libvirt's; `fake:/path/to/state.json` is the fake with its state in that file, for tests.
pub fn open(uri: &str, data_dir: &Path) -> Arc<dyn VmDriver> {
    if let Some(path) = uri.strip_prefix("fake:") {
        return Arc::new(Fake::kept_in(Path::new(path)));
    }
    #[cfg(feature = "libvirt")]
    {
        Arc::new(super::libvirt::Libvirt::new(super::libvirt::Pool::shared(uri), data_dir.to_owned()))
    }
    #[cfg(not(feature = "libvirt"))]
    nothing(uri, data_dir)
}

/// What stands where no hypervisor can be reached in this build.
#[cfg(not(feature = "libvirt"))]
fn nothing(uri: &str, _data_dir: &Path) -> Arc<dyn VmDriver> {
    Arc::new(Nothing(
        Fault::new(FaultKind::Unsupported, format!("there is no driver for the hypervisor at {uri}"))
            .help("use a build of Reeve with the feature `libvirt`, and an address such as qemu:///system"),
    ))
}
