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

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

pub use self::options::LvmOptions;
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
    snapshots: &[],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: false,
    provisions: true,
};

fn formats(content: Content) -> &'static [Format] {
    match content {
        Content::Images | Content::Rootdir => &[Format::Raw],
        Content::Iso | Content::Template | Content::Backup | Content::Snippets => &[],
    }
}

/// The storage type `lvm`.
#[derive(Debug)]
pub struct LvmType;

impl StorageType for LvmType {
    fn name(&self) -> &'static str {
        "lvm"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<LvmOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<LvmOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        super::canonical::<LvmOptions>(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        super::options::<LvmOptions>(&spec.options).map_or(Vec::new(), |options| problems(&options))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        spec.options.get("group").and_then(Value::as_str).map(|group| format!("lvm {group}"))
    }

    fn granule(&self, spec: &StorageSpec) -> u64 {
        super::options::<LvmOptions>(&spec.options).map_or(512, |options| options.extent_size.bytes())
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: LvmOptions = super::options(&spec.options).map_err(invalid)?;
        if let Some(problem) = problems(&options).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let place = format!("lvm {}", options.group);
        Ok(Arc::new(Pooled::new(name, &place, spec.content.clone(), volumes::Lvm(options))))
    }
}

/// What the schema cannot say about the options.
fn problems(options: &LvmOptions) -> Vec<OptionProblem> {
    let LvmOptions { group, initialize, devices, extent_size, zero: _ } = options;
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
    for device in devices {
        if let Some(why) = super::pool::bad_device(device) {
            say("devices", why, "write a path that stays the same, such as /dev/disk/by-id/…");
        }
    }
    if *initialize && devices.is_empty() {
        let help = "list the empty devices to make the group of, or take `initialize` out";
        say("devices", "there are no devices to make the group of".to_owned(), help);
    }
    found
}
