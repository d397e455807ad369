//! `kill -9` at random instants of create, update and delete of a virtual machine on real libvirt: in the middle of
//! calls to libvirt and QEMU too, not only at the points of the journal.
//!
//! The guest has UEFI with variables of its own, a seed, two disks and a network card; it runs its firmware on a tenth of
//! a processor, since nothing here needs it to boot. After each kill the next run converges, the guest was started
//! exactly once, and in the end nothing is left: no domain, volume, seed, variables, tap, journal entry or lock.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use reeve::base::clock::SystemClock;
use reeve::engine::records::Ledger;
use reeve::engine::recover::Unfinished;
use reeve::store::Embedded;
use reeve::store::embedded::Options;
use serde_json::Value;

use crate::cli::{Place, STORAGE};

/// What every form of the machine has.
const COMMON: &str = "apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: NAME}
spec:
  runStrategy: Always
  stopTimeout: 0s
  accelerator: tcg
  memory: {size: 64Mi}
  firmware: {type: uefi}
  nics: {eth0: {network: crash}}
";
const FIRST: &str = "  cpu: {limit: 0.1}
  cloudInit: {reconcile: {hostname: one}}
  disks:
    root: {storage: local, size: 8Mi}
    data: {storage: local, size: 4Mi}
";
/// Live: the weight, a larger disk, one more; for the next start: no random number generator.
const SECOND: &str = "  cpu: {limit: 0.1, weight: 300}
  cloudInit: {reconcile: {hostname: two}}
  tags: [changed]
  rng: {enabled: false}
  disks:
    root: {storage: local, size: 16Mi}
    data: {storage: local, size: 4Mi}
    more: {storage: local, size: 4Mi}
