//! kill -9 at every journal point of create, update and delete of a real virtual machine, through the command line and
//! real libvirt: each time the next run converges, the guest is neither lost nor started twice, and nothing is left.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reeve::base::clock::SystemClock;
use reeve::engine::records::Ledger;
use reeve::store::Embedded;
use reeve::store::embedded::Options;

use super::{at_every_point, killed, seeds, volumes};
use crate::cli::{Place, STORAGE};

const MANIFEST: &str = "---
apiVersion: reeve/v1
kind: Network
metadata: {name: wire}
spec: {type: bridge, bridge: BRIDGE}
---
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: NAME}
spec:
  runStrategy: Always
  accelerator: tcg
  stopTimeout: STOP
  firmware: {type: FIRMWARE}
  cpu: {cores: CORES}
  memory: {size: 256Mi}
BOOT
  disks:
    root: {storage: local, size: 8MiIMAGE}
DISKS
  nics:
    eth0: {network: wire}
  cloudInit: {reconcile: {hostname: HOST}}
";

/// What a machine starts.
#[derive(Clone, Copy, PartialEq)]
enum Guest {
    /// A small Linux below firmware with variables to keep; it is not waited for, since nothing here needs it up.
    Linux,
    /// A boot sector that is up at once, and goes down when the power button is pressed.
    Button,
}

/// Lets the power button be seen (PM1a_EN, 0x602), looks at it (PM1a_STS, 0x600) with each tick of the timer, and
/// switches off (PM1a_CNT, 0x604) when it was pressed; where SeaBIOS puts these registers on both chipsets.
const BUTTON: [u8; 28] = [
    0xfb, // sti
    0xba, 0x02, 0x06, // mov dx, 0x602
    0xb8, 0x00, 0x01, // mov ax, 0x100
    0xef, // out dx, ax
    0xba, 0x00, 0x06, // mov dx, 0x600
    0xf4, // hlt
    0xed, // in ax, dx
    0xf6, 0xc4, 0x01, // test ah, 1
    0x74, 0xf9, // jz hlt
    0xba, 0x04, 0x06, // mov dx, 0x604
    0xb8, 0x00, 0x20, // mov ax, 0x2000
    0xef, // out dx, ax
    0xf4, // hlt
    0xeb, 0xfd, // jmp hlt
];

/// A disk that a guest lets go of without being asked.
const DATA: &str = "    data: {storage: local, size: 4Mi, bus: scsi}";

const IMAGE: &str = "apiVersion: reeve/v1
kind: Image
metadata: {name: guest}
spec: {type: disk, format: raw, source: {file: '[DIR]/guest.raw'}}
";

/// A command line of its own, a bridge, and a machine whose name nobody else uses.
struct Real {
    place: Place,
    guest: Guest,
    name: String,
    bridge: String,
    /// Where the small Linux is.
    linux: String,
}

