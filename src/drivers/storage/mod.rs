//! Storage: the trait every storage type implements, and the one list of types.
//!
//! A volume is named within its storage, carries our [`Mark`], and is made, grown and deleted only under that mark.
//! What a type cannot do it does not offer: optional abilities are traits of their own, asked for by the planner.

pub mod cifs;
pub mod dir;
pub mod fake;
mod header;
pub mod iscsi;
mod lock;
pub mod lvm;
pub mod lvmthin;
mod mount;
pub mod nfs;
mod offload;
mod pool;
mod qcow2;
mod qemu_img;
mod rules;
pub mod zfs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::secret::Secrets;
use crate::base::{Fault, Mark, Name, Size};
use crate::kinds::storage::{Content, StorageSpec};

/// How bytes are laid out in a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The plain bytes.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// A directory tree, for containers.
    Subvol,
}

impl Format {
    /// The word in manifests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Subvol => "subvol",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// What a storage type can do at all, known without touching it.
#[derive(Debug, Clone)]
pub struct Abilities {
    /// What it can keep.
    pub content: &'static [Content],
    /// The formats in which it keeps volumes of a content, the preferred first.
    pub formats: fn(Content) -> &'static [Format],
    /// Whether several nodes see the same volumes.
    pub shared: bool,
    /// Whether volumes of these formats have snapshots.
    pub snapshots: &'static [Format],
    /// Whether volumes of these formats have linked clones.
    pub linked_clones: &'static [Format],
    /// To which snapshots a volume can go back.
    pub roll_back: RollBack,
    /// Whether space is taken only when written.
    pub thin: bool,
    /// Whether volumes can be made, grown and deleted; where not, as with LUNs of an array, they are only found.
    pub provisions: bool,
}

/// To which snapshots a volume can go back while it keeps the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollBack {
    /// To any of them.
    Any,
    /// To the newest only; those after another must be removed first.
    Newest,
}

/// How full a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// All there is.
    pub total: Size,
    /// What is taken.
    pub used: Size,
    /// What can still be taken.
    pub free: Size,
    /// What its volumes may take together once they are full, where that is known; more than `total` is overcommitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Size>,
}

/// One volume as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeInfo {
    /// Its name within the storage.
    pub name: String,
    /// What it is kept as.
    pub content: Content,
    /// Its format.
    pub format: Format,
    /// The size the guest sees.
    pub size: Size,
    /// The space it takes, when cheap to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<Size>,
    /// Our mark, when it carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// Why it cannot be read in full, when it cannot; its size is then not known and it must not be touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a new volume starts with.
#[derive(Debug, Clone)]
pub enum Source {
    /// Nothing: zeroes, or an empty directory.
    Empty,
    /// A copy of an image file of this format, grown to the volume's size.
    Image {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
}

/// A volume to make.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Its name within the storage.
    pub name: String,
    /// What it is kept as.
    pub content: Content,
    /// Its format.
    pub format: Format,
    /// The size the guest sees.
    pub size: Size,
    /// What it starts with.
    pub source: Source,
    /// The mark it gets.
    pub mark: Mark,
}

/// How QEMU or a container reaches a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Attachment {
    /// A file on this node.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its format.
        format: Format,
    },
    /// A block device on this node.
    Block {
        /// Where it is.
        path: PathBuf,
    },
    /// A directory on this node.
    Directory {
        /// Where it is.
        path: PathBuf,
    },
    /// An RBD image through librbd.
    Rbd {
        /// `pool/image` or `pool/namespace/image`.
        name: String,
        /// The monitors, `host:port`.
        monitors: Vec<String>,
        /// The cephx user.
        user: Option<String>,
        /// The libvirt secret that has the key.
        secret: Option<uuid::Uuid>,
    },
    /// A LUN through libiscsi.
    Iscsi {
        /// `host:port`.
        portal: String,
        /// The target's IQN.
        target: String,
        /// The LUN.
        lun: u32,
    },
    /// A file through gfapi.
    Gluster {
        /// `volume/path`.
        name: String,
        /// The servers.
        hosts: Vec<String>,
        /// Its format.
        format: Format,
    },
}

