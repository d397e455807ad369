//! An image built on the node from Debian packages: a disk that boots by itself, or a container's root file system.
//!
//! ```text
//! sources   where this node's own apt gets the release from
//! tree      mmdebstrap fills a directory; what must not be the same in two guests is taken out
//! disk      the directory becomes a partitioned disk with GRUB for BIOS and UEFI; nothing is mounted for it
//! ```
//! Every program runs in mount and process namespaces of its own and is killed with Reeve, so that a kill at any moment
//! leaves nothing but the build directory, which the next run removes.

mod disk;
mod files;
mod sources;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DebianSource, ImageFormat, ImageSpec, ImageType};
use crate::base::exec::{self, Command};
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind};
use crate::kinds::Task;

/// How long one program may take.
const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// Programs that every build needs, each with its Debian package.
const PROGRAMS: [(&str, &str); 5] = [
    ("mmdebstrap", "mmdebstrap"),
    ("apt-get", "apt"),
    ("tar", "tar"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// Programs that a disk needs besides.
const DISK_PROGRAMS: [(&str, &str); 6] = [
    ("sfdisk", "fdisk"),
    ("mke2fs", "e2fsprogs"),
    ("grub-mkimage", "grub-common"),
    ("mformat", "mtools"),
    ("mcopy", "mtools"),
    ("qemu-img", "qemu-utils"),
];

/// One build while it goes on.
struct Build<'a, 't> {
    task: &'a Task<'t>,
    spec: &'a ImageSpec,
    source: &'a DebianSource,
    dir: &'a Path,
    stage: u64,
}

/// Builds the image below `dir` and gives the finished file, durable.
pub async fn build(task: &Task<'_>, spec: &ImageSpec, source: &DebianSource, dir: &Path) -> Result<PathBuf, Fault> {
    ready(spec)?;
    let whole = || std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    let dir = whole().attempt(|| format!("make {}", dir.display()))?;
    let mut build = Build { task, spec, source, dir: &dir, stage: 0 };
    let file = build.run().await.map_err(|f| f.context(format!("build image/{}", task.meta.name)))?;
    build.show("done");
    Ok(file)
}

/// Whether this node can build at all; said at once, not after a minute.
fn ready(spec: &ImageSpec) -> Result<(), Fault> {
    if !rustix::process::geteuid().is_root() {
        return Err(
            Fault::new(FaultKind::Denied, "only root can build an image from packages").help("run reeve as root")
        );
    }
    let disk = spec.kind == ImageType::Disk;
    if disk && !cfg!(target_arch = "x86_64") {
        return Err(Fault::new(FaultKind::Unsupported, "disks are built from packages on x86-64 only")
            .help("use source.url with an image of this machine's architecture"));
    }
    let more: &[(&str, &str)] = if disk { &DISK_PROGRAMS } else { &[] };
    let missing = |(program, _): &&(&str, &str)| exec::find(program).is_none();
    let mut packages: Vec<&str> = PROGRAMS.iter().chain(more).filter(missing).map(|(_, package)| *package).collect();
    if disk {
        let files = [(disk::BIOS_FIRST, "grub-pc-bin"), (disk::UEFI_MODULES, "grub-efi-amd64-bin")];
        packages.extend(files.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package));
    }
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let packages = packages.join(" ");
    Err(Fault::new(FaultKind::Unsupported, format!("building a {} needs packages that are not installed", spec.kind))
        .help(format!("apt-get install {packages}")))
}

impl Build<'_, '_> {
    async fn run(&mut self) -> Result<PathBuf, Fault> {
        self.show("find package sources");
        let suite = sources::suite(self.source)?;
        let lines = sources::lines(self.source, &suite, self.dir).await?;
        self.bootstrap(&suite, &lines).await?;
        self.clean_tree()?;
        match self.spec.kind {
            ImageType::Disk => self.disk().await,
            ImageType::Rootfs | ImageType::Iso => self.archive().await,
        }
    }

    /// Says what is done now.
    fn show(&mut self, what: &str) {
        let stages = if self.spec.kind == ImageType::Disk { 9 } else { 4 };
        self.task.progress.step(self.task.reference, what, self.stage.min(stages), stages);
        self.stage += 1;
    }

    /// The directory that becomes the system's root.
    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The root file system as an archive.
    async fn archive(&mut self) -> Result<PathBuf, Fault> {
        self.in_tree("systemctl", &["--quiet", "enable", "systemd-networkd"]).await?;
        // A container without privileges may not mount it, and would start degraded.
        self.in_tree("systemctl", &["--quiet", "mask", "sys-kernel-debug.mount"]).await?;
        self.show("pack the files");
        let file = self.dir.join(format!("image.{}", ImageFormat::Tar.word()));
        apart("tar")
            .args(["--numeric-owner", "--xattrs", "--acls", "--one-file-system", "--sort=name"])
            // The runtime makes the device nodes; a user namespace may not.
            .args(["--exclude=./dev/*", "-C"])
            .arg(self.root())
            .arg("-cf")
            .arg(&file)
            .arg(".")
            .run()
            .await?;
        durable(&file)?;
        Ok(file)
    }

    /// Runs a program of the new system, in it.
    async fn in_tree(&self, program: &str, args: &[&str]) -> Result<(), Fault> {
        apart("chroot").arg(self.root()).arg(program).args(args).env("PATH", PATH).run().await?;
        Ok(())
    }
}

/// Where the programs of a Debian system are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A call of a program in mount and process namespaces of its own; it and all its children die with Reeve.
fn apart(program: &str) -> Command {
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "--",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child=KILL",
        ])
        .args(["--", program])
        .deadline(DEADLINE)
}

fn durable(file: &Path) -> Result<(), Fault> {
    std::fs::File::open(file).and_then(|f| f.sync_all()).attempt(|| format!("write {}", file.display()))
}

/// Removes what a build left, unless something is still mounted in there.
pub fn clear(dir: &Path) -> Result<(), Fault> {
    let Ok(dir) = dir.canonicalize() else { return Ok(()) };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").attempt(|| "read /proc/self/mountinfo")?;
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|at| Path::new(at).starts_with(&dir));
    match below {
        Some(at) => {
            Err(Fault::new(FaultKind::Busy, format!("something is mounted at {at}, in a build that broke off"))
                .help(format!("umount {at}, and apply again")))
        }
        None => super::shelf::remove_tree(&dir),
    }
}
