//! The main job as a new user does it: the quickstart's manifests, applied by the command to real libvirt and real LXC.
//!
//! Names and addresses are changed, so that a demo on the same machine is not touched. What was made is removed at the
//! end by the command itself, and nothing may be left.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RESOURCES: &str = "vm/qs-web ct/qs-dns image/debian-12 image/debian-12-rootfs network/qs-lan storage/local";

struct Quickstart {
    dir: tempfile::TempDir,
}

impl Quickstart {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("reeve-qs-").tempdir_in("/var/tmp").unwrap();
        // QEMU and the container's root look into it.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/quickstart");
        std::fs::create_dir(dir.path().join("m")).unwrap();
        for entry in std::fs::read_dir(samples).unwrap() {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let text = text
                .replace("/var/lib/reeve/storage/local", &dir.path().join("storage").display().to_string())
                .replace("10.40.", "10.44.")
                .replace("web-1", "qs-web")
                .replace("dns-1", "qs-dns")
                .replace("name: lan", "name: qs-lan")
                .replace("network: lan", "network: qs-lan");
            std::fs::write(dir.path().join("m").join(entry.file_name()), text).unwrap();
        }
        std::fs::write(dir.path().join("config.yaml"), format!("dataDir: {}\n", dir.path().join("data").display()))
            .unwrap();
        Self { dir }
    }

    /// Runs `reeve`, expects this exit status, and gives what it printed.
    #[track_caller]
    fn reeve(&self, status: i32, words: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command.args(words.split_whitespace()).current_dir(self.dir.path()).stdin(Stdio::null());
        let output = command.env("REEVE_CONFIG", self.dir.path().join("config.yaml")).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "reeve {words}\n{out}\n{err}");
        out.into_owned()
    }

    fn is_empty(&self, folder: &str) -> bool {
        let entries = std::fs::read_dir(self.dir.path().join(folder)).into_iter().flatten();
        entries.filter_map(Result::ok).all(|e| e.file_name().to_string_lossy().starts_with('.'))
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // A failed run leaves no guests on the machine.
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command.args(["delete", "--yes", "--destroy-data"]).args(RESOURCES.split(' '));
        command.env("REEVE_CONFIG", self.dir.path().join("config.yaml"));
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Asks the guest agent; `None` while it does not answer or refuses.
fn agent(request: &str) -> Option<String> {
    let output = Command::new("virsh")
        .args(["-q", "-c", "qemu:///system", "qemu-agent-command", "--timeout", "5", "qs-web", request])
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_folder_of_yaml_becomes_running_machines() {
    let place = Quickstart::new();
    place.reeve(0, "validate m");
    let plan = place.reeve(2, "plan m");
    assert!(plan.contains("6 to create"), "{plan}");
    let applied = place.reeve(0, "apply m --yes");
    assert!(applied.contains("Applied: 6 done."), "{applied}");
    assert!(place.reeve(0, "plan m").starts_with("Nothing to do"));
    let events = place.reeve(0, "events -o json");
    place.reeve(0, "apply m --yes");
    assert_eq!(place.reeve(0, "events -o json"), events, "a second apply did something");

    let inside = Command::new("lxc-attach").args(["-n", "qs-dns", "--", "hostname"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&inside.stdout).trim(), "qs-dns");

    // cloud-init writes this file when it has done everything, and says there what failed.
    let finished = r#"{"execute":"guest-file-open","arguments":{"path":"/run/cloud-init/result.json"}}"#;
    let begun = Instant::now();
    while agent(finished).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(600), "cloud-init did not finish within ten minutes");
        std::thread::sleep(Duration::from_secs(2));
    }
    eprintln!("cloud-init finished {:.0} s after apply", begun.elapsed().as_secs_f64());
    let name = agent(r#"{"execute":"guest-get-host-name"}"#).unwrap();
    assert!(name.contains("qs-web"), "cloud-init did not find its seed: {name}");
    let links = agent(r#"{"execute":"guest-network-get-interfaces"}"#).unwrap();
    assert!(links.contains("10.44.0.10"), "{links}");
    let described = place.reeve(0, "describe vm/qs-web");
    assert!(described.contains("10.44.0.10/24"), "{described}");
    assert!(place.reeve(0, "plan m").starts_with("Nothing to do"), "a booted guest is no drift");

    place.reeve(0, &format!("delete --yes --destroy-data {RESOURCES}"));
    for folder in ["storage/images", "storage/rootdir", "data/seeds"] {
        assert!(place.is_empty(folder), "{folder} is not empty");
    }
    let domains =
        Command::new("virsh").args(["-q", "-c", "qemu:///system", "list", "--all", "--name"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&domains.stdout).contains("qs-web"));
    assert!(!Path::new("/var/lib/lxc/qs-dns").exists());
}
