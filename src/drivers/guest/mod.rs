//! Virtual machines: the trait every hypervisor implements, and the fake.
//!
//! A machine is described by its typed spec with the world's names resolved to paths and links ([`Machine`]). What the
//! hypervisor holds is read back in the same type, configured and running apart ([`Domain`]), so that both compare.
//! What is ours carries a [`Record`]. Nothing destructive happens before uuid and record are read again and fit.

pub mod fake;
mod nothing;
mod open;

pub use nothing::Nothing;
pub use open::open;

#[cfg(feature = "libvirt")]
pub mod libvirt;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::secret::SecretString;
use crate::base::{Fault, FaultKind, Mark, Name, Size, Uid};
use crate::drivers::storage::{Attachment, Format};
use crate::kinds::vm::{Accelerator, VmSpec};

/// A machine as it shall be or as it is.
///
/// To a driver it is given with every default filled in ([`VmSpec::fill`]), `boot.order` already turned into each
/// device's `bootOrder`, every nic's `mac` and every disk's `bus` set. A driver gives it back the same way, with what it
/// does not know left at the default; see [`Domain`] for what belongs to the record instead.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// What it is.
    pub spec: VmSpec,
    /// How each disk's volume or medium is reached; `None` is an empty drive.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<Name, Option<Attachment>>,
    /// What each network card is connected to; `None` is nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<Name, Option<Link>>,
    /// The cloud-init seed, an ISO file, on a read-only optical drive of its own that is in neither map; an empty path where
    /// nothing is in that drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<PathBuf>,
}

/// What a network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Link {
    /// One of the hypervisor's own networks.
    Network {
        /// Its name there.
        name: String,
    },
    /// A bridge of the host.
    Bridge {
        /// Its name.
        bridge: String,
    },
}

/// What we keep with a machine that is ours, where the machine lives.
///
/// A driver stores it as one JSON text in metadata of its own namespace, and gives it back unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Whose it is, and what was last applied.
    #[serde(flatten)]
    pub mark: Mark,
    /// Where each disk came from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<Name, Origin>,
    /// What each network card was plugged into.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugs: BTreeMap<Name, Plug>,
    /// What else the kind wants to find again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
}

/// Where a disk came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Name>,
    /// The volume's name within the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The Volume resource it belongs to, when it is not the guest's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Name>,
    /// The Image it started as a copy of, or the medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// How it was reached when it was attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
    /// Its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// What a network card was plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plug {
    /// The Network resource.
    pub network: Name,
    /// What that was for the hypervisor.
    pub link: Link,
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Power {
    /// It runs.
    Running,
    /// It is held by a person or a program.
    Paused,
    /// It is held because of an error, such as a full storage.
    Halted,
    /// It was asked to shut down and still runs.
    ShuttingDown,
    /// It does not run.
    Stopped,
    /// It ended by a crash.
    Crashed,
}

impl Power {
    /// Whether a guest is there to notice anything.
    pub fn active(self) -> bool {
        !matches!(self, Self::Stopped | Self::Crashed)
    }
}

/// Why a machine does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    /// It was never started since it was defined or the host started.
    Never,
    /// The guest shut itself down, or did so when asked.
    Shutdown,
    /// It was switched off from outside.
    Destroyed,
    /// It crashed, or its hypervisor process died or failed.
    Crashed,
    /// It moved to another host.
    Migrated,
    /// Its memory was saved to disk.
    Saved,
    /// The hypervisor does not say.
    Unknown,
}

/// A machine as the hypervisor has it.
///
/// A device is named by the name it was defined with; a driver keeps that name with the device (libvirt: the alias
/// `ua-disk-NAME`, `ua-nic-NAME`). A device without such a name gets one that follows from what identifies it and that
/// stays the same: a disk its target (`vda`), a network card `nic-` and the last six digits of its MAC address, a host
/// device `usb-`/`pci-` and its address. Such devices are listed in `unnamed`. The next `reconfigure` names those that
/// are in the new machine, and leaves alone those that are not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub uuid: Uuid,
    /// Our record, when it carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Whether it runs.
    pub power: Power,
    /// Why not, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// What it will be after the next start. Fields that only the record knows (tags, node, runStrategy, reconcile,
    /// startup, stopTimeout, memory.balloonMin, display.password, cloudInit, of disks storage, volume, path, image,
    /// backup, onRemove and, when not running, size; of nics network) are left out; `accelerator` and `machine` are what `auto` and `q35` were resolved to.
    pub configured: Machine,
    /// What it is now, while it runs; `size` of its disks is what the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Machine>,
    /// Devices without a name of ours, by section (`disks`, `nics`, `usb`, `pci`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unnamed: BTreeMap<String, Vec<Name>>,
}

