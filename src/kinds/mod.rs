//! What can be declared: one folder per kind, and the one list of them.
//!
//! `kinds!` turns each line of the list into a variant of [`KindName`], [`Spec`], [`Live`] and the calls that reach the
//! kind's own code. Adding a kind is a folder and a line here.

pub(crate) mod fields;
mod kind;
mod list;
mod resource;
mod scope;
mod shape;
mod world;

pub use kind::{Claim, Console, Have, Kind, Observed, PowerRequest, Reference, Report};
pub use resource::{API_VERSION, Metadata, Places, Resource};
pub use scope::{Catalog, Scope};
pub use shape::{Shape, Types};
pub use world::{Journal, Options, Progress, Reach, Task, World};

pub mod container;
pub mod image;
pub mod network;
pub mod node;
pub mod storage;
pub mod vm;
pub mod volume;

list::kinds! {
    // Kind, short name, folder and type, other short names
    Storage          "storage"   storage::StorageKind    [];
    Volume           "volume"    volume::VolumeKind      ["vol"];
    Image            "image"     image::ImageKind        ["img"];
    Network          "network"   network::NetworkKind    ["net"];
    Node             "node"      node::NodeKind          [];
    VirtualMachine   "vm"        vm::VmKind              ["virtualmachine"];
    Container        "ct"        container::ContainerKind ["lxc"];
}

/// A resource's kind and name, written `vm/web-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref {
    /// The kind.
    pub kind: KindName,
    /// The name.
    pub name: crate::base::Name,
}

impl Ref {
    /// The resource of this kind and name.
    pub fn new(kind: KindName, name: crate::base::Name) -> Self {
        Self { kind, name }
    }
}

impl std::fmt::Display for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{}/{}", self.kind.short(), self.name))
    }
}

impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.name)
    }
}

/// A text that names no resource.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0:?} names no resource: write KIND/NAME, such as vm/web-1; the kinds are {kinds}", kinds = KindName::shorts())]
pub struct RefError(String);

impl std::str::FromStr for Ref {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        let bad = || RefError(text.chars().take(100).collect());
        let (kind, name) = text.split_once('/').ok_or_else(bad)?;
        let kind = KindName::find(kind).ok_or_else(bad)?;
        Ok(Self { kind, name: name.parse().map_err(|_| bad())? })
    }
}

impl serde::Serialize for Ref {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Ref {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Looks at a spec as one of a certain kind: `AsKind::<StorageKind>::as_kind(&spec)`.
pub trait AsKind<K: Kind> {
    /// The typed spec, when it is of that kind.
    fn as_kind(&self) -> Option<&std::sync::Arc<K::Spec>>;
}

impl KindName {
    /// The kind of this name, in full, short, or one of its other names; plural allowed.
    pub fn find(text: &str) -> Option<Self> {
        let one = |text: &str| {
            Self::ALL
                .iter()
                .copied()
                .find(|k| k.short() == text || k.as_str().eq_ignore_ascii_case(text) || k.aliases().contains(&text))
        };
        one(text).or_else(|| text.strip_suffix('s').and_then(one))
    }

    /// The short names of all kinds, for people.
    pub fn shorts() -> String {
        Self::ALL.iter().map(|k| k.short()).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for KindName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
