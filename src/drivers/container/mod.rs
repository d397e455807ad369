//! Containers: the trait every container runtime implements, and the words it shares with the kind.
//!
//! A container is described by a [`Record`]: the typed spec with every default filled in, and the world's names resolved
//! to places and bridges. What the runtime holds is read back in the same types, configured and running apart
//! ([`Seen`]), so that both compare. Nothing is changed before the owner is read again and fits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::base::{Fault, FaultKind, Mark, Name, Size, Uid};
use crate::kinds::container::CtSpec;

pub mod fake;
pub mod lxc;
mod open;
mod running;

pub use open::{CONTAINERS, open};
pub use running::can_live;

/// Where a file system of a container is on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type", content = "path")]
pub enum Place {
    /// A file with a file system in it.
    Image(PathBuf),
    /// A block device with a file system on it.
    Block(PathBuf),
    /// A directory.
    Directory(PathBuf),
    /// An ordinary file.
    File(PathBuf),
}

impl Place {
    /// The path on this node.
    pub fn path(&self) -> &PathBuf {
        match self {
            Self::Image(path) | Self::Block(path) | Self::Directory(path) | Self::File(path) => path,
        }
    }

    /// Whether there is a file system in it that has to be mounted first.
    pub fn is_device(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Block(_))
    }
}

/// Where a file system of a container is, and where that place came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backing {
    /// Where it is.
    pub place: Place,
    /// The storage that keeps it; `None`: a path of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Name>,
    /// The volume's name within the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The Volume resource it belongs to, when it is not the container's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Name>,
    /// The image it started as a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// The size its file system was last brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

impl Backing {
    /// A path of the host.
    pub fn host(place: Place) -> Self {
        Self { place, storage: None, volume: None, resource: None, image: None, size: None }
    }
}

/// Everything about a container that is ours, kept where the container lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Whose it is, and what was last applied.
    #[serde(flatten)]
    pub mark: Mark,
    /// What it is, every default filled in and every interface with its MAC address.
    pub spec: CtSpec,
    /// Where the root file system is.
    pub rootfs: Backing,
    /// Where each mount is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<Name, Backing>,
    /// The bridge of each interface.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bridges: BTreeMap<Name, String>,
    /// What we last wanted of it.
    #[serde(default)]
    pub intent: Intent,
}

/// What was last wanted of a container's power.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Intent {
    /// Nothing yet: it was never started by us.
    #[default]
    None,
    /// To run.
    Run,
    /// To run again at once: it is being restarted.
    Restart,
    /// To be stopped.
    Stop,
}

/// Whether a container runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Power {
    /// It runs.
    Running,
    /// It is held.
    Frozen,
    /// It is on its way up or down.
    Changing,
    /// It does not run.
    Stopped,
}

impl Power {
    /// Whether a guest is there to notice anything.
    pub fn active(self) -> bool {
        self != Self::Stopped
    }
}

/// How a container's last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// It never ran here.
    Never,
    /// The guest shut itself down, or did so when asked.
    Halted,
    /// It crashed, was killed, or the host went down under it.
    Failed,
}

/// A container as the runtime has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// What it will be after the next start; what only our record knows (description, tags, runStrategy, …) is from there.
    pub configured: CtSpec,
    /// What it is now, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<CtSpec>,
    /// Our record, when it carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Whether it runs.
    pub power: Power,
    /// How its last run ended, when it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The process of the guest's init on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<u32>,
    /// Where its root file system is, as configured.
    pub rootfs: Option<Place>,
    /// Settings of the runtime that are not ours; they are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
}

/// Which container is meant, and whose it must be.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Our mark's UID that it must carry; `None`: it must carry none, as before adoption.
    pub owner: Option<Uid>,
}

impl Target<'_> {
    /// Refuses a container whose record is not the one meant.
    pub fn check(&self, found: Option<&Record>) -> Result<(), Fault> {
        let found = found.map(|r| r.mark.uid);
        if found == self.owner {
            return Ok(());
        }
        let word = |uid: Option<Uid>| uid.map_or("nobody".to_owned(), |u| format!("UID {u}"));
        let message = format!("container {} belongs to {}, not to {}", self.name, word(found), word(self.owner));
        Err(Fault::new(FaultKind::Identity, message).help("look at it with `reeve describe`, and plan again"))
    }
}

