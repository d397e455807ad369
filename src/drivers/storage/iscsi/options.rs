//! The options of an iSCSI target.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Size;
use crate::base::secret::SecretField;

/// A target of an array, logged into by the kernel of every node that uses it; its LUNs are disks for volume groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IscsiOptions {
    /// Where the array listens: an address, with a port when that is not 3260.
    #[schemars(length(max = 64), extend("x-reeve-example" = "10.0.0.5:3260"))]
    pub portal: String,
    /// The target's name. It cannot be changed later.
    #[schemars(length(max = 223), extend("x-reeve-example" = "iqn.2026-11.org.example:vms"))]
    pub target: String,
    /// The user for CHAP; left out: no CHAP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), extend("x-reeve-example" = "reeve"))]
    pub username: Option<String>,
    /// The user's password for CHAP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretField>,
    /// The LUNs that must be there as they are described; with another size or serial number the storage is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub luns: Vec<Expected>,
}

/// A LUN as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    /// Its number.
    pub lun: u32,
    /// Its serial number, as `lsblk -o NAME,SERIAL` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), extend("x-reeve-example" = "beaf11"))]
    pub serial: Option<String>,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

impl IscsiOptions {
    /// The stable path of a LUN's disk.
    pub fn path(&self, lun: u32) -> PathBuf {
        let Self { portal, target, .. } = self;
        PathBuf::from(format!("/dev/disk/by-path/ip-{}-iscsi-{target}-lun-{lun}", plain_portal(portal)))
    }
}

/// A portal with its port; what is no portal stays as it is.
pub fn plain_portal(portal: &str) -> String {
    match (portal.parse::<SocketAddr>(), portal.parse::<IpAddr>()) {
        (Ok(both), _) => both.to_string(),
        (_, Ok(address)) => SocketAddr::new(address, 3260).to_string(),
        _ => portal.to_owned(),
    }
}

/// Why a portal cannot be one, or `None` when it can.
pub fn bad_portal(portal: &str) -> Option<String> {
    let bad = plain_portal(portal).parse::<SocketAddr>().is_err();
    bad.then(|| format!("the portal {portal:?} is no address, nor one with a port"))
}

/// Why a target cannot be one, or `None` when it can.
pub fn bad_target(target: &str) -> Option<String> {
    let start = ["iqn.", "eui.", "naa."].iter().any(|start| target.starts_with(start));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:_".contains(c);
    let bad = !start || !target.chars().all(plain) || target.contains("..");
    bad.then(|| format!("the target {target:?} is no name of a target"))
}

/// Why a user cannot be one for CHAP, or `None` when it can.
pub fn bad_user(name: &str) -> Option<String> {
    let bad = name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic());
    bad.then(|| format!("the user name {name:?} has what it cannot have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_become_paths() {
        for bad in ["", "iqn", "iqn.2026/../x", "iqn.a b", "-iqn.x", "iqn.a\nb", "IQN.X", "iqn..x"] {
            assert!(bad_target(bad).is_some(), "{bad:?}");
        }
        for bad in ["", "nas", "nas:3260", "10.0.0.5:", "10.0.0.5:99999", "-p"] {
            assert!(bad_portal(bad).is_some(), "{bad:?}");
        }
        assert_eq!(bad_target("iqn.2026-11.org.example:vms_1"), None);
        assert_eq!(plain_portal("10.0.0.5"), "10.0.0.5:3260");
        assert_eq!(plain_portal("fe80::1"), "[fe80::1]:3260");
        assert!(bad_user("a b").is_some() && bad_user("a\nb").is_some() && bad_user("iqn.2026:x").is_none());
    }
}