/// A program's output; `None` when it fails.
fn run(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn virsh(args: &[&str]) -> Option<String> {
    run("virsh", &[&["-q", "-c", "qemu:///system"], args].concat())
}

impl Real {
    fn new(act: &str, guest: Guest) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/small-guest");
        let linux = run(script.to_str().unwrap(), &[]).expect("the small guest is made");
        let real = Self {
            place: Place::real(),
            guest,
            name: format!("vm-crash-{act}"),
            bridge: format!("vmcr{}", &act[..3]),
            linux,
        };
        real.sweep();
        run("ip", &["link", "add", &real.bridge, "type", "bridge"]).expect("a bridge is made");
        run("ip", &["link", "set", &real.bridge, "up"]).unwrap();
        real.place.write("m/storage.yaml", STORAGE);
        if guest == Guest::Button {
            let mut disk = vec![0; 1 << 20];
            disk[..BUTTON.len()].copy_from_slice(&BUTTON);
            disk[510..512].copy_from_slice(&[0x55, 0xaa]);
            std::fs::write(real.place.path("guest.raw"), disk).unwrap();
            real.place.write("m/image.yaml", IMAGE);
        }
        real
    }

    /// What is wanted: one core and a disk `data`, or what an update makes of it.
    fn want(&self, cores: u8, disks: &str, host: &str) {
        let text = MANIFEST.replace("NAME", &self.name).replace("BRIDGE", &self.bridge);
        let text = text.replace("CORES", &cores.to_string()).replace("DISKS", disks).replace("HOST", host);
        let linux = format!("  boot: {{kernel: {0}/vmlinuz, initrd: {0}/initrd, cmdline: console=ttyS0}}", self.linux);
        let (firmware, boot, image, stop) = match self.guest {
            Guest::Linux => ("uefi", linux.as_str(), "", "1s"),
            Guest::Button => ("bios", "", ", image: guest", "1m"),
        };
        let text =
            text.replace("FIRMWARE", firmware).replace("BOOT", boot).replace("IMAGE", image).replace("STOP", stop);
        self.place.write("m/vm.yaml", &text);
    }

    fn want_first(&self) {
        self.want(1, DATA, "one");
    }

    /// The number libvirt gave to the running guest; another one after a restart.
    fn id(&self) -> Option<String> {
        virsh(&["domid", &self.name]).filter(|id| id != "-")
    }

    /// Waits until a `Guest::Button` looks at its power button: one pressed before is not seen, and asked for again only
    /// after a while.
    fn wait_for_button(&self) {
        let enabled = || virsh(&["qemu-monitor-command", &self.name, "--hmp", "i /h 0x602"]);
        for _ in 0..600 {
            if enabled().is_some_and(|said| said.ends_with("= 0x0100")) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("the guest does not look at its power button: {:?}", enabled());
    }

    fn volumes(&self) -> Vec<String> {
        volumes(&self.place, &self.name)
    }

    fn delete(&self) {
        let words = format!("delete vm/{} network/wire storage/local --destroy-data --yes", self.name);
        self.place.expect(0, &words);
    }

    /// Nothing is left of the machine: no domain, volume, seed, firmware variables, link, and no open effect.
    fn assert_gone(&self, point: usize) {
        assert_eq!(virsh(&["domid", &self.name]), None, "point {point}: the domain");
        assert_eq!(self.volumes(), [""; 0], "point {point}: volumes");
        let storage = self.place.path("storage").display().to_string();
        let left = run("find", &[&storage, "-name", &format!("*{}*", self.name)]).unwrap_or_default();
        assert_eq!(left, "", "point {point}: marks and locks of volumes");
        assert_eq!(seeds(&self.place), 0, "point {point}: seeds");
        let state = run("find", &["/var/lib/libvirt/qemu", "-name", &format!("*{}*", self.name)]).unwrap();
        assert_eq!(state, "", "point {point}: libvirt's files");
        let links = run("ip", &["-br", "link", "show", "master", &self.bridge]).unwrap();
        assert_eq!(links, "", "point {point}: links");
    }

    /// The journal has nothing open.
    fn assert_settled(&self, point: usize) {
        let ran = self.place.run("plan m");
        assert_eq!(ran.status, 0, "point {point}: {}\n{}", ran.out, ran.err);
        let clock = Arc::new(SystemClock);
        let store = Embedded::open(&self.place.path("data/store"), Options::default(), clock.clone()).unwrap();
        let ledger = Ledger::new(Arc::new(store), clock);
        let open = tokio::runtime::Runtime::new().unwrap().block_on(ledger.journal()).unwrap().len();
        assert_eq!(open, 0, "point {point}: effects left open");
    }

    fn sweep(&self) {
        virsh(&["destroy", &self.name]);
        virsh(&["undefine", &self.name, "--nvram"]);
        run("ip", &["link", "del", &self.bridge]);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.sweep();
    }
}

#[test]
fn a_create_killed_at_any_point_converges() {
    let real = Real::new("create", Guest::Linux);
    real.want_first();
    at_every_point(|at| {
        let was_killed = killed(&real.place, "apply m --yes", at);
        let before = real.id();
        real.place.expect(0, "apply m --yes");
        real.assert_settled(at);
        let after = real.id();
        assert!(after.is_some(), "point {at}: it runs");
        assert!(before.is_none() || before == after, "point {at}: {before:?} was restarted as {after:?}");
        assert_eq!(real.volumes().len(), 2, "point {at}: {:?}", real.volumes());
        assert_eq!(seeds(&real.place), 1, "point {at}");
        real.delete();
        real.assert_gone(at);
        was_killed
    });
}

#[test]
fn a_live_update_killed_at_any_point_converges_and_never_restarts_the_guest() {
    let real = Real::new("update", Guest::Button);
    at_every_point(|at| {
        real.want_first();
        real.place.expect(0, "apply m --yes");
        let before = real.id().unwrap();
        real.want(1, "    more: {storage: local, size: 4Mi}", "two");
        let grown = std::fs::read_to_string(real.place.path("m/vm.yaml")).unwrap().replace("8Mi", "16Mi");
        real.place.write("m/vm.yaml", &grown);
        let was_killed = killed(&real.place, "apply m --yes", at);
        real.place.expect(0, "apply m --yes");
        real.assert_settled(at);
        assert_eq!(real.id().as_ref(), Some(&before), "point {at}: the same guest runs");
        let disks = virsh(&["domblklist", &real.name]).unwrap();
        assert!(disks.contains("-more") && !disks.contains("-data"), "point {at}: {disks}");
        let root = disks.lines().find(|line| line.contains("-root")).and_then(|l| l.split_whitespace().next()).unwrap();
        let size = virsh(&["domblkinfo", &real.name, root]).unwrap();
        assert!(size.contains(&(16 << 20).to_string()), "point {at}: {size}");
        assert_eq!(real.volumes().len(), 3, "point {at}: what was taken out is kept, {:?}", real.volumes());
        assert_eq!(seeds(&real.place), 1, "point {at}");
        real.wait_for_button();
        real.delete();
        remove_kept(&real);
        real.assert_gone(at);
        was_killed
    });
}

#[test]
fn a_seed_that_is_not_in_its_drive_comes_back_while_the_guest_runs() {
    let real = Real::new("eject", Guest::Linux);
    real.want_first();
    real.place.expect(0, "apply m --yes");
    let before = real.id().unwrap();
    let drive = |file: &str| {
        let disks = virsh(&["domblklist", &real.name]).unwrap();
        let found =
            disks.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).find(|words| words[1].contains(file));
        found.map(|words| words[0].to_owned())
    };
    let seed = drive("/seeds/").expect("the seed is in its drive");
    // A killed exchange leaves the drive as this does.
    virsh(&["change-media", &real.name, &seed, "--eject", "--live", "--force"]).expect("the seed is taken out");
    real.want(1, DATA, "two");
    let plan = real.place.expect(2, "plan m").out;
    assert!(plan.contains("cloudInit.reconcile.hostname") && !plan.contains("restart"), "{plan}");
    real.place.expect(0, "apply m --yes");
    real.place.expect(0, "plan m");
    assert_eq!(real.id().as_ref(), Some(&before), "the same guest runs");
    assert_eq!(drive("/seeds/").as_ref(), Some(&seed));
    real.delete();
    real.assert_gone(0);
}

