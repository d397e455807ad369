//! A directory on the node.
//!
//! `spot` says where things are, `tree` reads and changes the disk, `create` makes volumes, and this file is the
//! driver: each call goes to a thread of its own with a deadline, changes are made under the lock of the volume's
//! name, and nothing is changed before mark and size are read again under that lock. Storage types whose volumes are
//! files on a mounted file system use [`Dir`] once it is mounted.

mod copy;
mod create;
mod in_use;
mod options;
mod sidecar;
mod snapshots;
mod spot;
mod tree;

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use self::in_use::not_in_use;
pub use self::options::{DirOptions, Preallocation, check_path};
use self::sidecar::Sidecar;
pub(super) use self::snapshots::check_name as check_snapshot;
use self::spot::Spot;
pub(super) use self::spot::{check_name, formats};
use self::tree::Tree;
pub(super) use self::tree::unescape;
use super::lock::Lock;
use super::mount::Mount;
use super::offload::Offload;
use super::rules::{self, same_mark};
use super::{
    Abilities, Attachment, Format, Marked, NewVolume, OnProgress, OptionProblem, RollBack, Snapshots, Storage,
    StorageType, Usage, VolumeInfo, qemu_img,
};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Mark, Name, Size};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

/// How long a short call may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// The same on a server's file system, where a call that hangs is more likely than a slow one.
const MOUNT_DEADLINE: Duration = Duration::from_secs(15);
/// How long a volume may be locked by another before it is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The lock on the storage's own mark; no volume's name starts with '.'.
const ROOT_LOCK: &str = ".storage";
const PAUSE: Duration = Duration::from_millis(10);

static ABILITIES: Abilities = Abilities {
    content: &Content::ALL,
    formats,
    shared: false,
    snapshots: &[Format::Qcow2],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: true,
    provisions: true,
};

/// The storage type `dir`.
#[derive(Debug)]
pub struct DirType;

impl StorageType for DirType {
    fn name(&self) -> &'static str {
        "dir"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<DirOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<DirOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut options = super::canonical::<DirOptions>(options)?;
        if let Some(Value::String(path)) = options.get_mut("path") {
            *path = plain(path);
        }
        Ok(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        let path = spec.options.get("path").and_then(Value::as_str);
        let checked = path.map_or(Ok(()), check_path);
        checked.err().map(|(message, help)| OptionProblem { option: "path", message, help }).into_iter().collect()
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        place(spec)
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: DirOptions = super::options(&spec.options).map_err(invalid)?;
        check_path(&options.path).map_err(|(why, help)| invalid(why).help(help))?;
        let content = spec.content.clone().unwrap_or_else(|| Content::ALL.to_vec());
        Ok(Arc::new(Dir::new(name, &options, content)))
    }
}

/// The directory that the options name, as a place.
pub(super) fn place(spec: &StorageSpec) -> Option<String> {
    spec.options.get("path").and_then(Value::as_str).map(|path| format!("path {}", plain(path)))
}

/// The same path without what means nothing: `//`, `/./` and a final `/`.
pub(super) fn plain(path: &str) -> String {
    let normal = Path::new(path).components().filter(|c| *c != Component::CurDir);
    normal.collect::<PathBuf>().to_string_lossy().into_owned()
}

/// A directory, opened.
#[derive(Debug, Clone)]
pub struct Dir {
    name: Name,
    abilities: &'static Abilities,
    tree: Tree,
    content: Vec<Content>,
    preallocation: Preallocation,
    offload: Offload,
}

impl Dir {
    /// The storage `name` in the directory that `options` name, for these contents.
    pub fn new(name: &Name, options: &DirOptions, content: Vec<Content>) -> Self {
        let tree = Tree { root: PathBuf::from(&options.path), mountpoint: options.mountpoint, mount: None };
        let (name, preallocation) = (name.clone(), options.preallocation);
        Self { name, abilities: &ABILITIES, tree, content, preallocation, offload: Offload::new(DEADLINE) }
    }