/// What a hypervisor tells of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Something of this machine changed.
    Of(Uuid),
    /// Something of many did, or it is not known of which.
    OfMany,
}

/// A machine at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Glance {
    /// Its identifier.
    pub uuid: Uuid,
    /// Whether it runs.
    pub power: Power,
    /// Why not, when it does not.
    pub stop: Option<Stop>,
    /// Another number than before, as long as this process lives, when something else of the machine changed or may have.
    pub version: u64,
}

/// Which machine is meant, and whose it must be.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its identifier.
    pub uuid: Uuid,
    /// Our mark's UID that it must carry; `None`: it must carry none, as before adoption.
    pub owner: Option<Uid>,
}

impl Target<'_> {
    /// Refuses a machine that is not the one meant.
    pub fn check(&self, found: &Record) -> Result<(), Fault> {
        self.check_owner(Some(found))
    }

    /// Refuses a machine whose record is not the one meant.
    pub fn check_owner(&self, found: Option<&Record>) -> Result<(), Fault> {
        let found = found.map(|r| r.mark.uid);
        if found == self.owner {
            return Ok(());
        }
        let word = |uid: Option<Uid>| uid.map_or("nobody".to_owned(), |u| format!("UID {u}"));
        Err(Fault::new(
            FaultKind::Identity,
            format!("domain {} belongs to {}, not to {}", self.name, word(found), word(self.owner)),
        )
        .help("look at it with `reeve describe`, and plan again"))
    }
}

/// What changing a machine did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The paths that are in force now.
    pub live: Vec<String>,
    /// The paths that are configured, and wait for the next start; with the reason, when the hypervisor gave one.
    pub staged: Vec<(String, Option<String>)>,
}

/// A secret that a machine needs while it is defined, by its path in the spec (`display.password`).
pub type SecretValues = BTreeMap<String, SecretString>;

/// What a hypervisor can do on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The accelerators that work; `auto` takes the first.
    pub accelerators: Vec<Accelerator>,
    /// The machine types, versions included.
    pub machines: Vec<String>,
    /// The processor models that can be asked for with the first accelerator.
    pub cpus: Vec<String>,
    /// Whether there is UEFI firmware, and whether with secure boot.
    pub uefi: bool,
    /// Whether there is UEFI firmware with secure boot.
    pub secure_boot: bool,
    /// Whether a trusted platform module can be emulated.
    pub tpm: bool,
}

/// One hypervisor on this node.
///
/// Calls are safe to repeat: what is asked for and is so already succeeds without a change.
#[async_trait]
pub trait VmDriver: Send + Sync {
    /// The driver's name, `libvirt`.
    fn name(&self) -> &'static str;

    /// What it can do here; found once and kept.
    async fn capabilities(&self) -> Result<Capabilities, Fault>;

    /// Every machine, ours or not, in as few calls as it takes; one that cannot be read is an `Err` of its own.
    async fn list(&self) -> Result<BTreeMap<String, Result<Domain, Fault>>, Fault>;

    /// Begins to read what the next `list` shall give, for a caller that has something else to do until then.
    fn read_ahead(&self) {}

    /// Forgets what was kept of earlier reads, so that the next `list` finds what nobody told of.
    fn reread(&self) {}

