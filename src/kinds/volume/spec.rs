//! What a Volume manifest says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Name, Size};
use crate::drivers::storage::Format;
use crate::kinds::storage::Content;

/// A data disk or file system that outlives the guest that uses it; one guest at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeSpec {
    /// The storage it is on. It cannot be changed later.
    #[schemars(extend("x-reeve-change" = "none", "x-reeve-example" = "local"))]
    pub storage: Name,
    /// The size the guest sees; it can grow, also while the guest runs, and never shrinks.
    #[schemars(extend("x-reeve-change" = "live", "x-reeve-example" = "100Gi"))]
    pub size: Size,
    /// How its bytes are laid out; left out: the first that the storage has for the content. It cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none", "x-reeve-example" = "qcow2"))]
    pub format: Option<Format>,
    /// `images` for a disk of a virtual machine, `rootdir` for a mount of a container; left out: `images`. It cannot be
    /// changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none", "x-reeve-example" = "images"))]
    pub content: Option<Content>,
    /// The Image it starts as a copy of; read when the volume is made and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub image: Option<Name>,
}

impl VolumeSpec {
    /// What it is kept as.
    pub fn content(&self) -> Content {
        self.content.unwrap_or(Content::Images)
    }
}
