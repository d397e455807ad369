//! ZFS on the node: disks of virtual machines are zvols, file systems of containers are datasets.
//!
//! `options` is what the manifest says, `command` runs `zfs` and `zpool`, `parse` reads what they print, `volumes` is
//! what can be done with one dataset, and this file is the type. Marks are user properties, set in the same command
//! that makes a dataset; one `zfs get` reads everything below the place.

mod command;
mod options;
mod parse;
mod volumes;

use std::sync::LazyLock;

use serde_json::Value;

pub use self::options::{Layout, ZfsOptions};
use super::pool::{PoolType, bad_devices};
use super::{Abilities, Format, OptionProblem, RollBack};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &[Content::Images, Content::Rootdir],
    formats,
    shared: false,
    snapshots: &[Format::Raw, Format::Subvol],
    linked_clones: &[Format::Raw, Format::Subvol],
    roll_back: RollBack::Newest,
    thin: true,
    provisions: true,
};

fn formats(content: Content) -> &'static [Format] {
    match content {
        Content::Images => &[Format::Raw],
        Content::Rootdir => &[Format::Subvol],
        Content::Iso | Content::Template | Content::Backup | Content::Snippets => &[],
    }
}

/// The storage type `zfs`.
#[derive(Debug)]
pub struct ZfsType;

impl PoolType for ZfsType {
    type Options = ZfsOptions;
    type Pool = volumes::Zfs;
    const NAME: &'static str = "zfs";
    const ABILITIES: &'static Abilities = &ABILITIES;

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<ZfsOptions>);
        &SHAPE
    }

    fn place(spec: &StorageSpec) -> Option<String> {
        spec.options.get("pool").and_then(Value::as_str).map(|pool| format!("zfs {pool}"))
    }

    fn pool(options: ZfsOptions) -> volumes::Zfs {
        volumes::Zfs(options)
    }

    fn problems(options: &ZfsOptions) -> Vec<OptionProblem> {
        let ZfsOptions { pool, initialize, devices, layout, blocksize, sparse: _, mountpoint } = options;
        let mut found = Vec::new();
        let mut say = |option, message: String, help: &str| {
            found.push(OptionProblem { option, message, help: help.to_owned() });
        };
        if let Some(why) = options::misnamed(pool) {
            say(
                "pool",
                format!("the pool {pool:?} {why}"),
                "write a pool, or a file system in one, such as tank/reeve",
            );
        }
        let bytes = blocksize.bytes();
        if !bytes.is_power_of_two() || !(4 << 10..=128 << 10).contains(&bytes) {
            say("blocksize", format!("the block size {blocksize} is no power of two from 4Ki to 128Ki"), "write 16Ki");
        }
        if let Some((message, help)) = mountpoint.as_deref().and_then(|path| super::dir::check_path(path).err()) {
            say("mountpoint", message, &help);
        }
        if *initialize && devices.len() < layout.least() {
            let message = format!("there are {} devices, and the layout needs {}", devices.len(), layout.least());
            say("devices", message, "list the empty devices to make the pool of, or take `initialize` out");
        }
        found.extend(bad_devices(devices));
        found
    }
}
