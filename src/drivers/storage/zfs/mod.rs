//! ZFS on the node: disks of virtual machines are zvols, file systems of containers are datasets.
//!
//! `options` is what the manifest says, `command` runs `zfs` and `zpool`, `parse` reads what they print, `volumes` is
//! what can be done with one dataset, and this file is the type. Marks are user properties, set in the same command
//! that makes a dataset; one `zfs get` reads everything below the place.

mod command;
mod options;
mod parse;
mod volumes;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

pub use self::options::{Layout, ZfsOptions};
use super::pool::Pooled;
use super::{Abilities, Format, OptionProblem, RollBack, Storage, StorageType};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Name};
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

impl StorageType for ZfsType {
    fn name(&self) -> &'static str {
        "zfs"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<ZfsOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<ZfsOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        super::canonical::<ZfsOptions>(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        super::options::<ZfsOptions>(&spec.options).map_or(Vec::new(), |options| problems(&options))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        spec.options.get("pool").and_then(Value::as_str).map(|pool| format!("zfs {pool}"))
    }

    fn granule(&self, spec: &StorageSpec) -> u64 {
        super::options::<ZfsOptions>(&spec.options).map_or(512, |options| options.blocksize.bytes())
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: ZfsOptions = super::options(&spec.options).map_err(invalid)?;
        if let Some(problem) = problems(&options).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let place = format!("zfs {}", options.pool);
        Ok(Arc::new(Pooled::new(name, &place, spec.content.clone(), volumes::Zfs(options))))
    }
}

/// What the schema cannot say about the options.
fn problems(options: &ZfsOptions) -> Vec<OptionProblem> {
    let ZfsOptions { pool, initialize, devices, layout, blocksize, sparse: _, mountpoint } = options;
    let mut found = Vec::new();
    let mut say = |option, message: String, help: &str| {
        found.push(OptionProblem { option, message, help: help.to_owned() });
    };
    if let Some(why) = options::misnamed(pool) {
        say("pool", format!("the pool {pool:?} {why}"), "write a pool, or a file system in one, such as tank/reeve");
    }
    let bytes = blocksize.bytes();
    if !bytes.is_power_of_two() || !(4 << 10..=128 << 10).contains(&bytes) {
        say("blocksize", format!("the block size {blocksize} is no power of two from 4Ki to 128Ki"), "write 16Ki");
    }
    if let Some((message, help)) = mountpoint.as_deref().and_then(|path| super::dir::check_path(path).err()) {
        say("mountpoint", message, &help);
    }
    for device in devices {
        if let Some(why) = super::pool::bad_device(device) {
            say("devices", why, "write a path that stays the same, such as /dev/disk/by-id/…");
        }
    }
    if *initialize && devices.len() < layout.least() {
        let message = format!("there are {} devices, and the layout needs {}", devices.len(), layout.least());
        say("devices", message, "list the empty devices to make the pool of, or take `initialize` out");
    }
    found
}
