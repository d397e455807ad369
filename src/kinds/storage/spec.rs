//! What a Storage manifest says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::Name;

/// A place for volumes, images and backups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageSpec {
    /// The storage type; `reeve explain storage.DRIVER` shows the options of each. It cannot be changed later.
    #[schemars(extend("x-reeve-change" = "none", "x-reeve-example" = "dir"))]
    pub driver: String,
    /// The driver's own options. Those that say where the storage is cannot be changed later.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub options: Map<String, Value>,
    /// What may be kept there; left out: all that the driver can keep. What is kept already stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none", "x-reeve-example" = ["images", "rootdir"]))]
    pub content: Option<Vec<Content>>,
    /// The nodes that have it; empty or left out: every node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub nodes: Vec<Name>,
}

/// What a storage may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Disks of virtual machines.
    Images,
    /// Root file systems and mounts of containers.
    Rootdir,
    /// Installation media.
    Iso,
    /// Container templates.
    Template,
    /// Backups.
    Backup,
    /// Small files such as cloud-init snippets.
    Snippets,
}

impl Content {
    /// Every content type.
    pub const ALL: [Self; 6] = [Self::Images, Self::Rootdir, Self::Iso, Self::Template, Self::Backup, Self::Snippets];

    /// The word in manifests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Rootdir => "rootdir",
            Self::Iso => "iso",
            Self::Template => "template",
            Self::Backup => "backup",
            Self::Snippets => "snippets",
        }
    }

    /// Several, for people.
    pub fn words(several: &[Self]) -> String {
        several.iter().map(|c| c.word()).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// Whether a storage can be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StorageState {
    /// It answers.
    Ready,
    /// It was set up, and does not answer now.
    Unavailable,
}
