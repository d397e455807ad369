//! LVM on the node: a volume is a logical volume of its whole size.
//!
//! `options` is what the manifest says, `command` runs LVM's programs, `parse` reads their JSON, `tags` keeps marks,
//! `group` is what concerns the whole group, and `volumes` what can be done with one volume. One `lvs` lists a group.

pub(super) mod command;
pub(super) mod group;
pub(super) mod options;
pub(super) mod parse;
pub(super) mod tags;
pub(super) mod volumes;

use std::sync::LazyLock;

use serde_json::Value;

pub use self::options::LvmOptions;
use super::pool::{PoolType, bad_devices, devices_only};
use super::{Abilities, OptionProblem, RollBack};
use crate::base::Name;
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &[Content::Images, Content::Rootdir],
    formats: devices_only,
    shared: false,
    snapshots: &[],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: false,
    provisions: true,
};

/// The storage type `lvm`.
#[derive(Debug)]
pub struct LvmType;

impl PoolType for LvmType {
    type Options = LvmOptions;
    type Pool = volumes::Lvm;
    const NAME: &'static str = "lvm";
    const ABILITIES: &'static Abilities = &ABILITIES;

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<LvmOptions>);
        &SHAPE
    }

    fn place(spec: &StorageSpec) -> Option<String> {
        spec.options.get("group").and_then(Value::as_str).map(|group| format!("lvm {group}"))
    }

    fn base(options: &LvmOptions) -> Option<Name> {
        options.base.clone()
    }

    fn pool(options: LvmOptions) -> volumes::Lvm {
        volumes::Lvm(options)
    }

    fn problems(options: &LvmOptions) -> Vec<OptionProblem> {
        let LvmOptions { group, base: _, initialize, devices, extent_size, zero: _ } = options;
        let mut found = Vec::new();
        let mut say = |option, message: String, help: &str| {
            found.push(OptionProblem { option, message, help: help.to_owned() });
        };
        if let Some(why) = options::misnamed(group) {
            say("group", format!("the volume group {group:?} {why}"), "write the name that `vgs` shows, such as vms");
        }
        if let Some(why) = options::bad_extent(*extent_size) {
            say("extentSize", why, "write 4Mi");
        }
        if *initialize && devices.is_empty() {
            let help = "list the empty devices to make the group of, or take `initialize` out";
            say("devices", "there are no devices to make the group of".to_owned(), help);
        }
        found.extend(bad_devices(devices));
        found
    }
}
