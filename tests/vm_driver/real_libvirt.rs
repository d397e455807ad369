//! The driver against the real libvirt of this machine. Everything is named `libvirt-test-…`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};
use reeve::base::exec::Command;
use reeve::base::{Mark, Size, Uid};
use reeve::drivers::guest::libvirt::{Libvirt, Pool, SYSTEM};
use reeve::drivers::guest::{Link, Machine, Record, Target, VmDriver};
use reeve::drivers::storage::{Attachment, Format};
use reeve::kinds::vm::*;
use uuid::Uuid;

use super::machines::{machine, settled};
use super::suite::{self, Subject};

/// libvirt, a folder for disks, two bridges, and a guest that boots in seconds.
struct Real {
    libvirt: Libvirt,
    prefix: String,
    dir: tempfile::TempDir,
    guest: PathBuf,
    bridges: [String; 2],
}

fn driver() -> Libvirt {
    Libvirt::new(Pool::new(SYSTEM), std::env::temp_dir().join("reeve-libvirt-test"))
}

fn record() -> Record {
    let mark = Mark { uid: Uid::fresh(), resource: "vm/x".into(), applied: None };
    Record { mark, disks: BTreeMap::new(), plugs: BTreeMap::new(), notes: BTreeMap::new() }
}

async fn run(program: &str, args: &[&str]) -> String {
    Command::new(program).args(args).deadline(Duration::from_secs(300)).run().await.unwrap().text()
}

impl Real {
    async fn new(tag: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/small-guest");
        let guest = run(script.to_str().unwrap(), &[]).await.trim().into();
        let bridges = [0, 1].map(|n| format!("lvt{tag}{n}"));
        for bridge in &bridges {
            let _ = Command::new("ip").args(["link", "add", bridge, "type", "bridge"]).run().await;
            run("ip", &["link", "set", bridge, "up"]).await;
        }
        let prefix = format!("libvirt-test-{tag}-");
        let real = Self { libvirt: driver(), prefix, dir: tempfile::tempdir().unwrap(), guest, bridges };
        real.sweep();
        real
    }

    /// Takes away what an earlier run of the same test left behind.
    fn sweep(&self) {
        let virsh =
            |args: &[&str]| std::process::Command::new("virsh").args(["-q", "-c", SYSTEM]).args(args).output().unwrap();
        let names = String::from_utf8(virsh(&["list", "--all", "--name"]).stdout).unwrap();
        for name in names.lines().filter(|n| n.starts_with(&self.prefix)) {
            virsh(&["destroy", name]);
            virsh(&["undefine", name, "--nvram", "--snapshots-metadata"]);
        }
    }

    async fn agent(&self, name: &str, command: serde_json::Value) -> Option<serde_json::Value> {
        let command = command.to_string();
        let args = ["-q", "-c", SYSTEM, "qemu-agent-command", "--timeout", "5", name, &command];
        let output = Command::new("virsh").args(args).run().await.ok()?;
        Some(serde_json::from_str::<serde_json::Value>(&output.text()).unwrap()["return"].clone())
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.sweep();
        for bridge in &self.bridges {
            let _ = std::process::Command::new("ip").args(["link", "del", bridge]).status();
        }
    }
}

#[async_trait]
impl Subject for Real {
    fn driver(&self) -> &dyn VmDriver {
        &self.libvirt
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn machine(&self) -> Machine {
        let path = |file: &str| Some(self.guest.join(file).to_str().unwrap().to_owned());
        let mut spec = VmSpec {
            accelerator: Some(Accelerator::Tcg),
            memory: Some(Memory { size: Some(Size::mib(256)), ..Memory::default() }),
            boot: Some(Boot {
                kernel: path("vmlinuz"),
                initrd: path("initrd"),
                cmdline: Some("console=ttyS0 quiet".into()),
                ..Boot::default()
            }),
            ..VmSpec::default()
        };
        spec.fill();
        Machine { spec, ..Machine::default() }
    }

    fn disk(&self, name: &str, size: Size) -> Attachment {
        let path = self.dir.path().join(name).with_extension("qcow2");
        let made = std::process::Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&path)
            .arg(size.bytes().to_string())
            .status();
        assert!(made.unwrap().success());
        Attachment::File { path, format: Format::Qcow2 }
    }

    fn medium(&self, name: &str) -> Attachment {
        let path = self.dir.path().join(name).with_extension("iso");
        std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        Attachment::File { path, format: Format::Raw }
    }

    fn links(&self) -> [Link; 2] {
        self.bridges.clone().map(|bridge| Link::Bridge { bridge })
    }

    fn shapes(&self) -> bool {
        // What libvirt puts behind a rate; some kernels have none.
        let tc = |verb| {
            let args = ["qdisc", verb, "dev", &self.bridges[0], "root", "sfq"];
            std::process::Command::new("tc").args(args).output().unwrap().status.success()
        };
        let can = tc("add") && tc("del");
        if !can {
            eprintln!("this kernel has no sfq: that rates of running cards change is not shown here");
        }
        can
    }

