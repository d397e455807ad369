//! A directory of an NFS server: `dir` on a mount.
//!
//! `options` is what the manifest says; the mount and its loss are `mount`'s, the volumes are `dir`'s.

mod options;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

pub use self::options::NfsOptions;
pub(super) use self::options::bad_server;
use super::dir::{self, Dir, check_path};
use super::mount::Mount;
use super::{Abilities, Format, OptionProblem, RollBack, Storage, StorageType};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Name};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &Content::ALL,
    formats: dir::formats,
    shared: true,
    snapshots: &[Format::Qcow2],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: true,
    provisions: true,
};

/// The storage type `nfs`.
#[derive(Debug)]
pub struct NfsType;

impl StorageType for NfsType {
    fn name(&self) -> &'static str {
        "nfs"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<NfsOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<NfsOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut options = super::canonical::<NfsOptions>(options)?;
        for option in ["path", "export"] {
            if let Some(Value::String(path)) = options.get_mut(option) {
                *path = dir::plain(path);
            }
        }
        Ok(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        super::options(&spec.options).map_or(Vec::new(), |options| problems(&options))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        let text = |option| spec.options.get(option).and_then(Value::as_str);
        Some(format!("nfs {}:{}", text("server")?, dir::plain(text("export")?)))
    }

    fn mounted_at(&self, spec: &StorageSpec) -> Option<String> {
        dir::place(spec)
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: NfsOptions = super::options(&spec.options).map_err(invalid)?;
        if let Some(problem) = problems(&options).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let mount = Mount::new("nfs", options.source(), dir::plain(&options.path).into(), options.for_mount());
        let content = spec.content.clone().unwrap_or_else(|| Content::ALL.to_vec());
        Ok(Arc::new(Dir::mounted(name, mount, &ABILITIES, content, options.preallocation)))
    }
}

/// What the schema cannot say about the options.
fn problems(options: &NfsOptions) -> Vec<OptionProblem> {
    let NfsOptions { server, export, path, version: _, mount_options, preallocation: _ } = options;
    let mut found = Vec::new();
    let mut say = |option, message: String, help: &str| {
        found.push(OptionProblem { option, message, help: help.to_owned() });
    };
    if let Some(why) = bad_server(server) {
        say("server", why, "write a name or an address, such as nas.example.org or 10.0.0.5");
    }
    if let Some(why) = options::bad_export(export) {
        say("export", why, "write what `showmount -e SERVER` shows, such as /srv/vms");
    }
    if let Err((why, help)) = check_path(path) {
        say("path", why, &help);
    }
    for why in mount_options.iter().filter_map(|option| options::bad_option(option)) {
        say("mountOptions", why, "write one option of nfs(5) an entry, such as noatime");
    }
    found
}
