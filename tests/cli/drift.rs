//! `reeve drift`: what others changed, and the patch that accepts it.

use std::process::Command;

use serde_json::Value;

use super::{Place, STORAGE};

const GUESTS: &str = "# the web servers
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: web-1}
spec:
  runStrategy: Halted   # for now
  memory:
    size: 64Mi   # little
  cpu: {cores: 2}
---
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: web-2}
spec:
  runStrategy: Halted
  memory: {size: 64Mi}
";

fn applied() -> Place {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.write("m/guests.yaml", GUESTS);
    place.expect(0, "apply m --yes");
    place
}

/// Changes machines behind Reeve's back.
fn meddle(place: &Place, with: impl Fn(&mut Value)) {
    let text = std::fs::read(place.path("vms.json")).unwrap();
    let mut state: Value = serde_json::from_slice(&text).unwrap();
    with(&mut state);
    place.write("vms.json", &state.to_string());
}

fn git(place: &Place, words: &[&str]) -> std::process::ExitStatus {
    let file = std::fs::File::open(place.path("p.patch")).unwrap();
    Command::new("git").args(words).current_dir(place.path("")).stdin(file).status().unwrap()
}

#[test]
fn nothing_has_drifted_after_an_apply() {
    let place = applied();
    assert_eq!(place.expect(0, "drift").out, "Nothing has drifted.\n");
    assert_eq!(place.expect(0, "drift m --patch").out, "");
    place.write("m/guests.yaml", &GUESTS.replace("size: 64Mi   # little", "size: 96Mi"));
    place.expect(2, "plan m");
    place.expect(0, "drift m");
}

#[test]
fn a_patch_accepts_what_was_changed_live() {
    let place = applied();
    meddle(&place, |state| {
        for (name, size) in [("web-1", "80Mi"), ("web-2", "72Mi")] {
            let memory = &mut state["domains"][name]["configured"]["spec"]["memory"];
            (memory["size"], memory["max"]) = (size.into(), size.into());
        }
        state["domains"]["web-1"]["configured"]["spec"]["cpu"]["weight"] = 300.into();
    });
    let told = place.expect(2, "drift").out;
    assert!(told.contains("memory.size") && told.contains("80Mi"), "{told}");
    let ran = place.expect(2, "drift m --patch");
    place.write("p.patch", &ran.out);
    assert!(git(&place, &["apply", "-"]).success(), "{}", ran.out);
    let text = std::fs::read_to_string(place.path("m/guests.yaml")).unwrap();
    let expected = GUESTS
        .replace("    size: 64Mi   # little\n", "    size: 80Mi   # little\n    max: 80Mi\n")
        .replace("{cores: 2}", "{ cores: 2, weight: 300 }")
        .replace("{size: 64Mi}", "{ size: 72Mi, max: 72Mi }");
    assert_eq!(text, expected);
    place.expect(0, "plan m");
}

#[test]
fn a_patch_needs_files() {
    let place = applied();
    meddle(&place, |state| {
        let memory = &mut state["domains"]["web-1"]["configured"]["spec"]["memory"];
        (memory["size"], memory["max"]) = ("80Mi".into(), "80Mi".into());
    });
    assert!(place.expect(1, "drift --patch").err.contains("reeve drift manifests/ --patch"));
}
