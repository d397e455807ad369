//! Everything that is wrong, all at once: each is found in one run, whatever the command, and nothing is changed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Place;

/// A copy of the folder with every sort of mistake in it, and a file that is too large.
fn everything() -> Place {
    let place = Place::new();
    for entry in std::fs::read_dir("tests/manifests/invalid/everything").unwrap() {
        let path = entry.unwrap().path();
        let to = place.path("m").join(path.file_name().unwrap());
        std::fs::create_dir_all(place.path("m")).unwrap();
        std::fs::copy(path, to).unwrap();
    }
    std::fs::File::create(place.path("m/huge.yaml")).unwrap().set_len(100 << 20).unwrap();
    place
}

#[test]
fn every_mistake_is_found_in_one_run() {
    let place = everything();
    let ran = place.expect(1, "validate m -o json");
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let found = found["diagnostics"].as_array().unwrap();
    let codes: BTreeSet<&str> = found.iter().map(|d| d["code"].as_str().unwrap()).collect();
    for code in [
        "manifest/alias-bomb",
        "manifest/bad-name",
        "manifest/duplicate-key",
        "manifest/duplicate-resource",
        "manifest/tab",
        "manifest/too-deep",
        "manifest/unknown-field",
        "manifest/write-in-quotes",
        "manifest/wrong-type",
        "reference/unresolved",
        "source/not-utf8",
        "source/too-large",
        "vm/disk-too-small",
        "vm/storage-content",
    ] {
        assert!(codes.contains(code), "{code} is not found: {codes:?}");
    }
    for diagnostic in found {
        for field in ["file", "line", "column", "help"] {
            assert!(!diagnostic[field].is_null(), "{field} is missing in {diagnostic}");
        }
    }
}

#[test]
fn nothing_is_changed_whatever_the_command() {
    let place = everything();
    for words in ["plan m", "diff m", "apply m --yes", "apply m --yes --prune", "plan m --out plan.json"] {
        let ran = place.expect(1, words);
        assert!(ran.out.is_empty() && ran.err.contains("errors"), "reeve {words}\n{}\n{}", ran.out, ran.err);
    }
    for made in ["plan.json", "vms.json", "cts.json", "vms.networks", "vms.bridges", "data/images", "data/storages"] {
        assert!(!place.path(made).exists(), "{made} was made");
    }
    let events: Value = serde_json::from_str(&place.expect(0, "events -o json").out).unwrap();
    assert_eq!(events["events"], serde_json::json!([]));
    assert_eq!(place.expect(0, "export").out, "");
}

/// What a shell script must be able to tell apart: an error in what was typed is an error, not a change.
#[test]
fn what_is_typed_wrong_is_an_error_and_says_what_is_right() {
    let place = Place::new();
    for (words, says) in [
        ("", "Usage"),
        ("plan --nope", "--help"),
        ("validate", "PATH"),
        ("plna m", "plan"),
        ("get -o csv", "table"),
        ("plan -o yaml", "markdown"),
        ("apply m --allow destroy", "destroy"),
        ("apply m --allow sometimes", "restart"),
        ("apply m --parallel 0", "1..=64"),
        ("apply m --yes --lock-wait soon", "such as 30s"),
        ("delete web-1 --yes", "KIND/NAME"),
        ("delete pod/x --yes", "vm"),
        ("describe vm/../x", "name"),
        ("get pods", "kinds are"),
        ("explain vm.nope", "disks"),
        ("completion tcsh", "bash"),
        ("start storage/local", "not there"),
        ("events --limit many", "--limit"),
        ("plan nowhere", "nowhere"),
        ("apply nowhere --yes", "nowhere"),
        ("apply --prune-all", "--prune"),
        ("observe -o text", "json"),
        ("export vm/x", "not managed"),
        ("adopt vm/x", "not there"),
        ("console vm/x", "not there"),
        ("override set vm/x spec.memory.size=1Gi --reason r", "--ttl"),
        ("override set vm/x spec.memory.size=1Gi --ttl 0s --reason r", "less than a second"),
        ("override set vm/x spec.memory.size --ttl 1h --reason r", "FIELD=VALUE"),
        ("override set vm/x spec.memory.size=1Gi --ttl 1h --reason r", "no accepted manifest"),
        ("override clear vm/x", "nothing of vm/x is overridden"),
    ] {
        let ran = place.run(words);
        assert_eq!(ran.status, 1, "reeve {words}: {}\n{}", ran.out, ran.err);
        assert!(ran.err.contains(says), "reeve {words} does not say {says:?}:\n{}", ran.err);
    }
}
