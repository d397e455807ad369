//! A manifest that was read: its envelope, its typed spec, and where each of its fields stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KindName, Ref, Spec};
use crate::base::{Name, Place};

/// The only `apiVersion`.
pub const API_VERSION: &str = "reeve/v1";

/// What every manifest says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The resource's name, unique within its kind.
    pub name: Name,
    /// Words to select resources by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for people and programs; Reeve keeps them and reads none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Refuses to delete the resource until this is false again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protection: bool,
}

impl Metadata {
    /// Metadata with a name and nothing else.
    pub fn named(name: Name) -> Self {
        Self { name, labels: BTreeMap::new(), annotations: BTreeMap::new(), protection: false }
    }
}

/// Where the fields of one document stand; compact, since thousands are kept.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The file, as the user named it.
    pub file: Option<Arc<str>>,
    /// Hash of the dotted path, line, column, length; sorted by hash.
    entries: Box<[(u64, u32, u32, u32)]>,
}

impl Places {
    /// Places of a document in `file`: each a dotted path such as `spec.disks.root`, a line, a column and a length.
    pub fn new<'a>(file: Arc<str>, entries: impl IntoIterator<Item = (&'a str, u32, u32, u32)>) -> Self {
        Self::hashed(
            file,
            entries.into_iter().map(|(path, line, column, length)| (Self::hash(path), line, column, length)).collect(),
        )
    }

    /// The same from hashes made with [`Places::step`].
    pub fn hashed(file: Arc<str>, mut entries: Vec<(u64, u32, u32, u32)>) -> Self {
        entries.sort_unstable();
        Self { file: Some(file), entries: entries.into() }
    }

    /// The first line that any field stands on.
    pub fn first_line(&self) -> Option<u32> {
        self.entries.iter().map(|e| e.1).min()
    }

    /// The hash of a whole dotted path.
    pub fn hash(path: &str) -> u64 {
        path.split('.').fold(0, Self::step)
    }

    /// The hash of a path one key longer.
    pub fn step(hash: u64, key: &str) -> u64 {
        let seed = hash.rotate_left(5) ^ 0xcbf2_9ce4_8422_2325;
        key.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Where `path` stands; where it has no place of its own, the nearest that is around it.
    pub fn find(&self, path: &str) -> Option<Place> {
        let file = self.file.clone()?;
        let mut path = path;
        loop {
            let hash = Self::hash(path);
            if let Ok(i) = self.entries.binary_search_by_key(&hash, |e| e.0) {
                let (_, line, column, length) = self.entries[i];
                return Some(Place { file, line, column, length });
            }
            path = &path[..path.rfind('.')?];
        }
    }
}

/// A manifest in typed form.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Its envelope.
    pub meta: Metadata,
    /// What it says.
    pub spec: Spec,
    /// Where it stands.
    pub places: Places,
}

impl Resource {
    /// Its kind.
    pub fn kind(&self) -> KindName {
        self.spec.kind()
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.meta.name
    }

    /// Its kind and name.
    pub fn reference(&self) -> Ref {
        Ref::new(self.kind(), self.meta.name.clone())
    }

    /// Where the field at `path`, `spec.…` or `metadata.…`, stands.
    pub fn place(&self, path: &str) -> Option<Place> {
        self.places.find(path)
    }

    /// The manifest as a document, without places.
    pub fn document(&self) -> serde_json::Value {
        serde_json::json!({
            "apiVersion": API_VERSION,
            "kind": self.kind().as_str(),
            "metadata": self.meta,
            "spec": self.spec.to_value(),
        })
    }
}
