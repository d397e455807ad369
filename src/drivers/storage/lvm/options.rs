//! The options of a volume group.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Name, Size};

/// A volume group of LVM on the node; every volume is a logical volume of its whole size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LvmOptions {
    /// The volume group. It cannot be changed later.
    #[schemars(length(max = 60), extend("x-reeve-example" = "vms"))]
    pub group: String,
    /// The storage of the type `iscsi` whose LUNs the group is on; it is set up, and logged into, first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = "array"))]
    pub base: Option<Name>,
    /// Whether a group that is not there may be made of `devices`, which must be empty; nothing else is ever formatted.
    #[serde(default)]
    pub initialize: bool,
    /// The devices to make the group of, absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-reeve-example" = ["/dev/disk/by-id/ata-A"]))]
    pub devices: Vec<String>,
    /// What every volume's size is a multiple of, a power of two from 1Mi to 1Gi; the group's extents must divide it.
    #[serde(default = "extent")]
    pub extent_size: Size,
    /// Whether new space is filled with zeroes, so that no guest reads what another one left on it.
    #[serde(default = "zero")]
    pub zero: bool,
}

pub fn extent() -> Size {
    Size::mib(4)
}

fn zero() -> bool {
    true
}

/// Why a group cannot have extents of this size, or `None` when it can.
pub fn bad_extent(size: Size) -> Option<String> {
    let fits = size.bytes().is_power_of_two() && (1 << 20..=1 << 30).contains(&size.bytes());
    (!fits).then(|| format!("the extent size {size} is no power of two from 1Mi to 1Gi"))
}

/// Why a name cannot be that of a volume group, or `None` when it can.
pub fn misnamed(group: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
    if group.is_empty() || group.starts_with('-') || group == "." || group == ".." || !group.chars().all(plain) {
        return Some("is not made of letters, digits, '+', '_', '.' and '-'");
    }
    None
}

/// Parts of names that LVM keeps for itself.
const RESERVED: [&str; 18] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare",
    "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_vpool",
];
/// The longest name of a device-mapper device, without what LVM puts behind.
const LONGEST: usize = 120;

/// Why no logical volume of that group can have this name, when that is so.
pub fn misfit(group: &str, name: &str) -> Option<String> {
    if misnamed(name).is_some() {
        return Some("LVM has only letters, digits, '+', '_', '.' and '-' in names, and none starts with '-'".into());
    }
    let reserved = RESERVED.iter().find(|word| name.contains(**word));
    let start = ["snapshot", "pvmove"].into_iter().find(|word| name.starts_with(word));
    if let Some(word) = reserved.copied().or(start) {
        return Some(format!("LVM keeps names with {word} for itself"));
    }
    // The device's name has both, with every '-' twice.
    let twice = |text: &str| text.len() + text.matches('-').count();
    let length = twice(group) + 1 + twice(name);
    (length > LONGEST).then(|| format!("with its group it takes {length} bytes, and LVM has room for {LONGEST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lvm_cannot_keep_are_known() {
        for bad in ["", "-rf", "a b", "ü", "a:b", "x_tmeta", "snapshot1", "pvmove0", &"x".repeat(130), &"-x".repeat(45)]
        {
            assert!(misfit("vms", bad).is_some(), "{bad:?}");
        }
        for good in ["vm-web-1-root", "x.qcow2", "a+b_c", &"x".repeat(100)] {
            assert_eq!(misfit("vms", good), None, "{good:?}");
        }
        assert!(misnamed("../x").is_some() && misnamed("..").is_some() && misnamed("-y").is_some());
    }
}