/// Removes the detached disk, which a delete rightly keeps.
fn remove_kept(real: &Real) {
    for volume in real.volumes() {
        assert!(volume.ends_with("-data"), "{volume} is left");
    }
    std::fs::remove_dir_all(real.place.path("storage")).unwrap();
}

#[test]
fn a_restart_killed_at_any_point_is_finished() {
    let real = Real::new("restart", Guest::Button);
    at_every_point(|at| {
        real.want_first();
        real.place.expect(0, "apply m --yes");
        real.want(2, DATA, "one");
        real.wait_for_button();
        let was_killed = killed(&real.place, "apply m --yes --allow restart", at);
        real.place.expect(0, "apply m --yes --allow restart");
        real.assert_settled(at);
        let cores = virsh(&["vcpucount", "--live", "--current", &real.name]);
        assert_eq!(cores.as_deref(), Some("2"), "point {at}");
        assert_eq!(real.volumes().len(), 2, "point {at}");
        real.wait_for_button();
        real.delete();
        real.assert_gone(at);
        was_killed
    });
}

#[test]
fn a_delete_killed_at_any_point_is_finished_and_leaves_nothing() {
    let real = Real::new("delete", Guest::Linux);
    at_every_point(|at| {
        real.want_first();
        real.place.expect(0, "apply m --yes");
        let words = format!("delete vm/{} --destroy-data --yes", real.name);
        let was_killed = killed(&real.place, &words, at);
        if was_killed {
            // Finished by asking again, or by the next run of anything that acts.
            real.place.run(&words);
        }
        real.place.expect(0, "delete network/wire storage/local --destroy-data --yes");
        real.assert_gone(at);
        was_killed
    });
}
