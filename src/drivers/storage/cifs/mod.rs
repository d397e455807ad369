//! A share of an SMB server: `dir` on a mount.
//!
//! `options` is what the manifest says; the mount and its loss are `mount`'s, which also hands the password over, and the
//! volumes are `dir`'s. A share keeps no owners and no devices, so a container's root is a file with a file system in it.

mod options;

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

pub use self::options::CifsOptions;
use super::dir::{self, Dir, check_path};
use super::mount::Mount;
use super::nfs::bad_server;
use super::{Abilities, Format, OptionProblem, RollBack, Storage, StorageType};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Name};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &Content::ALL,
    formats,
    shared: true,
    snapshots: &[Format::Qcow2],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: true,
    provisions: true,
};

fn formats(content: Content) -> &'static [Format] {
    if content == Content::Rootdir { &[Format::Raw] } else { dir::formats(content) }
}

/// The storage type `cifs`.
#[derive(Debug)]
pub struct CifsType;

impl StorageType for CifsType {
    fn name(&self) -> &'static str {
        "cifs"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<CifsOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<CifsOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut options = super::canonical::<CifsOptions>(options)?;
        for (option, value) in &mut options {
            match (option.as_str(), value) {
                ("path" | "subdir", Value::String(path)) => *path = dir::plain(path),
                ("server" | "share", Value::String(name)) => *name = name.to_lowercase(),
                _ => {}
            }
        }
        Ok(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        super::options(&spec.options).map_or(Vec::new(), |options| problems(&options))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        let text = |option| spec.options.get(option).and_then(Value::as_str);
        let source = options::source(text("server")?, text("share")?, text("subdir").unwrap_or("/"));
        Some(format!("cifs {source}"))
    }

    fn mounted_at(&self, spec: &StorageSpec) -> Option<String> {
        dir::place(spec)
    }

    fn open(&self, name: &Name, spec: &StorageSpec, secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: CifsOptions = super::options(&spec.options).map_err(invalid)?;
        if let Some(problem) = problems(&options).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let mut mount = Mount::new("cifs", options.source(), dir::plain(&options.path).into(), options.for_mount());
        if let Some(password) = options.password {
            mount = mount.with_password(secrets.clone(), password.secret_ref);
        }
        let content = spec.content.clone().unwrap_or_else(|| Content::ALL.to_vec());
        Ok(Arc::new(Dir::mounted(name, mount, &ABILITIES, content, options.preallocation)))
    }
}

/// What the schema cannot say about the options.
fn problems(given: &CifsOptions) -> Vec<OptionProblem> {
    let mut found = Vec::new();
    let mut say = |option, message: String, help: &str| {
        found.push(OptionProblem { option, message, help: help.to_owned() });
    };
    if let Some(why) = bad_server(&given.server) {
        say("server", why, "write a name or an address, such as nas.example.org or 10.0.0.5");
    }
    if let Some(why) = options::bad_share(&given.share) {
        say("share", why, "write what `smbclient -L SERVER` shows, such as vms; a directory of it is `subdir`");
    }
    if let Some(why) = options::bad_subdir(&given.subdir) {
        say("subdir", why, "write it as seen from the share, such as /reeve");
    }
    if let Err((why, help)) = check_path(&given.path) {
        say("path", why, &help);
    }
    if let Some(why) = given.username.as_ref().and_then(|name| options::bad_user("user name", name)) {
        say("username", why, "write the name alone; its domain is `domain`");
    }
    if let Some(why) = given.domain.as_ref().and_then(|name| options::bad_user("domain", name)) {
        say("domain", why, "write its name, such as EXAMPLE");
    }
    match (&given.username, &given.password) {
        (Some(name), None) => {
            let why = format!("the user {name:?} has no password");
            say("username", why, "add `password: {secretRef: {name: …, key: …}}`");
        }
        (None, Some(_)) => say("password", "there is a password and no user".into(), "add `username`"),
        _ => {}
    }
    for why in given.mount_options.iter().filter_map(|option| options::bad_option(option)) {
        say("mountOptions", why, "write one option of mount.cifs(8) an entry, such as seal");
    }
    found
}
