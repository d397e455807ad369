//! What the contract is run on: one storage of some type, fresh for every case.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reeve::base::secret::Secrets;
use reeve::base::{Fault, FaultKind, Mark, Name, Size, Uid};
use reeve::drivers::storage::fake::{self, Fake, FakeOptions};
use reeve::drivers::storage::{self, Format, NewVolume, Source, Storage, VolumeInfo};
use reeve::kinds::storage::{Content, StorageSpec};
use serde_json::json;

/// Where a subject's bytes are, and how to reach behind its back.
pub enum Behind {
    /// In a directory.
    Files(PathBuf),
    /// Nowhere.
    Fake(Arc<Fake>),
}

/// One storage under test.
pub struct Subject {
    pub storage: Arc<dyn Storage>,
    pub behind: Behind,
    pub driver: &'static str,
    options: serde_json::Value,
    /// Room for images and the like.
    pub scratch: tempfile::TempDir,
    // Removed when the case ends.
    _root: Option<tempfile::TempDir>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A storage of that driver and those options, opened.
pub fn open(driver: &str, options: &serde_json::Value, content: Option<Vec<Content>>) -> Arc<dyn Storage> {
    let options = options.as_object().unwrap().clone();
    let spec = StorageSpec { driver: driver.into(), options, content, nodes: Vec::new() };
    let secrets = Secrets::below(Path::new("/nonexistent"));
    storage::find(driver).unwrap().open(&Name::new("s").unwrap(), &spec, &secrets).unwrap()
}

impl Subject {
    /// A directory below `parent`, such as a mounted file system; the usual one when there is none.
    pub fn dir(parent: Option<&Path>) -> Self {
        let root = parent.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        let path = root.path().join("storage");
        let options = json!({"path": path});
        let storage = open("dir", &options, None);
        let scratch = parent.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        Self { storage, behind: Behind::Files(path), driver: "dir", options, scratch, _root: Some(root) }
    }

    /// A fake.
    pub fn fake() -> Self {
        let id = format!("contract-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let options = json!({"id": id, "capacity": "1Ti"});
        let storage = open("fake", &options, None);
        let typed: FakeOptions = serde_json::from_value(options.clone()).unwrap();
        let behind = Behind::Fake(fake::fake(&typed).unwrap());
        Self { storage, behind, driver: "fake", options, scratch: tempfile::tempdir().unwrap(), _root: None }
    }

    /// The same place, allowed to keep only this.
    pub fn limited(&self, content: &[Content]) -> Arc<dyn Storage> {
        open(self.driver, &self.options, Some(content.to_vec()))
    }

    /// The directory, for what only real bytes can show; `None` for the fake.
    pub fn files(&self) -> Option<&Path> {
        if let Behind::Files(path) = &self.behind { Some(path) } else { None }
    }

    /// A volume that somebody else put there.
    pub fn plant(&self, name: &str, size: Size) {
        match &self.behind {
            Behind::Files(root) => {
                let file = std::fs::File::create(root.join("images").join(format!("{name}.raw"))).unwrap();
                file.set_len(size.bytes()).unwrap();
            }
            Behind::Fake(fake) => fake
                .plant(VolumeInfo {
                    name: name.into(),
                    content: Content::Images,
                    format: Format::Raw,
                    size,
                    allocated: None,
                    mark: None,
                    problem: None,
                })
                .unwrap(),
        }
    }

    /// Has the volume open as a running guest would, until the answer is dropped.
    pub async fn hold(&self, name: &str) -> Held {
        match &self.behind {
            Behind::Files(_) => {
                let info = self.storage.find(name).await.unwrap().unwrap();
                let path = self.path(name).await;
                Held::Process(qemu_holds(&path, info.format))
            }
            Behind::Fake(fake) => {
                fake.hold(name, true).unwrap();
                Held::Fake(fake.clone(), name.into())
            }
        }
    }

    /// Where a volume's file or directory is.
    pub async fn path(&self, name: &str) -> PathBuf {
        match self.storage.attachment(name).await.unwrap() {
            storage::Attachment::File { path, .. } | storage::Attachment::Directory { path } => path,
            other => panic!("{other:?} has no path"),
        }
    }

    /// Makes a volume from nothing.
    pub async fn make(&self, name: &str, format: Format, size: Size, owner: &Mark) -> Result<VolumeInfo, Fault> {
        self.storage.create(&new(name, format, size, owner), &|_, _| {}).await
    }
}

/// What is asked for to make an empty volume.
pub fn new(name: &str, format: Format, size: Size, owner: &Mark) -> NewVolume {
    let content = if format == Format::Subvol { Content::Rootdir } else { Content::Images };
    NewVolume { name: name.into(), content, format, size, source: Source::Empty, mark: owner.clone() }
}

/// The mark of a fresh owner.
pub fn owner(resource: &str) -> Mark {
    Mark { uid: Uid::fresh(), resource: resource.into(), applied: Some(json!({"disk": "root"})) }
}

/// Somebody who has a volume open.
pub enum Held {
    Process(std::process::Child),
    Fake(Arc<Fake>, String),
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Fake(fake, name) => fake.hold(name, false).unwrap(),
        }
    }
}

/// A QEMU tool that has the image open for writing, as a guest would.
fn qemu_holds(path: &Path, format: Format) -> std::process::Child {
    use std::os::unix::fs::MetadataExt as _;
    let child = Command::new("qemu-io")
        .args(["-f", format.word(), "-c", "sleep 100000"])
        .arg(path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let held =
        || std::fs::read_to_string("/proc/locks").unwrap().lines().any(|l| l.contains("OFDLCK") && l.contains(&inode));
    while !held() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child
}

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let done = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Fails unless the call failed in this way.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Fault>, kind: FaultKind) -> Fault {
    let fault = result.expect_err("it should have been refused");
    assert_eq!(fault.kind, kind, "{fault}");
    fault
}
