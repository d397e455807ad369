//! The options of a ZFS storage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Size;

/// A pool of ZFS on the node, or a file system in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ZfsOptions {
    /// The pool, or a file system in it; a file system is made when it is not there. It cannot be changed later.
    #[schemars(length(max = 120), extend("x-reeve-example" = "tank/reeve"))]
    pub pool: String,
    /// Whether a pool that is not there may be made of `devices`, which must be empty; nothing else is ever formatted.
    #[serde(default)]
    pub initialize: bool,
    /// The devices to make the pool of, absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-reeve-example" = ["/dev/disk/by-id/ata-A", "/dev/disk/by-id/ata-B"]))]
    pub devices: Vec<String>,
    /// How the devices are put together.
    #[serde(default)]
    pub layout: Layout,
    /// The block size of new disks of virtual machines, a power of two from 4Ki to 128Ki.
    #[serde(default = "blocksize")]
    pub blocksize: Size,
    /// Whether space is taken only when it is written; otherwise every new volume reserves its whole size.
    #[serde(default = "sparse")]
    pub sparse: bool,
    /// The directory below which file systems of containers are mounted; left out: `/` and the pool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub mountpoint: Option<String>,
}

fn blocksize() -> Size {
    Size(16 << 10)
}

fn sparse() -> bool {
    true
}

/// How the devices of a pool are put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One after the other; the loss of one is the loss of all.
    #[default]
    Stripe,
    /// All with the same data.
    Mirror,
    /// One may be lost.
    Raidz,
    /// Two may be lost.
    Raidz2,
    /// Three may be lost.
    Raidz3,
}

impl Layout {
    /// The word for `zpool create`, which has none for a stripe.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Stripe => None,
            Self::Mirror => Some("mirror"),
            Self::Raidz => Some("raidz"),
            Self::Raidz2 => Some("raidz2"),
            Self::Raidz3 => Some("raidz3"),
        }
    }

    /// How many devices it needs.
    pub fn least(self) -> usize {
        match self {
            Self::Stripe => 1,
            Self::Mirror | Self::Raidz => 2,
            Self::Raidz2 => 3,
            Self::Raidz3 => 4,
        }
    }
}

/// Why a name cannot be that of a pool or file system, or `None` when it can.
pub fn misnamed(pool: &str) -> Option<&'static str> {
    let mut parts = pool.split('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !parts.clone().next().is_some_and(|p| p.starts_with(|c: char| c.is_ascii_alphabetic())) {
        return Some("does not start with a letter");
    }
    if parts.any(|p| p.is_empty() || !p.starts_with(|c: char| c.is_ascii_alphanumeric()) || !p.chars().all(plain)) {
        return Some("is not made of names of letters, digits, '-', '_', '.' and ':' with '/' between");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_options_or_snapshots_are_refused() {
        for bad in ["", "/", "-f", "tank/", "/tank", "tank//a", "tank@x", "tank/a b", "tank/-r", "1tank", "tank/.."] {
            assert!(misnamed(bad).is_some(), "{bad:?}");
        }
        for good in ["tank", "tank/reeve", "t-1/a_b/c.d:e"] {
            assert_eq!(misnamed(good), None, "{good:?}");
        }
    }
}
