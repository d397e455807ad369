//! Domains as XML: a small element tree, and the two ways between it and a [`Machine`].
//!
//! Each section of a machine has a file with both directions side by side: `apply` makes a domain's XML say what the
//! section says, and touches nothing else in it; `read` gives the section back. `build` applies every section to an
//! empty domain, `patch` applies those in which two machines differ to a domain that exists. So what Reeve does not
//! own, in a domain of its own or in one it adopted, stays as it is.
//!
//! What libvirt adds by itself (addresses, aliases, labels, controllers, defaults) is never read into a machine.

mod boot_order;
mod build;
mod cpu;
mod devices;
mod disk;
mod hostdev;
pub mod mark;
mod memory;
mod nic;
mod os;
mod patch;
mod read;
mod source;
pub mod tree;

use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer};

pub use build::build;
pub use cpu::{PERIOD, quota};
pub use devices::graphics;
pub use disk::{
    find as find_disk, find_scsi, limits as disk_limits, seed as seed_drive, seed_attachment, slot as disk_slot,
    target_of, targets as disk_targets, threads,
};
pub use hostdev::find as find_hostdev;
pub use nic::{apply as set_nic, find as find_nic, read as read_nic};
pub use patch::{PASSWORD, give_names, overlay, patch, scsi_element};
pub use read::{Names, read, settle};
pub use source::apply as set_source;
pub use tree::{Element, Node, XmlError};

use crate::base::Name;

#[cfg(doc)]
use crate::drivers::guest::Machine;

/// What the XML means on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// How the control groups count processor shares.
    pub shares: Shares,
    /// Whether it is libvirt's own test driver, which has one domain type and no machine types.
    pub test: bool,
}

/// How control groups count processor shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shares {
    /// 2 to 262144, normally 1024.
    V1,
    /// 1 to 10000, normally 100, as our weight.
    V2,
}

impl Host {
    /// This host.
    pub fn here(uri: &str) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self { shares: shares(&mounts), test: uri.starts_with("test:") }
    }

    /// The control group's number for a weight.
    pub fn shares_of(self, weight: u32) -> u64 {
        match self.shares {
            Shares::V1 => (u64::from(weight) * 1024).div_euclid(100).max(2),
            Shares::V2 => weight.into(),
        }
    }

    /// The weight for a control group's number.
    pub fn weight_of(self, shares: u64) -> u32 {
        let weight = match self.shares {
            Shares::V1 => (shares * 100).div_ceil(1024),
            Shares::V2 => shares,
        };
        u32::try_from(weight).unwrap_or(u32::MAX)
    }
}

/// The processor controller is where the old hierarchy has it mounted, and in the new one otherwise.
fn shares(mounts: &str) -> Shares {
    let old = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(2);
        words.next() == Some("cgroup") && words.next().is_some_and(|options| options.split(',').any(|o| o == "cpu"))
    });
    if old { Shares::V1 } else { Shares::V2 }
}

/// A word as libvirt writes it, for those words of manifests that are the same there.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A word as libvirt writes it, read as one of a manifest.
fn from_word<T: DeserializeOwned>(word: &str) -> Option<T> {
    let from: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
    T::deserialize(from).ok()
}

/// The alias that keeps a device's name, `ua-disk-root`.
pub fn alias(sort: &str, name: &Name) -> String {
    format!("ua-{sort}-{name}")
}

/// The name of a device of this sort, when it carries one of ours.
fn named(device: &Element<'_>, sort: &str) -> Option<Name> {
    let alias = device.attribute(&["alias"], "name")?;
    Name::new(alias.strip_prefix("ua-")?.strip_prefix(sort)?.strip_prefix('-')?).ok()
}

/// Gives a device its alias.
fn give_alias(device: &mut Element<'_>, alias: String) {
    device.entry("alias").set("name", alias);
}

/// Sets the place in the boot order.
fn apply_boot_order(device: &mut Element<'_>, order: Option<u32>) {
    match order {
        Some(order) => device.entry("boot").set("order", order),
        None => device.remove_all("boot"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_both_control_groups() {
        for shares in [Shares::V1, Shares::V2] {
            let host = Host { shares, test: false };
            for weight in 1..=10_000 {
                assert_eq!(host.weight_of(host.shares_of(weight)), weight, "{shares:?}");
            }
        }
    }

    #[test]
    fn the_hierarchy_with_the_processor_controller_decides() {
        assert_eq!(shares("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), Shares::V2);
        let hybrid = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup2 /x cgroup2 rw 0 0\n";
        assert_eq!(shares(hybrid), Shares::V1);
    }
}
