//! The agent while the disk below its data is full: a small file system of the test's own.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::command::{Agent, domain, vm, wait, weight};
use crate::cli::{Place, STORAGE};

/// A mount that ends with the test.
struct Mount(PathBuf);

impl Mount {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=8m,mode=755", "tmpfs"]).arg(&path).status().unwrap();
        assert!(done.success(), "only root can mount");
        Self(path)
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_changes_until_there_is_room_again() {
    let place = Place::new();
    let mount = Mount::new(place.path("data"));
    std::fs::create_dir(place.path("storage")).unwrap();
    place.write("manifests/local.yaml", STORAGE);
    place.write("manifests/a.yaml", &vm("a", 200));
    let agent = Agent::begin(&place);
    let log = || std::fs::read_to_string(place.path("agent.log")).unwrap();
    wait(&place, "the guest runs", || weight(&place, "a") == Some(200));
    std::thread::sleep(Duration::from_millis(300));

    mount.fill();
    place.write("manifests/a.yaml", &vm("a", 300));
    wait(&place, "the full disk is told", || log().contains("No space left on device"));
    assert_eq!(weight(&place, "a"), Some(200), "nothing is done that cannot be noted first");
    assert!(place.run("get vm/a").out.contains('a'), "what is known can be read");

    std::fs::remove_file(mount.0.join("filler")).unwrap();
    wait(&place, "the edit, without a restart of the agent", || weight(&place, "a") == Some(300));
    assert_eq!(agent.end(), Some(0));
    place.expect(0, "plan");
    assert_eq!(domain(&place, "a").unwrap()["starts"], 1, "the guest went on");
}
