//! The options of a thin pool.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Size;
use crate::drivers::storage::lvm::options::extent;

/// A thin pool of LVM on the node; its volumes take space when it is written, and have snapshots and linked clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LvmThinOptions {
    /// The volume group. It cannot be changed later.
    #[schemars(length(max = 60), extend("x-reeve-example" = "vms"))]
    pub group: String,
    /// The thin pool in it. It cannot be changed later.
    #[schemars(length(max = 60), extend("x-reeve-example" = "thin"))]
    pub pool: String,
    /// Whether a pool that is missing may be made, and its group of `devices`, which must be empty; nothing else ever is.
    #[serde(default)]
    pub initialize: bool,
    /// The devices to make the group of, absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-reeve-example" = ["/dev/disk/by-id/ata-A"]))]
    pub devices: Vec<String>,
    /// The size of a pool that is made; left out: nine tenths of what is free in the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// What every volume's size is a multiple of, a power of two from 1Mi to 1Gi; the group's extents must divide it.
    #[serde(default = "extent")]
    pub extent_size: Size,
    /// How full, in percent, the pool's data or metadata may be for a new volume, snapshot or clone, or a larger volume.
    #[serde(default = "full_at")]
    #[schemars(range(min = 1, max = 100))]
    pub full_at: u8,
}

fn full_at() -> u8 {
    95
}