    /// The storage `name` on what `mount` mounts, for these contents.
    pub(super) fn mounted(
        name: &Name,
        mount: Mount,
        abilities: &'static Abilities,
        content: Vec<Content>,
        preallocation: Preallocation,
    ) -> Self {
        let tree = Tree { root: mount.target.clone(), mountpoint: true, mount: Some(mount) };
        Self { name: name.clone(), abilities, tree, content, preallocation, offload: Offload::new(MOUNT_DEADLINE) }
    }

    /// Runs `work` on the tree, off the async threads.
    async fn on<T: Send + 'static>(
        &self,
        what: impl std::fmt::Display,
        work: impl FnOnce(&Tree) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let tree = self.tree.clone();
        let done = self.offload.run(format!("storage/{}: cannot {what}", self.name), move || work(&tree)).await;
        done.map_err(|fault| match fault.kind {
            // A server that does not answer is not there.
            FaultKind::Deadline if self.tree.mount.is_some() => Fault { kind: FaultKind::Unavailable, ..fault },
            _ => fault,
        })
    }

    /// Takes the lock on a volume's name; a name that is busy for long is given up.
    async fn lock(&self, what: &str, name: &str) -> Result<Arc<Lock>, Fault> {
        if name != ROOT_LOCK {
            self.tree.check_name(name)?;
        }
        let begun = tokio::time::Instant::now();
        loop {
            let owned = name.to_owned();
            // The wait is here and not on a thread, or those who wait could keep those who hold from going on.
            if let Some(lock) = self.on(what, move |tree| tree.lock(&owned)).await? {
                return Ok(Arc::new(lock));
            }
            if begun.elapsed() > PATIENCE {
                let message = format!("storage/{}: cannot {what}: something else is being done to it", self.name);
                return Err(Fault::new(FaultKind::Busy, message).help("wait until it is done, and try again"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Locks the name, and finds the volume that carries the mark `expect`; `None` when there is no such volume.
    async fn hold(
        &self,
        what: &str,
        name: &str,
        expect: &Mark,
    ) -> Result<(Arc<Lock>, Option<(Spot, VolumeInfo)>), Fault> {
        let (owned, expect, storage) = (name.to_owned(), expect.clone(), self.name.clone());
        let what = format!("{what} the volume {name:?}");
        let lock = self.lock(&what, name).await?;
        self.on(&what, move |tree| {
            let found = tree.find(&owned)?;
            if let Some((_, info)) = &found {
                same_mark(&storage, info, Some(&expect))?;
            }
            Ok((lock, found))
        })
        .await
    }

    /// The same, for a call that needs the volume to be there.
    async fn hold_one(&self, what: &str, name: &str, expect: &Mark) -> Result<(Arc<Lock>, Spot, VolumeInfo), Fault> {
        let (lock, found) = self.hold(what, name, expect).await?;
        let (spot, info) = found.ok_or_else(|| self.missing(name))?;
        Ok((lock, spot, info))
    }

    fn missing(&self, name: &str) -> Fault {
        Fault::new(FaultKind::NotFound, format!("storage/{} has no volume {name:?}", self.name))
    }
}

#[async_trait]
impl Storage for Dir {
    fn abilities(&self) -> &'static Abilities {
        self.abilities
    }

    async fn activate(&self) -> Result<(), Fault> {
        self.reach().await?;
        let content = self.content.clone();
        self.on("activate it", move |tree| tree.activate(&content)).await
    }

    async fn reach(&self) -> Result<(), Fault> {
        match &self.tree.mount {
            Some(mount) => mount.ensure(&self.offload).await.map_err(|f| f.context(format!("storage/{}", self.name))),
            None => Ok(()),
        }
    }

    async fn active(&self) -> Result<bool, Fault> {
        let content = self.content.clone();
        self.on("look at it", move |tree| tree.active(&content)).await
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        self.on("tell how full it is", Tree::usage).await
    }

    async fn list(&self) -> Result<Vec<VolumeInfo>, Fault> {
        self.on("list its volumes", Tree::list).await
    }

    async fn find(&self, name: &str) -> Result<Option<VolumeInfo>, Fault> {
        let owned = name.to_owned();
        let found = self.on(format!("look for the volume {name:?}"), move |tree| tree.find(&owned)).await?;
        Ok(found.map(|(_, info)| info))
    }

    async fn create(&self, new: &NewVolume, progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
        create::create(self, new, progress).await
    }

    async fn grow(&self, name: &str, mark: &Mark, to: Size) -> Result<(), Fault> {
        let (lock, spot, info) = self.hold_one("grow", name, mark).await?;
        if to == info.size {
            return Ok(());
        }
        rules::may_grow(&info, to)?;
        match spot.format {
            Format::Subvol => {
                let sidecar = Sidecar::new(info.mark.as_ref().unwrap_or(mark), Some(to));
                self.on(format!("grow the volume {name:?}"), move |tree| {
                    let _lock = lock;
                    tree.remark(&spot, &sidecar)
                })
                .await
            }
            Format::Vmdk => Err(Fault::new(FaultKind::Unsupported, format!("the vmdk volume {name:?} cannot grow"))
                .help("convert it to qcow2 or raw")),
            Format::Raw | Format::Qcow2 => {
                let asked = spot.clone();
                self.on(format!("grow the volume {name:?}"), move |_| not_in_use(&asked)).await?;
                qemu_img::resize(&spot.path(), spot.format, to).await?;
                self.on(format!("grow the volume {name:?}"), move |_| {
                    let _lock = lock;
                    Ok(std::fs::File::open(spot.path())?.sync_all()?)
                })
                .await
            }
        }
    }

    async fn remark(&self, name: &str, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        let (owned, from, to, storage) = (name.to_owned(), from.cloned(), to.clone(), self.name.clone());
        let missing = self.missing(name);
        let what = format!("mark the volume {name:?}");
        let lock = self.lock(&what, name).await?;
        self.on(&what, move |tree| {
            let _lock = lock;
            let (spot, info) = tree.find(&owned)?.ok_or(missing)?;
            same_mark(&storage, &info, from.as_ref())?;
            let size = (spot.format == Format::Subvol).then_some(info.size);
            tree.remark(&spot, &Sidecar::new(&to, size))
        })
        .await
    }

    async fn delete(&self, name: &str, expect: &Mark, size: Size) -> Result<(), Fault> {
        let (lock, found) = self.hold("delete", name, expect).await?;
        let storage = self.name.clone();
        let owned = name.to_owned();
        self.on(format!("delete the volume {name:?}"), move |tree| {
            let _lock = lock;
            let Some((spot, info)) = found else { return tree.clean(&owned) };
            rules::same_size(&storage, &info, size)?;
            not_in_use(&spot)?;
            tree.remove(&spot)
        })
        .await
    }

    async fn attachment(&self, name: &str) -> Result<Attachment, Fault> {
        let (owned, missing) = (name.to_owned(), self.missing(name));
        self.on(format!("attach the volume {name:?}"), move |tree| {
            let (spot, _) = tree.find(&owned)?.ok_or(missing)?;
            Ok(match spot.format {
                Format::Subvol => Attachment::Directory { path: spot.path() },
                format => Attachment::File { path: spot.path(), format },
            })
        })
        .await
    }

    async fn clean(&self, name: &str) -> Result<(), Fault> {
        let owned = name.to_owned();
        let what = format!("clear away what is left of the volume {name:?}");
        let lock = self.lock(&what, name).await?;
        self.on(&what, move |tree| {
            let _lock = lock;
            tree.clean(&owned)
        })
        .await
    }

    async fn leftovers(&self) -> Result<Vec<String>, Fault> {
        self.on("look for leftovers", Tree::leftovers).await
    }

    fn marked(&self) -> Option<&dyn Marked> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
}

#[async_trait]
impl Marked for Dir {
    async fn mark(&self) -> Result<Option<Mark>, Fault> {
        self.on("read its mark", Tree::root_mark).await
    }

    async fn set_mark(&self, from: Option<&Mark>, to: Option<&Mark>) -> Result<(), Fault> {
        let (from, to) = (from.cloned(), to.cloned());
        let lock = self.lock("mark it", ROOT_LOCK).await?;
        self.on("mark it", move |tree| {
            let _lock = lock;
            tree.set_root_mark(from.as_ref(), to.as_ref())
        })
        .await
    }
}