/// Options as a driver's own type.
pub fn options<O: serde::de::DeserializeOwned>(options: &Map<String, Value>) -> Result<O, String> {
    serde_path_to_error::deserialize(Value::Object(options.clone()))
        .map_err(|e| format!("options.{}: {}", e.path(), e.inner()))
}

/// Options through a driver's own type and back: every default filled in, every quantity in its canonical text.
pub fn canonical<O: serde::de::DeserializeOwned + Serialize>(
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    match serde_json::to_value(options::<O>(given)?) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) | Err(_) => Err("options are no map".into()),
    }
}

/// Called with how many bytes of how many are done.
pub type OnProgress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// One storage, opened.
#[async_trait]
pub trait Storage: Send + Sync {
    /// What it can do.
    fn abilities(&self) -> &'static Abilities;

    /// Makes it ready (directories, mounts, sessions); nothing when it is.
    async fn activate(&self) -> Result<(), Fault>;

    /// Reaches again what was made ready earlier, as after a restart of the node: mounts it. Makes nothing there.
    async fn reach(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Whether it is ready, without changing anything.
    async fn active(&self) -> Result<bool, Fault>;

    /// How full it is.
    async fn usage(&self) -> Result<Usage, Fault>;

    /// Every volume on it, in one or two calls.
    async fn list(&self) -> Result<Vec<VolumeInfo>, Fault>;

    /// One volume, or `None` when it is not there.
    async fn find(&self, name: &str) -> Result<Option<VolumeInfo>, Fault>;

    /// Makes a volume whole or not at all; one that exists with the same mark UID and size counts as made.
    async fn create(&self, new: &NewVolume, progress: OnProgress<'_>) -> Result<VolumeInfo, Fault>;

    /// Makes a volume larger; refuses when the mark is another's or it would shrink. A file that a guest has open is
    /// `Busy`: its hypervisor grows it.
    async fn grow(&self, name: &str, mark: &Mark, to: Size) -> Result<(), Fault>;

    /// Replaces the mark of a volume whose present mark is `from` (`None`: it has none).
    async fn remark(&self, name: &str, from: Option<&Mark>, to: &Mark) -> Result<(), Fault>;

    /// Deletes a volume for good, after reading mark and size again under lock; an absent one counts as deleted.
    async fn delete(&self, name: &str, expect: &Mark, size: Size) -> Result<(), Fault>;

    /// How a guest on this node reaches the volume.
    async fn attachment(&self, name: &str) -> Result<Attachment, Fault>;

    /// Lets go of what [`Storage::attachment`] opened on this node for a volume that no guest here uses any more.
    async fn release(&self, _name: &str) -> Result<(), Fault> {
        Ok(())
    }

    /// Clears away what a broken-off `create` of this name left behind.
    async fn clean(&self, name: &str) -> Result<(), Fault>;

    /// The names of volumes of which a broken-off call left something behind; [`Storage::clean`] clears it away.
    async fn leftovers(&self) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    /// The mark on the storage itself, where the type has a place for one.
    fn marked(&self) -> Option<&dyn Marked> {
        None
    }

    /// Snapshots, where the type has them.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// Linked clones, where the type has them.
    fn clones(&self) -> Option<&dyn Clones> {
        None
    }
}

/// The mark on a storage itself: whose it is, and with which spec it was last activated.
#[async_trait]
pub trait Marked: Send + Sync {
    /// The mark, or `None` when the place is there and has none.
    async fn mark(&self) -> Result<Option<Mark>, Fault>;
    /// Replaces the mark when the present one has the UID of `from`; `to` of `None` takes it away.
    async fn set_mark(&self, from: Option<&Mark>, to: Option<&Mark>) -> Result<(), Fault>;
}

/// Snapshots of volumes.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Takes one.
    async fn take(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault>;
    /// Goes back to one; what was written since is lost.
    async fn roll_back(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault>;
    /// Removes one.
    async fn remove(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault>;
    /// Their names, oldest first.
    async fn list(&self, volume: &str) -> Result<Vec<String>, Fault>;
}

/// Volumes that share the blocks of another's snapshot, however large it is.
#[async_trait]
pub trait Clones: Send + Sync {
    /// Makes `new`, whose `source` is not looked at, from a snapshot of `origin`; with the promises of
    /// [`Storage::create`]. While it is there, `origin` and that snapshot cannot be deleted.
    async fn create_from(&self, new: &NewVolume, origin: &str, snapshot: &str) -> Result<VolumeInfo, Fault>;
}

/// A storage type: what can be known and checked without touching anything, and how to open one.
pub trait StorageType: Sync {
    /// The name in manifests, `dir`.
    fn name(&self) -> &'static str;
    /// What it can do.
    fn abilities(&self) -> &'static Abilities;
    /// The schema of its options.
    fn shape(&self) -> &'static crate::kinds::Shape;
    /// The JSON Schema of its options.
    fn schema(&self) -> serde_json::Value;
    /// The options with every default filled in and every quantity in its canonical text.
    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String>;
    /// What the schema cannot say about the options; each problem with the option it is about.
    fn check(&self, _spec: &StorageSpec) -> Vec<OptionProblem> {
        Vec::new()
    }
    /// A key that is the same for two storages on the same place.
    fn place(&self, spec: &StorageSpec) -> Option<String>;
    /// The directory of the node that it takes besides, as a key of the same form: where something is mounted.
    fn mounted_at(&self, _spec: &StorageSpec) -> Option<String> {
        None
    }
    /// The storage whose disks it is made of, which is set up before it.
    fn base(&self, _spec: &StorageSpec) -> Option<Name> {
        None
    }
    /// The number of bytes that every volume's size is a multiple of.
    fn granule(&self, _spec: &StorageSpec) -> u64 {
        512
    }
    /// Opens one; touches nothing yet.
    fn open(&self, name: &Name, spec: &StorageSpec, secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault>;
}

/// Something wrong with an option of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionProblem {
    /// The option, `path`.
    pub option: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Every storage type.
pub static TYPES: &[&dyn StorageType] = &[
    &cifs::CifsType,
    &dir::DirType,
    &iscsi::IscsiType,
    &lvm::LvmType,
    &lvmthin::LvmThinType,
    &nfs::NfsType,
    &zfs::ZfsType,
    &fake::FakeType,
];

/// The storage type of that name.
pub fn find(driver: &str) -> Option<&'static dyn StorageType> {
    TYPES.iter().copied().find(|t| t.name() == driver)
}

type Opened = (StorageSpec, Arc<dyn Storage>);

/// Storages that are open; each is opened once per spec.
#[derive(Default)]
pub struct Storages(Mutex<BTreeMap<Name, Opened>>);

impl Storages {
    /// Puts an open storage in, for tests.
    pub fn put(&self, name: &Name, spec: &StorageSpec, storage: Arc<dyn Storage>) {
        let mut open = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.insert(name.clone(), (spec.clone(), storage));
    }

    /// The storage of that name and spec.
    pub fn open(&self, name: &Name, spec: &StorageSpec, secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let mut open = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((known, storage)) = open.get(name)
            && known == spec
        {
            return Ok(storage.clone());
        }
        let kind = find(&spec.driver)
            .ok_or_else(|| Fault::other(format!("storage/{name} has the unknown driver {:?}", spec.driver)))?;
        let storage = kind.open(name, spec, secrets)?;
        open.insert(name.clone(), (spec.clone(), storage.clone()));
        Ok(storage)
    }
}
