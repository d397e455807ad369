//! A thin pool of LVM on the node: a volume is a thin logical volume, a snapshot another that shares its blocks.
//!
//! `options` is what the manifest says, `members` tells volumes, snapshots and copies apart by their tags, and `volumes`
//! is what can be done. Programs, tags and groups are those of the type `lvm`. One `lvs` lists a pool.

mod members;
mod options;
mod volumes;

use std::sync::LazyLock;

use serde_json::Value;

pub use self::options::LvmThinOptions;
use super::lvm::options::{bad_extent, misnamed};
use super::pool::{PoolType, bad_devices, devices_only};
use super::{Abilities, Format, OptionProblem, RollBack};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &[Content::Images, Content::Rootdir],
    formats: devices_only,
    shared: false,
    snapshots: &[Format::Raw],
    linked_clones: &[Format::Raw],
    roll_back: RollBack::Any,
    thin: true,
    provisions: true,
};

/// The storage type `lvmthin`.
#[derive(Debug)]
pub struct LvmThinType;

impl PoolType for LvmThinType {
    type Options = LvmThinOptions;
    type Pool = volumes::Thin;
    const NAME: &'static str = "lvmthin";
    const ABILITIES: &'static Abilities = &ABILITIES;

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<LvmThinOptions>);
        &SHAPE
    }

    fn place(spec: &StorageSpec) -> Option<String> {
        let text = |option| spec.options.get(option).and_then(Value::as_str);
        Some(format!("lvmthin {}/{}", text("group")?, text("pool")?))
    }

    fn pool(options: LvmThinOptions) -> volumes::Thin {
        volumes::Thin::new(options)
    }

    fn problems(options: &LvmThinOptions) -> Vec<OptionProblem> {
        let LvmThinOptions { group, pool, initialize: _, devices, size, extent_size, full_at } = options;
        let mut found = Vec::new();
        let mut say = |option, message: String, help: &str| {
            found.push(OptionProblem { option, message, help: help.to_owned() });
        };
        if let Some(why) = misnamed(group) {
            say("group", format!("the volume group {group:?} {why}"), "write the name that `vgs` shows, such as vms");
        }
        if let Some(why) = misnamed(pool) {
            say("pool", format!("the thin pool {pool:?} {why}"), "write the name that `lvs` shows, such as thin");
        }
        if let Some(why) = bad_extent(*extent_size) {
            say("extentSize", why, "write 4Mi");
        } else if let Some(size) = size.filter(|s| s.bytes() == 0 || !s.bytes().is_multiple_of(extent_size.bytes())) {
            say("size", format!("the size {size} is no multiple of {extent_size}"), "write a multiple, such as 100Gi");
        }
        if !(1..=100).contains(full_at) {
            say("fullAt", format!("{full_at} is no percentage from 1 to 100"), "write 95");
        }
        found.extend(bad_devices(devices));
        found
    }
}
