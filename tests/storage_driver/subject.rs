//! What the contract is run on: one storage of some type, fresh for every case.

use std::cell::RefCell;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

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
    /// In a server that has tools of its own.
    Server(Box<dyn Server>),
}

/// A real server, and what its own tools do behind the driver's back.
pub trait Server {
    /// Puts a volume there that Reeve did not make.
    fn plant(&self, name: &str, size: Size);
}

/// One storage under test.
pub struct Subject {
    pub storage: Arc<dyn Storage>,
    pub behind: Behind,
    pub driver: &'static str,
    pub options: serde_json::Value,
    /// The options of another place, which was never set up.
    pub fresh: serde_json::Value,
    /// The one format that the server behind it can really keep, where it has not all of the type's.
    pub only: Option<Format>,
    /// Whether every name is taken as it is.
    pub any_name: bool,
    /// Whether clones keep their origin from being deleted.
    pub clones_hold: bool,
    /// What sizes are multiples of.
    pub unit: Size,
    /// How many units a volume can grow to.
    pub much: u64,
    /// How many volumes there are in a listing that must be quick.
    pub many: usize,
    /// How many volumes are made at the same time.
    pub crowd: usize,
    /// How often what may go wrong by chance is tried.
    pub rounds: usize,
    /// How long a case may take.
    pub patience: Duration,
    /// Why the case does not apply.
    pub inapplicable: RefCell<Option<String>>,
    /// Room for images and the like.
    pub scratch: tempfile::TempDir,
    // Removed when the case ends.
    pub _root: Option<tempfile::TempDir>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A storage of that driver and those options, opened.
pub fn open(driver: &str, options: &serde_json::Value, content: Option<Vec<Content>>) -> Arc<dyn Storage> {
    let options = options.as_object().unwrap().clone();
    let spec = StorageSpec { driver: driver.into(), options, content, nodes: Vec::new() };
    storage::find(driver).unwrap().open(&Name::new("s").unwrap(), &spec, &secrets()).unwrap()
}

/// The secrets that storages find, kept where a guest keeps what is its own.
pub fn secrets() -> Secrets {
    Secrets::below(&std::env::temp_dir().join("storage-secrets"))
}

/// Keeps a secret.
pub fn put_secret(name: &str, key: &str, value: &str) {
    let dir = std::env::temp_dir().join("storage-secrets").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(key), format!("{value}\n")).unwrap();
}

impl Subject {
    /// A directory below `parent`, such as a mounted file system; the usual one when there is none.
    pub fn dir(parent: Option<&Path>) -> Self {
        let root = parent.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        let path = root.path().join("storage");
        let options = json!({"path": path});
        let storage = open("dir", &options, None);
        let scratch = parent.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        let fresh = json!({"path": path.with_file_name("other")});
        Self { scratch, _root: Some(root), ..Self::of("dir", storage, Behind::Files(path), options, fresh) }
    }

