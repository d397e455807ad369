//! The one list of container runtimes.

use std::path::Path;
use std::sync::Arc;

use super::CtDriver;
use super::fake::Fake;
use super::lxc::Lxc;

/// Where containers are, when nothing else is said: LXC's own directory.
pub const CONTAINERS: &str = "lxc:/var/lib/lxc";

/// The container runtime at an address; nothing is touched yet.
///
/// `lxc:/var/lib/lxc` is LXC with that directory; `fake:/path/to/state.json` is the fake with its state in that file.
pub fn open(address: &str) -> Arc<dyn CtDriver> {
    match address.split_once(':') {
        Some(("fake", path)) => Arc::new(Fake::kept_in(Path::new(path))),
        Some(("lxc", path)) => Arc::new(Lxc::below(path)),
        _ => Arc::new(Lxc::below(address)),
    }
}
