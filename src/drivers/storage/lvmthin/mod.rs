//! A thin pool of LVM on the node: a volume is a thin logical volume, a snapshot another that shares its blocks.
//!
//! `options` is what the manifest says, `members` tells volumes, snapshots and copies apart by their tags, and `volumes`
//! is what can be done. Programs, tags and groups are those of the type `lvm`. One `lvs` lists a pool.

mod members;
mod options;
mod volumes;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

pub use self::options::LvmThinOptions;
use super::lvm::options::{bad_extent, misnamed};
use super::pool::{Pooled, bad_device};
use super::{Abilities, Format, OptionProblem, RollBack, Storage, StorageType};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Name};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &[Content::Images, Content::Rootdir],
    formats,
    shared: false,
    snapshots: &[Format::Raw],
    linked_clones: &[Format::Raw],
    roll_back: RollBack::Any,
    thin: true,
    provisions: true,
};

fn formats(content: Content) -> &'static [Format] {
    match content {
        Content::Images | Content::Rootdir => &[Format::Raw],
        Content::Iso | Content::Template | Content::Backup | Content::Snippets => &[],
    }
}

/// The storage type `lvmthin`.
#[derive(Debug)]
pub struct LvmThinType;

impl StorageType for LvmThinType {
    fn name(&self) -> &'static str {
        "lvmthin"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<LvmThinOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<LvmThinOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        super::canonical::<LvmThinOptions>(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        super::options::<LvmThinOptions>(&spec.options).map_or(Vec::new(), |options| problems(&options))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        let text = |option| spec.options.get(option).and_then(Value::as_str);
        Some(format!("lvmthin {}/{}", text("group")?, text("pool")?))
    }

    fn granule(&self, spec: &StorageSpec) -> u64 {
        super::options::<LvmThinOptions>(&spec.options).map_or(512, |options| options.extent_size.bytes())
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: LvmThinOptions = super::options(&spec.options).map_err(invalid)?;
        if let Some(problem) = problems(&options).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let place = format!("lvmthin {}/{}", options.group, options.pool);
        Ok(Arc::new(Pooled::new(name, &place, spec.content.clone(), volumes::Thin::new(options))))
    }
}

/// What the schema cannot say about the options.
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
    for device in devices {
        if let Some(why) = bad_device(device) {
            say("devices", why, "write a path that stays the same, such as /dev/disk/by-id/…");
        }
    }
    found
}
