//! Networks: the trait every sort of network implements, and where their marks are kept.
//!
//! A driver is given a spec in canonical form ([`NetworkSpec::canonical`]) and gives back what it finds in the same
//! form, so that the two compare. Only a network with our mark and the mark's UID is changed or removed, and none is
//! removed while something is plugged in.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use crate::base::{Fault, FaultKind, Mark, Name};
use crate::kinds::network::NetworkSpec;

pub mod bridge;
pub mod fake;
#[cfg(feature = "libvirt")]
pub mod libvirt;
mod marks;
mod sysfs;

pub use marks::Marks;

/// One network as it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Seen {
    /// Its name.
    pub name: Name,
    /// What is configured, in canonical form; or why that cannot be said in a manifest.
    pub spec: Result<NetworkSpec, String>,
    /// What is in force, where the network is up.
    pub running: Option<NetworkSpec>,
    /// Whether it comes up with the host by itself.
    pub autostart: bool,
    /// The interfaces that are plugged in.
    pub plugged: Vec<String>,
    /// Our mark.
    pub mark: Option<Mark>,
}

/// Networks of one sort.
#[async_trait]
pub trait Networks: Send + Sync {
    /// Every network of this sort, ours or not.
    async fn list(&self) -> Result<Vec<Seen>, Fault>;

    /// One network, or `None` when it is not there.
    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault>;

    /// Makes a network and brings it up; one that exists with the same UID counts as made, and is brought up.
    async fn create(&self, name: &Name, spec: &NetworkSpec, mark: &Mark) -> Result<(), Fault>;

    /// Brings a network that carries the mark's UID to this spec and this mark, up, and up with the host.
    ///
    /// Where that needs the network to be stopped, `restart` must allow it; what is plugged in is plugged in again.
    async fn change(&self, name: &Name, spec: &NetworkSpec, mark: &Mark, restart: bool) -> Result<(), Fault>;

    /// Puts a mark on a network whose present mark is `from`, and changes nothing else.
    async fn remark(&self, name: &Name, from: Option<&Mark>, to: &Mark) -> Result<(), Fault>;

    /// Removes a network that carries the mark's UID; one that is not there counts as removed.
    async fn delete(&self, name: &Name, expect: &Mark) -> Result<(), Fault>;
}

/// The sorts of networks a node has.
#[derive(Clone)]
pub struct NetworkDrivers {
    /// Those that libvirt keeps; `None` in a build without it.
    pub libvirt: Option<Arc<dyn Networks>>,
    /// Bridges that Reeve makes.
    pub bridge: Arc<dyn Networks>,
    /// Whether the host has a bridge of a name, and what is plugged into it.
    pub host: fn(&str) -> Option<Vec<String>>,
}

impl NetworkDrivers {
    /// Those that go with the hypervisor at `uri`; nothing is connected or touched yet.
    ///
    /// With a hypervisor at `fake:/path/to/state.json` the networks are fakes too, their state in files beside that one.
    pub fn open(uri: &str, data_dir: &Path) -> Self {
        if let Some(path) = uri.strip_prefix("fake:") {
            let fake = |sort: &str| Arc::new(fake::FakeNetworks::kept_in(&Path::new(path).with_extension(sort)));
            return Self { libvirt: Some(fake("networks")), bridge: fake("bridges"), host: fake::host };
        }
        #[cfg(feature = "libvirt")]
        let libvirt: Option<Arc<dyn Networks>> = {
            use crate::drivers::guest::libvirt::Pool;
            Some(Arc::new(libvirt::LibvirtNetworks::new(Pool::shared(uri), data_dir)))
        };
        #[cfg(not(feature = "libvirt"))]
        let libvirt = None;
        Self { libvirt, bridge: Arc::new(bridge::Bridges::new(data_dir)), host: bridge::ports_of }
    }

    /// The driver of networks with this spec.
    pub fn of(&self, spec: &NetworkSpec) -> Result<&Arc<dyn Networks>, Fault> {
        if !spec.by_libvirt() {
            return Ok(&self.bridge);
        }
        let none =
            || Fault::new(FaultKind::Unsupported, "this reeve was built without libvirt, which keeps the network");
        self.libvirt.as_ref().ok_or_else(none)
    }
}

/// Refuses a network that does not carry the UID of `mark`.
fn ours(seen: &Seen, mark: &Mark) -> Result<(), Fault> {
    let name = &seen.name;
    match &seen.mark {
        Some(theirs) if theirs.uid == mark.uid => Ok(()),
        Some(theirs) => Err(Fault::new(
            FaultKind::Identity,
            format!("the network {name} belongs to {} with UID {}, not {}", theirs.resource, theirs.uid, mark.uid),
        )
        .help("rename one of the two")),
        None => Err(Fault::new(FaultKind::Identity, format!("there is a network {name} that reeve did not make"))
            .help(format!("`reeve adopt network/{name}` takes it over unchanged; or rename one of the two"))),
    }
}

/// Refuses to take away a network that something is plugged into.
fn unplugged(seen: &Seen) -> Result<(), Fault> {
    if seen.plugged.is_empty() {
        return Ok(());
    }
    let plugged = seen.plugged.join(", ");
    Err(Fault::new(FaultKind::Busy, format!("the network {} is in use: {plugged} is plugged in", seen.name))
        .help("stop the guests that use it, or give them another network, first"))
}
