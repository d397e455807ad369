//! The agent as a process on this machine's libvirt and LXC: what is written is there, what is meddled with is mended.

use std::path::Path;
use std::process::Command;

use super::command::{Agent, wait};
use crate::cli::{Place, STORAGE};
use crate::ct_driver::lab::{Lab, make_archive};

const VM: &str = "apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: agnt-vm}
spec:
  runStrategy: Always
  accelerator: tcg
  stopTimeout: 1s
  cpu: {weight: WEIGHT}
  memory: {size: 64Mi}
  disks:
    root: {storage: local, size: 1Mi, format: raw}
";

const CT: &str = "apiVersion: reeve/v1
kind: Container
metadata: {name: agnt-ct}
spec:
  runStrategy: Always
  stopTimeout: 1s
  rootfs: {storage: local, size: 32Mi, image: small}
  memory: {size: MEMORY}
";

const IMAGE: &str = "apiVersion: reeve/v1
kind: Image
metadata: {name: small}
spec: {type: rootfs, source: {file: '[DIR]/root.tar'}}
";

/// A program's output; `None` when it fails.
fn run(program: &str, args: &[&str], env: &[(&str, &str)]) -> Option<String> {
    let output = Command::new(program).args(args).envs(env.iter().copied()).output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn virsh(args: &[&str]) -> Option<String> {
    run("virsh", &[&["-q", "-c", "qemu:///system"], args].concat(), &[])
}

/// The machine of this test, which nobody else has; removed at the end.
struct Machine;

impl Machine {
    const NAME: &str = "agnt-vm";

    fn new() -> Self {
        drop(Self);
        Self
    }

    /// libvirt's number for the running guest; another one after a restart.
    fn id(&self) -> Option<String> {
        virsh(&["domid", Self::NAME]).filter(|id| id != "-")
    }

    /// What is written of its share of the processors.
    fn shares(&self, configured: bool) -> Option<String> {
        let how = if configured { "--inactive" } else { "--security-info" };
        let xml = virsh(&["dumpxml", Self::NAME, how])?;
        let shares = xml.split_once("<shares>")?.1.split_once("</shares>")?.0;
        Some(shares.to_owned())
    }

    /// `virsh edit` with an editor that replaces a text.
    fn edit(&self, from: &str, to: &str) {
        let editor = format!("sed -i 's|{from}|{to}|'");
        run("virsh", &["-q", "-c", "qemu:///system", "edit", Self::NAME], &[("EDITOR", &editor)])
            .expect("it is edited");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        virsh(&["destroy", Self::NAME]);
        virsh(&["undefine", Self::NAME]);
    }
}

fn events(place: &Place, of: &str) -> Vec<String> {
    let all: serde_json::Value = serde_json::from_str(&place.expect(0, "events -o json").out).unwrap();
    let all = all["events"].as_array().unwrap().iter();
    all.filter(|e| e["resource"] == of).map(|e| e["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_machine_is_kept_as_its_manifest_says() {
    let place = Place::real();
    let machine = Machine::new();
    std::fs::create_dir(place.path("storage")).unwrap();
    let write = |weight: &str| place.write("manifests/vm.yaml", &VM.replace("WEIGHT", weight));
    place.write("manifests/storage.yaml", STORAGE);
    let agent = Agent::begin(&place);
    write("200");
    wait(&place, "a saved manifest becomes a guest", || machine.id().is_some());
    let first = machine.id();
    let before = machine.shares(true).expect("a share that is not the usual one is written");

    write("300");
    wait(&place, "an edit reaches the running guest", || {
        [true, false].iter().all(|c| machine.shares(*c).is_some_and(|now| now != before))
    });
    let wanted = machine.shares(true).unwrap();
    assert_eq!(machine.id(), first, "a live edit restarts nothing");

    machine.edit(&format!("<shares>{wanted}<"), "<shares>77<");
    wait(&place, "an edit by virsh is told", || events(&place, "vm/agnt-vm").contains(&"drifted".to_owned()));
    wait(&place, "an edit by virsh is taken back", || machine.shares(true).as_ref() == Some(&wanted));
    assert_eq!(machine.id(), first, "drift is closed on the running guest");

    virsh(&["destroy", Machine::NAME]).unwrap();
    wait(&place, "a guest that was switched off runs again", || {
        machine.id().is_some_and(|id| Some(&id) != first.as_ref())
    });

    place.write("manifests/broken.yaml", &VM.replace("agnt-vm", "agnt-no").replace("64Mi", "nonsense"));
    write("400");
    wait(&place, "an edit beside a broken file", || machine.shares(true).is_some_and(|now| now != wanted));
    wait(&place, "the broken file is told", || !events(&place, "vm/agnt-no").is_empty());
    assert_eq!(events(&place, "vm/agnt-no"), ["its manifest is not valid"]);

    std::fs::remove_file(place.path("manifests/vm.yaml")).unwrap();
    place.write("manifests/other.yaml", &STORAGE.replace("name: local", "name: other").replace("/storage", "/other"));
    std::fs::create_dir(place.path("other")).unwrap();
    wait(&place, "what comes after the removal", || events(&place, "storage/other").contains(&"created".to_owned()));
    assert!(machine.id().is_some(), "without pruning nothing follows from a file that is gone");
    assert_eq!(agent.end(), Some(0));

    let agent = Agent::with(&place, "agent manifests --prune");
    wait(&place, "why nothing is pruned beside a broken file", || log(&place).contains("nothing is pruned"));
    assert!(machine.id().is_some(), "nothing is removed while a file is broken");
    std::fs::remove_file(place.path("manifests/broken.yaml")).unwrap();
    wait(&place, "a guest is pruned", || virsh(&["domid", Machine::NAME]).is_none());
    wait(&place, "its end is told", || events(&place, "vm/agnt-vm").last().is_some_and(|last| last == "deleted"));
    assert_eq!(agent.end(), Some(0));
    assert!(place.path("storage/images/vm-agnt-vm-root.raw").exists(), "its disk is kept");
    place.expect(0, "plan");
}

fn log(place: &Place) -> String {
    std::fs::read_to_string(place.path("agent.log")).unwrap()
}

/// The process that is the guest's first.
fn init(lab: &Lab) -> Option<String> {
    let root = lab.path("l");
    run("lxc-info", &["-P", root.to_str()?, "-n", "agnt-ct", "-pH"], &[]).filter(|pid| !pid.is_empty() && pid != "-1")
}

/// How much memory the kernel gives it.
fn limit(init: &str) -> Option<u64> {
    let table = std::fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
    let of = |line: &str| {
        let path = line.splitn(3, ':').nth(2)?;
        let file = if line.starts_with("0::") {
            format!("{path}/memory.max")
        } else {
            format!("memory{path}/memory.limit_in_bytes")
        };
        std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(file.trim_start_matches('/')))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    table.lines().filter(|l| l.contains(":memory:") || l.starts_with("0::")).find_map(of)
}

#[test]
fn a_container_is_kept_as_its_manifest_says() {
    let lab = Lab::new();
    let place = Place::real();
    make_archive(&lab.path("tree"), &place.path("root.tar"));
    let containers = lab.path("l");
    place.write(
        "config.yaml",
        &format!(
            "dataDir: {}\nhypervisor: fake:{}\ncontainers: lxc:{}\n",
            place.path("data").display(),
            place.path("vms.json").display(),
            containers.display(),
        ),
    );
    std::fs::create_dir(place.path("storage")).unwrap();
    let write = |memory: &str| place.write("manifests/ct.yaml", &CT.replace("MEMORY", memory));
    place.write("manifests/storage.yaml", STORAGE);
    place.write("manifests/image.yaml", IMAGE);
    write("64Mi");
    let agent = Agent::with(&place, "agent manifests --prune");
    wait(&place, "a saved manifest becomes a guest", || init(&lab).is_some());
    let first = init(&lab);
    assert_eq!(first.as_deref().and_then(limit), Some(64 << 20));

    write("96Mi");
    wait(&place, "an edit reaches the running guest", || init(&lab).as_deref().and_then(limit) == Some(96 << 20));
    assert_eq!(init(&lab), first, "a live edit restarts nothing");

    let root = containers.to_str().unwrap();
    run("lxc-stop", &["-P", root, "-n", "agnt-ct", "-k"], &[]).unwrap();
    wait(&place, "a guest that was switched off runs again", || {
        let now = init(&lab);
        now.is_some() && now != first
    });

    std::fs::remove_file(place.path("manifests/ct.yaml")).unwrap();
    wait(&place, "a guest is pruned", || !containers.join("agnt-ct/config").exists());
    wait(&place, "its end is told", || events(&place, "ct/agnt-ct").last().is_some_and(|last| last == "deleted"));
    assert_eq!(agent.end(), Some(0));
    assert_eq!(lab.loops(), Vec::<String>::new());
    place.expect(0, "plan");
}