/// A file system to make and to fill.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Where it is made; what was there is lost.
    pub place: Place,
    /// Whether the guest's root is an ordinary user of the host.
    pub unprivileged: bool,
    /// The archive its content comes from; `None`: it stays empty.
    pub archive: Option<PathBuf>,
    /// Leaves what is there alone: a file system is made only where nothing was ever written, and nothing is unpacked.
    pub keep: bool,
}

/// What changing a container did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The paths that are in force now.
    pub live: Vec<String>,
    /// The paths that are configured, and wait for the next start.
    pub staged: Vec<String>,
}

/// What the runtime can do on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The runtime's version.
    pub version: String,
    /// How many processors a container may use.
    pub cpus: u32,
    /// The version of the cgroup tree each limit is set in: `cpu`, `cpuset`, `memory`, `devices`.
    pub cgroups: BTreeMap<String, u8>,
    /// Whether swap can be limited.
    pub swap: bool,
    /// Whether containers without privileges can be made; if not, why.
    pub unprivileged: Result<(), String>,
}

/// One container runtime on this node.
///
/// Calls are safe to repeat: what is asked for and is so already succeeds without a change.
#[async_trait]
pub trait CtDriver: Send + Sync {
    /// The driver's name, `lxc`.
    fn name(&self) -> &'static str;

    /// What it can do here.
    async fn capabilities(&self) -> Result<Capabilities, Fault>;

    /// Every container, ours or not; one that cannot be read is an `Err` of its own.
    async fn list(&self) -> Result<BTreeMap<Name, Result<Seen, Fault>>, Fault>;

    /// One container by name, read now.
    async fn find(&self, name: &Name) -> Result<Option<Seen>, Fault>;

    /// Makes a file system at a place and fills it; what was there is lost.
    async fn fill(&self, fill: &Fill) -> Result<(), Fault>;

    /// Defines a container and does not start it; one that is there with this owner stays as it is, another's is refused.
    async fn define(&self, name: &Name, record: &Record) -> Result<(), Fault>;

    /// Puts `record` beside a container and changes nothing else; `target.owner` is the present one, `None` before adoption.
    async fn set_record(&self, target: &Target<'_>, record: &Record) -> Result<(), Fault>;

    /// Configures the container as `new` says, and touches of the running guest only what stands below `paths`.
    ///
    /// With `now`, the running guest is changed too where that needs no restart; the rest waits for the next start.
    async fn reconfigure(
        &self,
        target: &Target<'_>,
        new: &Record,
        paths: &[String],
        now: bool,
    ) -> Result<Changed, Fault>;

    /// Brings the file system of the root (`None`) or of a mount to the size of its volume, which was grown before.
    async fn grow(&self, target: &Target<'_>, mount: Option<&Name>, to: Size) -> Result<(), Fault>;

    /// Starts it; nothing when it runs.
    async fn start(&self, target: &Target<'_>) -> Result<(), Fault>;

    /// Asks the guest to shut down and waits; says whether it went down in time.
    ///
    /// `intent` is noted first: [`Intent::Stop`] to keep it stopped, [`Intent::Restart`] when it is to be started again.
    async fn shutdown(&self, target: &Target<'_>, within: Duration, intent: Intent) -> Result<bool, Fault>;

    /// Switches it off at once; nothing when it does not run.
    async fn kill(&self, target: &Target<'_>, intent: Intent) -> Result<(), Fault>;

    /// Forgets a container that does not run; its file systems stay.
    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault>;

    /// The command that gives a person a shell in the running guest, as an argument vector.
    async fn console(&self, target: &Target<'_>) -> Result<Vec<String>, Fault>;

    /// The names of containers that appeared, went, or changed in power or configuration, for as long as it is read.
    fn watch(&self) -> BoxStream<'static, Name>;
}