    /// A fake.
    pub fn fake() -> Self {
        let id = format!("contract-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let options = json!({"id": id, "capacity": "1Ti"});
        let storage = open("fake", &options, None);
        let typed: FakeOptions = serde_json::from_value(options.clone()).unwrap();
        let behind = Behind::Fake(fake::fake(&typed).unwrap());
        let fresh = json!({"id": format!("fresh-{id}")});
        Self::of("fake", storage, behind, options, fresh)
    }

    /// Any storage, with the usual measures.
    pub fn of(
        driver: &'static str,
        storage: Arc<dyn Storage>,
        behind: Behind,
        options: serde_json::Value,
        fresh: serde_json::Value,
    ) -> Self {
        Self {
            storage,
            behind,
            driver,
            options,
            fresh,
            only: None,
            any_name: true,
            clones_hold: true,
            unit: Size::mib(1),
            much: 3072,
            many: 1000,
            crowd: 40,
            rounds: 10,
            patience: Duration::from_secs(120),
            inapplicable: RefCell::default(),
            scratch: tempfile::tempdir().unwrap(),
            _root: None,
        }
    }

    /// That many units.
    pub fn size(&self, units: u64) -> Size {
        Size(self.unit.bytes() * units)
    }

    /// Every format that volumes of machines and containers have here.
    pub fn formats(&self) -> Vec<Format> {
        let able = self.storage.abilities().formats;
        let mut formats = [able(Content::Images), able(Content::Rootdir)].concat();
        formats.sort_unstable();
        formats.dedup();
        formats.retain(|f| self.only.is_none_or(|only| only == *f));
        formats
    }

    /// This format, or the one there is.
    pub fn near(&self, format: Format) -> Format {
        let formats = self.formats();
        if formats.contains(&format) { format } else { formats[0] }
    }

    /// These formats, or those there are.
    pub fn nearest(&self, formats: &[Format]) -> Vec<Format> {
        let mut near: Vec<Format> = formats.iter().map(|f| self.near(*f)).collect();
        near.sort_unstable();
        near.dedup();
        near
    }

    /// Says that the case is about something that the type declares not to have.
    pub fn not_applicable(&self, why: &str) {
        self.inapplicable.replace(Some(why.to_owned()));
    }

    /// Whether what is written can be read again.
    pub fn has_bytes(&self) -> bool {
        !matches!(self.behind, Behind::Fake(_))
    }

    /// Writes this byte where [`Subject::has`] looks.
    pub async fn put(&self, name: &str, byte: u8) {
        match self.storage.attachment(name).await.unwrap() {
            storage::Attachment::Directory { path } => std::fs::write(path.join("probe"), [byte]).unwrap(),
            storage::Attachment::File { path, format } => {
                let write = format!("write -P {byte} 1M 4k");
                drop(run("qemu-io", &["-f", format.word(), "-c", &write, path.to_str().unwrap()]));
            }
            storage::Attachment::Block { path } => {
                let device = std::fs::File::options().write(true).open(path).unwrap();
                device.write_all_at(&[byte; 4096], 1 << 20).unwrap();
                device.sync_all().unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether this byte is what was written last.
    pub async fn has(&self, name: &str, byte: u8) -> bool {
        match self.storage.attachment(name).await.unwrap() {
            storage::Attachment::Directory { path } => std::fs::read(path.join("probe")).unwrap() == [byte],
            storage::Attachment::File { path, format } => {
                let read = format!("read -P {byte} 1M 4k");
                !run("qemu-io", &["-f", format.word(), "-c", &read, path.to_str().unwrap()]).contains("failed")
            }
            storage::Attachment::Block { path } => {
                let mut bytes = [0; 4096];
                std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, 1 << 20).unwrap();
                bytes == [byte; 4096]
            }
            other => panic!("{other:?}"),
        }
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
            Behind::Server(server) => server.plant(name, size),
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
            Behind::Server(_) => match self.storage.attachment(name).await.unwrap() {
                storage::Attachment::Directory { path } => {
                    Held::File(std::fs::File::create(path.join("open")).unwrap())
                }
                storage::Attachment::Block { path } => Held::File(std::fs::File::open(path).unwrap()),
                other => panic!("{other:?}"),
            },
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
            storage::Attachment::File { path, .. }
            | storage::Attachment::Directory { path }
            | storage::Attachment::Block { path } => path,
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

/// The mark of an owner that is the same in every process.
pub fn us(number: u128) -> Mark {
    Mark { uid: Uid::from(uuid::Uuid::from_u128(number)), resource: format!("vm/{number}"), applied: None }
}

/// A volume's device.
pub async fn device(opened: &dyn Storage, name: &str) -> PathBuf {
    let storage::Attachment::Block { path } = opened.attachment(name).await.unwrap() else { panic!("no device") };
    path
}

/// The mark of a fresh owner.
pub fn owner(resource: &str) -> Mark {
    Mark { uid: Uid::fresh(), resource: resource.into(), applied: Some(json!({"disk": "root"})) }
}

/// Somebody who has a volume open.
pub enum Held {
    Process(std::process::Child),
    Fake(Arc<Fake>, String),
    // Closing it lets go.
    File(#[allow(dead_code)] std::fs::File),
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Fake(fake, name) => fake.hold(name, false).unwrap(),
            Self::File(_) => {}
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
