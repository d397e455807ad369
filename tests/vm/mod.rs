//! Virtual machines through the command line, on the fake hypervisor and a real directory: killed at every journal
//! point of create, update and delete, each run converges and leaves nothing behind.

mod real_crashes;
mod real_random_kills;

use serde_json::Value;

use crate::cli::{Place, STORAGE};

const MACHINE: &str = "---
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: web-1}
spec:
  disks:
    root: {storage: local, size: 8Mi}
    data: {storage: local, size: 4Mi}
  cloudInit: {reconcile: {hostname: one}}
";

const CHANGED: &str = "---
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: web-1}
spec:
  cpu: {weight: 300}
  tags: [changed]
  disks:
    root: {storage: local, size: 16Mi}
    more: {storage: local, size: 4Mi}
  cloudInit: {reconcile: {hostname: two}}
";

/// The most points a run is expected to have; a run that has more would not be looked at whole.
const MOST_POINTS: usize = 200;

fn place(manifest: &str) -> Place {
    let place = Place::new();
    place.write("m/storage.yaml", STORAGE);
    place.write("m/vm.yaml", manifest);
    place
}

/// Runs `reeve` and kills it at journal point `at`; whether it was killed.
fn killed(place: &Place, words: &str, at: usize) -> bool {
    let ran = place.run_with(words, &[("REEVE_CRASH_AT", &at.to_string())]);
    assert!(matches!(ran.status, 0 | 137), "{words} at {at}: {}\n{}\n{}", ran.status, ran.out, ran.err);
    ran.status == 137
}

/// The names of the hypervisor's machines.
fn machines(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("vms.json")).unwrap_or_else(|_| "{\"domains\":{}}".into());
    let state: Value = serde_json::from_str(&text).unwrap();
    state["domains"].as_object().unwrap().keys().cloned().collect()
}

/// The volumes of the machine on its storage: the files whose name says so, without their ending.
fn volumes(place: &Place, machine: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![place.path("storage")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if let Some((stem, "qcow2" | "raw")) = name.rsplit_once('.') {
                found.push(stem.to_owned());
            }
        }
    }
    found.retain(|name| name.starts_with(&format!("vm-{machine}-")));
    found.sort();
    found
}

fn seeds(place: &Place) -> usize {
    std::fs::read_dir(place.path("data/seeds")).into_iter().flatten().count()
}

/// Does `work` for every point until a run is no longer killed; at least one was.
fn at_every_point(work: impl Fn(usize) -> bool) {
    let last = (1..=MOST_POINTS).find(|at| !work(*at)).expect("the run has an end");
    assert!(last > 4, "the run was killed at {} points only", last - 1);
}

#[test]
fn a_create_killed_at_any_point_converges() {
    at_every_point(|at| {
        let place = place(MACHINE);
        let was_killed = killed(&place, "apply m --yes", at);
        place.expect(0, "apply m --yes");
        place.expect(0, "plan m");
        assert_eq!(machines(&place), ["web-1"], "point {at}");
        assert_eq!(volumes(&place, "web-1"), ["vm-web-1-data", "vm-web-1-root"], "point {at}");
        assert_eq!(seeds(&place), 1, "point {at}");
        was_killed
    });
}

#[test]
fn an_update_killed_at_any_point_converges_and_keeps_every_volume() {
    at_every_point(|at| {
        let place = place(MACHINE);
        place.expect(0, "apply m --yes");
        place.write("m/vm.yaml", CHANGED);
        let was_killed = killed(&place, "apply m --yes", at);
        place.expect(0, "apply m --yes");
        place.expect(0, "plan m");
        assert_eq!(volumes(&place, "web-1"), ["vm-web-1-data", "vm-web-1-more", "vm-web-1-root"], "point {at}");
        assert_eq!(seeds(&place), 1, "point {at}");
        was_killed
    });
}

#[test]
fn a_delete_killed_at_any_point_converges_and_leaves_nothing() {
    at_every_point(|at| {
        let place = place(MACHINE);
        place.expect(0, "apply m --yes");
        let was_killed = killed(&place, "delete vm/web-1 --destroy-data --yes", at);
        if was_killed {
            // Finished by the next run of anything that acts, or by asking again.
            place.run("delete vm/web-1 --destroy-data --yes");
        }
        assert_eq!(machines(&place), [""; 0], "point {at}");
        assert_eq!(volumes(&place, "web-1"), [""; 0], "point {at}");
        assert_eq!(seeds(&place), 0, "point {at}");
        was_killed
    });
}
