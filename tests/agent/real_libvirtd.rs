//! The agent while libvirtd hangs, is killed and comes back: a libvirtd of the test's own, never the host's.
//!
//! It hangs for longer than a look is waited for and than a connection is kept alive for.

use std::process::Command;
use std::time::Duration;

use self::libvirtd::Libvirtd;
use super::command::{Agent, wait};
use crate::cli::{Place, STORAGE};

#[allow(dead_code, reason = "the benchmark uses more of it")]
#[path = "../../benches/speed/libvirtd.rs"]
mod libvirtd;

mod measure {
    pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
}

const NAME: &str = "agnt-own";
const HANG: Duration = Duration::from_secs(60);

const VM: &str = "apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: agnt-own}
spec:
  runStrategy: Always
  accelerator: tcg
  cpu: {weight: WEIGHT}
  memory: {size: 64Mi}
";

/// A machine on a libvirtd of its own, switched off at the end.
struct Own {
    libvirtd: Libvirtd,
    place: Place,
}

impl Own {
    fn new() -> Self {
        let own = Self { libvirtd: Libvirtd::start().unwrap(), place: Place::new() };
        own.place.write(
            "config.yaml",
            &format!(
                "node: n1\ndataDir: {}\nhypervisor: \"{}\"\ncontainers: fake:{}\n",
                own.place.path("data").display(),
                own.libvirtd.uri(),
                own.place.path("cts.json").display(),
            ),
        );
        std::fs::create_dir(own.place.path("manifests")).unwrap();
        own
    }

    fn virsh(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("virsh").args(["-q", "-c", &self.libvirtd.uri()]).args(words).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The running guest's number and its share of the processors.
    fn guest(&self) -> Option<(String, String)> {
        let id = self.virsh(&["domid", NAME]).filter(|id| id != "-")?;
        let xml = self.virsh(&["dumpxml", NAME])?;
        Some((id, xml.split_once("<shares>")?.1.split_once("</shares>")?.0.to_owned()))
    }

    fn edit(&self, weight: u32) {
        self.place.write("manifests/vm.yaml", &VM.replace("WEIGHT", &weight.to_string()));
    }

    /// Waits until an edit is in force, on the same guest.
    fn edited(&self, what: &str, before: &(String, String)) -> (String, String) {
        wait(&self.place, what, || self.guest().is_some_and(|now| now.1 != before.1));
        let now = self.guest().unwrap();
        assert_eq!(now.0, before.0, "{what}: the guest goes on");
        now
    }

    /// Sends libvirtd a signal.
    fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.libvirtd.dir().join("pid")).unwrap();
        assert!(Command::new("kill").args([name, pid.trim()]).status().unwrap().success());
    }

    /// A storage that is new is made, whatever libvirt does.
    fn others_go_on(&self, name: &str) {
        std::fs::create_dir(self.place.path(name)).unwrap();
        let text = STORAGE.replace("name: local", &format!("name: {name}")).replace("/storage", &format!("/{name}"));
        self.place.write(&format!("manifests/{name}.yaml"), &text);
        wait(&self.place, "the rest goes on", || {
            self.place.expect(0, "events").out.lines().any(|l| l.contains(name) && l.contains("created"))
        });
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.virsh(&["destroy", NAME]);
    }
}

#[test]
fn a_libvirtd_that_hangs_or_dies_holds_up_its_machines_only() {
    let mut own = Own::new();
    own.edit(200);
    let agent = Agent::begin(&own.place);
    wait(&own.place, "the guest runs", || own.guest().is_some());
    let first = own.guest().unwrap();

    own.signal("-STOP");
    own.edit(300);
    own.others_go_on("hung");
    std::thread::sleep(HANG);
    own.signal("-CONT");
    let second = own.edited("after libvirtd hung", &first);

    own.signal("-KILL");
    own.edit(400);
    own.others_go_on("dead");
    own.libvirtd.kill_and_start().unwrap();
    let third = own.edited("after libvirtd was killed", &second);

    // It listens again: what libvirt tells is heard on the new connection.
    own.virsh(&["schedinfo", NAME, "--live", "--config", "--set", "cpu_shares=77"]).unwrap();
    wait(&own.place, "drift is closed on the new connection", || own.guest().as_ref() == Some(&third));
    let log = std::fs::read_to_string(own.place.path("agent.log")).unwrap();
    assert!(!log.contains("loop does not turn"), "it was alive all the time: {log}");
    assert_eq!(agent.end(), Some(0));
    own.place.expect(0, "plan");
}