    async fn ready(&self, name: &str) {
        for _ in 0..120 {
            if self.agent(name, serde_json::json!({"execute": "guest-ping"})).await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("the guest's agent does not answer");
    }

    async fn life(&self, name: &str) -> String {
        let pid = std::fs::read_to_string(format!("/run/libvirt/qemu/{name}.pid")).unwrap();
        let boot = self.see(name, "cat /proc/sys/kernel/random/boot_id").await.unwrap();
        format!("{} {}", pid.trim(), boot.trim())
    }

    async fn see(&self, name: &str, script: &str) -> Option<String> {
        let arguments = serde_json::json!({"path": "/bin/sh", "arg": ["-c", script], "capture-output": true});
        let started =
            self.agent(name, serde_json::json!({"execute": "guest-exec", "arguments": arguments})).await.unwrap();
        for _ in 0..200 {
            let status = serde_json::json!({"execute": "guest-exec-status", "arguments": {"pid": started["pid"]}});
            let status = self.agent(name, status).await.unwrap();
            if status["exited"] == true {
                let data = status["out-data"].as_str().unwrap_or_default().to_owned();
                return Some(Command::new("base64").arg("-d").input(data).run().await.unwrap().text());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{script} does not end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_takes_a_machine_from_nothing_to_nothing() {
    suite::lifecycle(&Real::new("c").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_shows_at_a_glance_what_changed() {
    suite::glances(&Real::new("g").await).await;
}

/// A change by another than this process is told by an event, and read again.
#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_tells_of_changes_by_others() {
    let (watcher, other) = (driver(), driver());
    let (name, uuid, record) = ("libvirt-test-told", Uuid::new_v4(), record());
    let (machine, none) = (settled(&Machine::default()), BTreeMap::new());
    other.define(name, uuid, &machine, &record, &none).await.unwrap();
    let before = watcher.glance().await.unwrap()[name];
    watcher.list().await.unwrap();
    let mut described = machine.clone();
    described.spec.description = Some("by another".into());
    other.define(name, uuid, &described, &record, &none).await.unwrap();
    let mut now = before;
    for _ in 0..100 {
        now = watcher.glance().await.unwrap()[name];
        if now != before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = watcher.list().await.unwrap().remove(name).unwrap().unwrap();
    other.undefine(&Target { name, uuid, owner: Some(record.mark.uid) }).await.unwrap();
    assert_ne!(now.version, before.version);
    assert_eq!(read.configured.spec.description.as_deref(), Some("by another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_touches_only_the_machine_that_is_meant() {
    suite::identity(&Real::new("i").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_changes_a_machine_at_rest() {
    suite::changes_at_rest(&Real::new("r").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_changes_a_guest_that_goes_on() {
    suite::changes_in_flight(&Real::new("f").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_libvirt_takes_machines_back_with_and_without_their_memory() {
    let real = Real::new("s").await;
    suite::snapshots(&real).await;
    suite::no_half_snapshots(&real).await;
}

/// Whatever machine is defined is read back as the same machine.
#[tokio::test(flavor = "multi_thread")]
async fn real_machines_are_read_as_they_were_defined() {
    let libvirt = driver();
    let mut runner = TestRunner::new(Config::default());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48);
    for i in 0..cases {
        let machine = machine().new_tree(&mut runner).unwrap().current();
        let (name, uuid, record) = (format!("libvirt-test-prop-{i}"), Uuid::new_v4(), record());
        let defined = libvirt.define(&name, uuid, &machine, &record, &BTreeMap::new()).await;
        assert_eq!(defined, Ok(()), "{}", serde_json::to_string(&machine).unwrap());
        let found = libvirt.find(&name).await;
        let target = Target { name: &name, uuid, owner: Some(record.mark.uid) };
        libvirt.undefine(&target).await.unwrap();
        let found = found.unwrap().unwrap();
        assert_eq!(found.record.as_ref(), Some(&record));
        assert!(found.unnamed.is_empty(), "{:?}", found.unnamed);
        let (have, want) = (settled(&found.configured), settled(&machine));
        if have != want {
            let text = |m| serde_json::to_string_pretty(m).unwrap();
            panic!("{}", similar::TextDiff::from_lines(text(&want), text(&have)).unified_diff());
        }
    }
}

/// The probe itself is right: emulation, which works, passes it.
#[tokio::test(flavor = "multi_thread")]
async fn real_probe_passes_under_emulation_and_judges_kvm() {
    let libvirt = driver();
    assert_eq!(libvirt.accelerators().try_emulation().await, Ok(()));
    let finding = libvirt.accelerators().finding().await;
    assert!(!finding.reason.is_empty());
    eprintln!("{finding:?}");
}