    /// What the hypervisor tells of changes; never anything where it tells nothing.
    fn news(&self) -> BoxStream<'static, News> {
        futures::stream::pending().boxed()
    }

    /// Every machine at a glance, cheap enough for every tick: who looks twice and sees the same needs to read nothing.
    ///
    /// What a hypervisor does not tell of (libvirt: a configuration edited without an event) does not show here; `list`
    /// after a while, or `find`, is what finds it.
    async fn glance(&self) -> Result<BTreeMap<String, Glance>, Fault> {
        let seen = |(name, domain): (String, Result<Domain, Fault>)| {
            let domain = domain?;
            let text = serde_json::to_string(&domain)
                .map_err(|e| Fault::other(format!("domain {name} cannot be written down: {e}")))?;
            let mut hash = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&text, &mut hash);
            let version = std::hash::Hasher::finish(&hash);
            Ok((name, Glance { uuid: domain.uuid, power: domain.power, stop: domain.stop, version }))
        };
        self.list().await?.into_iter().map(seen).collect()
    }

    /// One machine by name, read now.
    async fn find(&self, name: &str) -> Result<Option<Domain>, Fault>;

    /// Defines a machine and does not start it; one with this uuid and owner is defined anew, another's is refused.
    async fn define(
        &self,
        name: &str,
        uuid: Uuid,
        machine: &Machine,
        record: &Record,
        secrets: &SecretValues,
    ) -> Result<(), Fault>;

    /// Makes `new` of `old`, touching only what stands below `paths` (`cpu.limit`, `disks.data`, `disks.root.size`).
    ///
    /// With `now`, the running guest is changed too where the hypervisor can without a restart (hotplug, media,
    /// balloon, processors, throttles, link, size); what it cannot is only configured, and said to be staged. Devices
    /// and settings of the machine that no path names stay as they are, ours or not.
    async fn reconfigure(
        &self,
        target: &Target<'_>,
        old: &Domain,
        new: &Machine,
        paths: &[String],
        secrets: &SecretValues,
        now: bool,
    ) -> Result<Changed, Fault>;

    /// Replaces the record and nothing else; `target.owner` is the present one, `None` before adoption.
    async fn set_record(&self, target: &Target<'_>, record: &Record) -> Result<(), Fault>;

    /// Starts it; nothing when it runs. A paused one is resumed.
    async fn start(&self, target: &Target<'_>) -> Result<(), Fault>;

    /// Asks the guest to shut down (agent, else ACPI) and waits; says whether it went down in time.
    async fn shutdown(&self, target: &Target<'_>, within: Duration) -> Result<bool, Fault>;

    /// Switches it off at once; nothing when it does not run.
    async fn destroy(&self, target: &Target<'_>) -> Result<(), Fault>;

    /// Forgets a machine that does not run, its firmware variables, TPM state and managed save included; volumes stay.
    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault>;

    /// The terminal device or socket of its serial console while it runs.
    async fn console(&self, target: &Target<'_>) -> Result<PathBuf, Fault>;

    /// Snapshots, where the hypervisor has them.
    fn snapshots(&self) -> Option<&dyn GuestSnapshots> {
        None
    }

    /// What the guest agent tells, where the hypervisor has such a channel.
    fn agent(&self) -> Option<&dyn GuestAgent> {
        None
    }

    /// The memory that running guests can lend the host, where the hypervisor has balloons.
    fn balloons(&self) -> Option<&dyn Balloons> {
        None
    }
}

/// How much memory there is to share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    /// What the host has.
    pub total: Size,
    /// What the host could give without swapping.
    pub available: Size,
    /// What the guests that were asked about and run have now.
    #[serde(default)]
    pub guests: BTreeMap<Uuid, Size>,
}

/// Memory that moves between running guests and their host; what a guest is configured with stays.
#[async_trait]
pub trait Balloons: Send + Sync {
    /// What the host has, and each of these guests that runs.
    async fn shared(&self, guests: &[Uuid]) -> Result<Shared, Fault>;
    /// Asks a running guest to have so much; it gets there in its own time.
    async fn lend(&self, target: &Target<'_>, size: Size) -> Result<(), Fault>;
}

/// A moment a machine can be taken back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its name.
    pub name: Name,
    /// When it was taken, in seconds since 1970.
    pub taken: i64,
    /// Whether the memory is in it.
    pub memory: bool,
    /// The one it builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Name>,
}

/// Snapshots of whole machines.
#[async_trait]
pub trait GuestSnapshots: Send + Sync {
    /// Takes one, with or without the memory; one of that name counts as taken.
    async fn take(&self, target: &Target<'_>, name: &Name, memory: bool) -> Result<(), Fault>;
    /// All of them, oldest first.
    async fn list(&self, target: &Target<'_>) -> Result<Vec<Snapshot>, Fault>;
    /// Goes back to one; what was written since is lost.
    async fn revert(&self, target: &Target<'_>, name: &Name) -> Result<(), Fault>;
    /// Removes one; an absent one counts as removed.
    async fn delete(&self, target: &Target<'_>, name: &Name) -> Result<(), Fault>;
}

/// What a guest tells of itself: status, never compared.
#[async_trait]
pub trait GuestAgent: Send + Sync {
    /// Its addresses by MAC; `None` when no agent answers within the deadline.
    async fn addresses(
        &self,
        target: &Target<'_>,
        within: Duration,
    ) -> Result<Option<BTreeMap<String, Vec<String>>>, Fault>;
}
