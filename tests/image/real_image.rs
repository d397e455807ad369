//! Images built from Debian packages on this machine; needs root, the network that apt uses, and the lab's packages.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use reeve::kinds::{KindName, image};
use serde_json::json;

use crate::scene::Scene;

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn a_root_file_system_is_built_whole_and_leaves_nothing_behind() {
    let mut scene = Scene::new();
    let source = json!({"debian": {"packages": ["nano"]}});
    let image = scene.say(KindName::Image, "root", json!({"type": "rootfs", "source": source}));
    // What a run that was killed in the middle of a build left is removed.
    let left = scene.dir.path().join(format!("images/build-{}", scene.uids[&image]));
    std::fs::create_dir_all(left.join("root/etc")).unwrap();
    std::fs::write(left.join("root/etc/half"), "").unwrap();

    scene.apply(&image).await.unwrap();
    let made = image::local(&scene.world, &scene.scope(), &image.name).await.unwrap();
    assert_eq!(scene.files("images").len(), 2, "{:?}", scene.files("images"));
    assert_eq!(scene.changes(&image).await, []);
    assert_eq!(scene.last_step().unwrap().0, "check");

    let list = run("tar", &["-tvf", made.path.to_str().unwrap()]);
    let entry = |path: &str| list.lines().find(|l| l.contains(&format!(" {path}"))).unwrap_or_default().to_owned();
    assert!(list.contains(" ./sbin -> usr/sbin"), "/usr is merged");
    assert!(!entry("./usr/bin/nano").is_empty(), "the package asked for is there");
    assert!(entry("./etc/machine-id").contains(" 0/0 "), "{}", entry("./etc/machine-id"));
    assert!(entry("./etc/machine-id").split_whitespace().nth(2) == Some("0"), "no machine has it yet");
    assert!(entry("./usr/bin/su").starts_with("-rwsr-xr-x"), "{}", entry("./usr/bin/su"));
    for gone in
        ["./etc/half", "./etc/hostname", "./etc/apt/preferences.d/reeve-build", "./etc/dpkg/dpkg.cfg.d/99mmdebstrap"]
    {
        assert_eq!(entry(gone), "", "{gone}");
    }
    assert!(!list.contains("ssh_host_"));
    assert!(list.contains(" ./dev/\n") && !list.contains(" ./dev/n"), "the runtime makes the devices");
    assert!(list.contains(" ./etc/systemd/system/sys-kernel-debug.mount -> /dev/null"));
}

#[tokio::test]
async fn a_disk_boots_by_itself_with_bios_and_with_uefi_on_every_bus() {
    let mut scene = Scene::new();
    let source = json!({"debian": {"packages": ["qemu-guest-agent"], "size": "1536Mi"}});
    let image = scene.say(KindName::Image, "disk", json!({"type": "disk", "source": source, "minSize": "1536Mi"}));
    scene.apply(&image).await.unwrap();
    let made = image::local(&scene.world, &scene.scope(), &image.name).await.unwrap();
    assert_eq!(made.virtual_size.to_string(), "1536Mi");
    assert_eq!(scene.changes(&image).await, []);
    assert_eq!(scene.files("images").len(), 2, "{:?}", scene.files("images"));

    let disk = scene.dir.path().join("guest.qcow2");
    let (from, to) = (made.path.to_str().unwrap(), disk.to_str().unwrap());
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", from, "-F", "qcow2", to, "4G"]);
    let uefi = ["-machine", "q35", "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"];
    let q35 = ["-machine", "q35"];
    for (hangs_on, more) in [
        (["virtio-blk-pci,drive=root"].as_slice(), [].as_slice()),
        (&["virtio-scsi-pci", "scsi-hd,drive=root"], &uefi),
        (&["ide-hd,drive=root"], &q35),
        (&["nvme,drive=root,serial=1"], &uefi),
    ] {
        let devices = hangs_on.iter().flat_map(|device| ["-device", device]);
        let said = boot(&disk, &devices.chain(more.iter().copied()).collect::<Vec<_>>());
        assert!(said.contains(UP), "{hangs_on:?} {more:?}\n{said}");
    }
}

/// What the serial line says when the kernel has found its root and started the system on it.
const UP: &str = "Welcome to ";

/// Boots a disk under emulation and gives what its serial line says until the system starts.
fn boot(disk: &Path, more: &[&str]) -> String {
    let drive = format!("if=none,id=root,format=qcow2,file={}", disk.display());
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-m", "512", "-nographic", "-monitor", "none", "-serial", "stdio"])
        .args(["-nic", "none", "-no-reboot", "-drive", &drive])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut out = qemu.stdout.take().unwrap();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = out.read(&mut buffer) {
            // The test may have seen enough.
            let _ = send.send(buffer[..length].to_vec());
        }
    });
    let (mut said, start) = (Vec::new(), Instant::now());
    while start.elapsed() < Duration::from_secs(300) && !String::from_utf8_lossy(&said).contains(UP) {
        match receive.recv_timeout(Duration::from_secs(5)) {
            Ok(bytes) => said.extend(bytes),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    String::from_utf8_lossy(&said).into_owned()
}
