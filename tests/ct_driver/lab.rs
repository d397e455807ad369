//! What the container tests share: a small root file system, a bridge, and containers that are removed again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use reeve::base::{Mark, Name, Uid};
use reeve::drivers::container::lxc::Lxc;
use reeve::drivers::container::{Backing, CtDriver, Fill, Intent, Place, Record, Target};
use reeve::kinds::container::CtSpec;
use serde_json::Value;

/// Runs a program to its end, and gives what it printed.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let out = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if out.status.success() { Ok(text(&out.stdout)) } else { Err(format!("{program} {args:?}: {}", text(&out.stderr))) }
}

/// A place of its own for the containers of one test.
pub struct Lab {
    /// Everything is below it.
    pub dir: tempfile::TempDir,
    /// The driver.
    pub lxc: Lxc,
    /// A bridge of its own.
    pub bridge: String,
    /// The first three parts of the bridge's addresses.
    pub net: String,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// A lab with a bridge whose own address ends in `.1`.
    pub fn new() -> Self {
        // Below 31 characters, so that LXC's sockets are named after the path.
        let dir = tempfile::Builder::new().prefix("ct-").tempdir_in("/var/tmp").unwrap();
        run("chmod", &["711", dir.path().to_str().unwrap()]).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let bridge = format!("ct-{}-{number}", std::process::id() % 100_000);
        let net = format!("10.{}.{}", 100 + std::process::id() % 100, number);
        run("ip", &["link", "add", &bridge, "type", "bridge"]).unwrap();
        run("ip", &["addr", "add", &format!("{net}.1/24"), "dev", &bridge]).unwrap();
        run("ip", &["link", "set", &bridge, "up"]).unwrap();
        let lxc = Lxc::below(dir.path().join("l"));
        Self { dir, lxc, bridge, net }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A small root file system as an archive.
    pub fn archive(&self) -> PathBuf {
        let archive = self.path("root.tar");
        if !archive.exists() {
            make_archive(&self.path("root"), &archive);
        }
        archive
    }

    /// An image file of this size, filled or empty.
    pub async fn image(&self, name: &str, mib: u64, unprivileged: bool, filled: bool) -> Place {
        let path = self.path(name);
        std::fs::File::create(&path).unwrap().set_len(mib << 20).unwrap();
        let place = Place::Image(path);
        let archive = filled.then(|| self.archive());
        self.lxc.fill(&Fill { place: place.clone(), unprivileged, archive, keep: false }).await.unwrap();
        place
    }

    /// A record of a container with this spec, its root file system made.
    pub async fn record(&self, name: &str, spec: Value) -> Record {
        let spec = filled(name, spec);
        let place = self.image(&format!("{name}.raw"), 64, spec.unprivileged(), true).await;
        record(name, spec, place, &self.bridge)
    }

    /// The container's init process.
    pub async fn init(&self, name: &str) -> u32 {
        self.lxc.find(&Name::new(name).unwrap()).await.unwrap().unwrap().init.expect("it runs")
    }

    /// The loop devices on files of this lab.
    pub fn loops(&self) -> Vec<String> {
        let all = run("losetup", &["-n", "-O", "NAME,BACK-FILE"]).unwrap_or_default();
        all.lines().filter(|l| l.contains(self.dir.path().to_str().unwrap())).map(str::to_owned).collect()
    }

    /// How often the kernel ended a program of the guest for want of memory.
    pub fn oom_kills(&self, init: u32) -> u64 {
        let table = std::fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
        let find = |line: &str| {
            let path = line.splitn(3, ':').nth(2)?;
            let file = if line.starts_with("0::") { "memory.events" } else { "memory.oom_control" };
            let tree = if line.starts_with("0::") { "" } else { "memory" };
            let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{tree}{path}/{file}")).ok()?;
            text.lines().find_map(|l| l.strip_prefix("oom_kill "))?.parse().ok()
        };
        table.lines().filter(|l| l.contains(":memory:") || l.starts_with("0::")).find_map(find).unwrap_or(0)
    }

    /// What a command in the container prints.
    pub fn inside(&self, name: &str, command: &[&str]) -> Result<String, String> {
        let root = self.path("l");
        let args = ["-P", root.to_str().unwrap(), "-n", name, "--clear-env", "--"];
        run("lxc-attach", &[&args[..], command].concat())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let root = self.path("l");
        for entry in std::fs::read_dir(&root).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let _ = run("lxc-stop", &["-P", root.to_str().unwrap(), "-n", &name, "-k"]);
        }
        let _ = run("ip", &["link", "del", &self.bridge]);
    }
}

/// A spec with every default filled in.
pub fn filled(name: &str, spec: Value) -> CtSpec {
    let mut spec: CtSpec = serde_json::from_value(spec).unwrap();
    spec.fill();
    spec.hostname.get_or_insert(name.to_owned());
    spec
}

/// A record with MAC addresses that follow from the container's UID.
pub fn record(name: &str, mut spec: CtSpec, place: Place, bridge: &str) -> Record {
    let uid = Uid::fresh();
    for (nic, spec) in &mut spec.nics {
        spec.mac.get_or_insert(uid.mac(nic.as_str()));
    }
    let mut rootfs = Backing::host(place);
    rootfs.storage = Some(Name::new("local").unwrap());
    rootfs.volume = Some(format!("ct-{name}-rootfs"));
    rootfs.size = spec.rootfs.as_ref().and_then(|r| r.size);
    Record {
        mark: Mark { uid, resource: format!("ct/{name}"), applied: None },
        bridges: spec.nics.keys().map(|n| (n.clone(), bridge.to_owned())).collect(),
        spec,
        rootfs,
        mounts: Default::default(),
        intent: Intent::None,
    }
}

/// The container that a record is of.
pub fn target<'a>(name: &'a Name, record: &Record) -> Target<'a> {
    Target { name, owner: Some(record.mark.uid) }
}

/// Makes a root file system of busybox, which says in /run/up when it is up, and ends at once when it is told to.
pub fn make_archive(root: &Path, archive: &Path) {
    for dir in ["bin", "sbin", "etc/network", "proc", "sys", "dev", "tmp", "root", "var", "run", "srv"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    for applet in run("/bin/busybox", &["--list"]).unwrap().lines().filter(|a| *a != "busybox") {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
    }
    std::os::unix::fs::symlink("../bin/init", root.join("sbin/init")).unwrap();
    let inittab = "::sysinit:/bin/sh /etc/rc\n::respawn:/bin/sleep 1000000\n";
    std::fs::write(root.join("etc/inittab"), inittab).unwrap();
    std::fs::write(root.join("etc/rc"), "echo up > /run/up\n").unwrap();
    std::fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    let (root, archive) = (root.to_str().unwrap(), archive.to_str().unwrap());
    run("tar", &["-C", root, "--numeric-owner", "--owner=0", "--group=0", "-cf", archive, "."]).unwrap();
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether an address answers.
pub fn pings(address: &str) -> bool {
    run("/bin/busybox", &["ping", "-c", "1", "-W", "2", address]).is_ok()
}