";
fn virsh(words: &[&str]) -> String {
    let output = Command::new("virsh").args(["-q", "-c", "qemu:///system"]).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A place with a bridge and a machine of its own on this host's libvirt.
struct Host {
    place: Place,
    name: String,
    bridge: String,
}

impl Host {
    fn new(tag: &str) -> Self {
        let pid = std::process::id();
        let host = Self { place: Place::new(), name: format!("crash-{tag}-{pid}"), bridge: format!("rvc{tag}{pid}") };
        for words in [["link", "add", &host.bridge, "type", "bridge"], ["link", "set", &host.bridge, "up", ""]] {
            let words = words.into_iter().filter(|w| !w.is_empty());
            assert!(Command::new("ip").args(words).status().unwrap().success(), "{}", host.bridge);
        }
        let at = host.place.path("data").display().to_string();
        host.place.write("config.yaml", &format!("node: n1\ndataDir: {at}\nhypervisor: qemu:///system\n"));
        host.place.write("m/storage.yaml", STORAGE);
        let network = format!(
            "apiVersion: reeve/v1\nkind: Network\nmetadata: {{name: crash}}\nspec: {{type: bridge, bridge: {}}}\n",
            host.bridge
        );
        host.place.write("m/network.yaml", &network);
        host.place.expect(0, "apply m --yes");
        host
    }

    fn want(&self, rest: &str) {
        self.place.write("m/vm.yaml", &format!("{}{rest}", COMMON.replace("NAME", &self.name)));
    }

    fn delete_words(&self) -> String {
        format!("delete vm/{} --destroy-data --yes", self.name)
    }

    /// How often libvirt started the guest.
    fn starts(&self) -> usize {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|l| l.contains(": starting up")).count()
    }

    fn log(&self) -> String {
        format!("/var/log/libvirt/qemu/{}.log", self.name)
    }

    /// The files below a folder of the place, the names alone.
    fn files(&self, folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.place.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    fn volumes(&self) -> Vec<String> {
        let prefix = format!("vm-{}-", self.name);
        let files = self.files("storage").into_iter();
        files.filter_map(|f| Some(f.strip_prefix(&prefix)?.strip_suffix(".qcow2")?.to_owned())).collect()
    }

    /// What the journal holds.
    fn unfinished(&self) -> Unfinished {
        let store = Embedded::open(&self.place.path("data/store"), Options::default(), Arc::new(SystemClock)).unwrap();
        let ledger = Ledger::new(Arc::new(store), Arc::new(SystemClock));
        tokio::runtime::Runtime::new().unwrap().block_on(Unfinished::read(&ledger)).unwrap()
    }

    /// libvirt goes on with a start whose caller is gone, and holds the guest until it is done.
    fn will_run(&self, when: &str) {
        let mut state = String::new();
        for _ in 0..100 {
            state = virsh(&["domstate", "--reason", &self.name]).trim().to_owned();
            if state.starts_with("running") {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{when}: it is {state}");
    }

    /// The machine is there as the first or second form says, once started and never again.
    fn check(&self, volumes: &[&str], when: &str) {
        assert_eq!(self.volumes(), volumes, "{when}");
        assert_eq!(self.files("data/seeds").len(), 1, "{when}");
        assert_eq!(self.starts(), 1, "{when}: how often it was started");
        self.will_run(when);
        assert_eq!(self.taps(), 1, "{when}");
        let disks = virsh(&["domblklist", &self.name]).lines().filter(|l| l.contains(&self.name)).count();
        assert_eq!(disks, volumes.len(), "{when}: disks of the running guest");
        assert!(self.unfinished().is_empty(), "{when}: {:?}", self.unfinished());
    }

    /// The second form: what is live is in force, and only what waits for a restart is left to do.
    fn check_second(&self, when: &str) {
        self.check(&["data", "more", "root"], when);
        let disks = virsh(&["domblklist", &self.name]);
        let root = disks.lines().find(|l| l.contains("-root")).unwrap().split_whitespace().next().unwrap();
        let size = virsh(&["domblkinfo", &self.name, root]);
        assert!(size.contains("16777216"), "{when}: the disk did not grow: {size}");
        assert!(virsh(&["dumpxml", &self.name]).contains("<rng"), "{when}");
        assert!(!virsh(&["dumpxml", "--inactive", &self.name]).contains("<rng"), "{when}");
        let plan: Value = serde_json::from_str(&self.place.run("plan m -o json").out).unwrap();
        let fields = plan["steps"].as_array().unwrap().iter().flat_map(|s| s["fields"].as_array().unwrap());
        let paths: Vec<&str> = fields.filter_map(|f| f["path"].as_str()).collect();
        assert_eq!(paths, ["rng.enabled"], "{when}");
    }

    fn taps(&self) -> usize {
        let output = Command::new("ip").args(["-br", "link", "show", "master", &self.bridge]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    fn nvram(&self) -> bool {
        let files = std::fs::read_dir("/var/lib/libvirt/qemu/nvram").unwrap();
        files.flatten().any(|f| f.file_name().to_string_lossy().starts_with(&self.name))
    }

    /// Nothing of the machine is left anywhere; the next machine of the name starts from nothing.
    fn check_gone(&self, when: &str) {
        std::fs::remove_file(self.place.path("m/vm.yaml")).unwrap();
        self.place.expect(0, "apply m --yes");
        assert!(!virsh(&["list", "--all", "--name"]).contains(&self.name), "{when}");
        let files: Vec<String> = self.files("storage").into_iter().filter(|f| f.contains(&self.name)).collect();
        assert_eq!(files, [""; 0], "{when}");
        assert_eq!(self.files("data/seeds"), [""; 0], "{when}");
        assert!(!self.nvram(), "{when}: firmware variables");
        assert_eq!(self.taps(), 0, "{when}");
        assert!(self.unfinished().is_empty(), "{when}: {:?}", self.unfinished());
        assert!(self.starts() <= 1, "{when}");
        let _ = std::fs::remove_file(self.log());
    }

    /// Runs `reeve` and kills it after this long.
    fn killed_after(&self, words: &str, instant: Duration) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command.args(words.split(' ')).current_dir(self.place.path(""));
        command.env("REEVE_CONFIG", self.place.path("config.yaml"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(instant);
        let there = child.try_wait().unwrap().is_none();
        let _ = child.kill();
        child.wait().unwrap();
        there
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        virsh(&["destroy", &self.name]);
        virsh(&["undefine", &self.name, "--nvram", "--snapshots-metadata"]);
        let _ = Command::new("ip").args(["link", "del", &self.bridge]).status();
        let _ = std::fs::remove_file(self.log());
    }
}

/// Numbers that look random, from a seed that is printed.
struct Dice(u64);

impl Dice {
    /// A number from 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
    }
}

#[test]
fn a_machine_killed_at_random_instants_converges() {
    let host = Host::new("r");
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("REEVE_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(now);
    eprintln!("REEVE_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let mut killed = 0;
    // How long each act takes unhindered here, as far as is known.
    let mut lasts = [Duration::from_millis(800); 3];
    for round in 0..7 {
        let mut kill = |act: usize, words: &str, finish: &mut dyn FnMut()| {
            let instant = lasts[act].mul_f64(dice.share());
            killed += usize::from(host.killed_after(words, instant));
            let begun = Instant::now();
            finish();
            lasts[act] = lasts[act].max(begun.elapsed()).min(Duration::from_secs(3));
        };
        host.want(FIRST);
        kill(0, "apply m --yes", &mut || drop(host.place.expect(0, "apply m --yes")));
        host.check(&["data", "root"], &format!("create, round {round}"));
        host.want(SECOND);
        kill(1, "apply m --yes", &mut || drop(host.place.expect(2, "apply m --yes")));
        host.check_second(&format!("update, round {round}"));
        let delete = host.delete_words();
        kill(2, &delete, &mut || drop(host.place.run(&delete)));
        host.check_gone(&format!("delete, round {round}"));
    }
    eprintln!("{killed} of 21 runs were killed before their end");
    assert!(killed >= 5, "most runs were over before they were killed");
}
