//! What needs no host: validate, explain, schema, plans against a file, and the pages for shells and people.

use serde_json::Value;

use super::{Place, STORAGE};

#[test]
fn validate_says_what_is_valid() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    let ran = place.expect(0, "validate m");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("1 resource is valid.\n", ""));
    assert!(!place.path("data").exists(), "validate made a data directory");
}

#[test]
fn validate_finds_every_problem_in_one_run_as_json() {
    let place = Place::new();
    place.write("m/a.yaml", &STORAGE.replace("driver: dir", "drivr: dir"));
    place.write("m/b.yaml", &STORAGE.replace("local", "../x"));
    place.write("m/c.yaml", "kind: Storage\n\tx: 1\n");
    let ran = place.expect(1, "validate m -o json");
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let found = found["diagnostics"].as_array().unwrap();
    let files: std::collections::BTreeSet<&str> = found.iter().map(|d| d["file"].as_str().unwrap()).collect();
    assert_eq!(files.into_iter().collect::<Vec<_>>(), ["m/a.yaml", "m/b.yaml", "m/c.yaml"]);
    for diagnostic in found {
        for field in ["severity", "code", "message", "file", "line", "column", "help"] {
            assert!(!diagnostic[field].is_null(), "{field} is missing in {diagnostic}");
        }
    }
    let unknown = found.iter().find(|d| d["code"] == "manifest/unknown-field").unwrap();
    assert_eq!((unknown["line"].as_u64(), unknown["column"].as_u64()), (Some(5), Some(3)));
    assert!(unknown["help"].as_str().unwrap().contains("driver"), "{unknown}");
}

#[test]
fn validate_without_a_path_or_with_a_missing_one_says_so() {
    let place = Place::new();
    assert_eq!(place.run("validate").status, 1);
    let ran = place.expect(1, "validate nowhere");
    assert!(ran.err.contains("nowhere"), "{}", ran.err);
}

#[test]
fn a_plan_against_a_file_needs_no_host() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    let live = r#"{"apiVersion":"reeve/v1","kind":"LiveState","node":"n1","observedAt":"2026-01-01T00:00:00Z","resources":{}}"#;
    place.write("live.json", live);
    let ran = place.expect(2, "plan m --live live.json -o json");
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["summary"]["create"], 1);
    assert_eq!(plan["steps"][0]["resource"], "storage/local");
    assert_eq!(plan["steps"][0]["action"], "create");
    assert_eq!(plan["steps"][0]["disruption"], "none");
    assert_eq!(plan["hash"].as_str().unwrap().len(), 64);
    assert!(!place.path("data").exists(), "a plan against a file made a data directory");
    let markdown = place.expect(2, "plan m --live live.json -o markdown");
    assert!(markdown.out.contains("| `+` | `storage/local` | create |"), "{}", markdown.out);
    let diff = place.expect(2, "diff m --live live.json");
    assert!(diff.out.starts_with("--- /dev/null\n+++ manifest/storage/local\n"), "{}", diff.out);
}

#[test]
fn a_bad_live_file_is_an_error() {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    for (name, text) in [("half.json", "{\"apiVersion\":"), ("other.json", "{\"kind\":\"Pod\"}")] {
        place.write(name, text);
        let ran = place.expect(1, &format!("plan m --live {name}"));
        assert!(ran.err.contains(name) && ran.err.contains("help:"), "{}", ran.err);
    }
    assert!(place.expect(1, "plan m --live missing.json").err.contains("missing.json"));
}

#[test]
fn explain_tells_type_default_and_cost() {
    let place = Place::new();
    assert!(place.expect(0, "explain").out.contains("Storage"));
    let ran = place.expect(0, "explain storage");
    assert!(ran.out.contains("driver  text, required"), "{}", ran.out);
    let ran = place.expect(1, "explain storage.nope");
    assert!(ran.err.contains("the fields there are driver"), "{}", ran.err);
    assert!(place.expect(1, "explain pod").err.contains("is no kind"));
    assert!(place.expect(0, "explain storage.dir").out.contains("path"));
}

#[test]
fn every_command_has_help_with_an_example() {
    let place = Place::new();
    let commands = "validate plan diff apply delete get describe explain export adopt observe schema doctor start stop \
        restart console events completion man version sync sources suspend resume agent drift override";
    for command in commands.split_whitespace() {
        let ran = place.expect(0, &format!("{command} --help"));
        assert!(ran.out.contains("Example"), "{command} --help shows no example");
    }
}

#[test]
fn pages_for_shells_and_people_are_made() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.expect(0, &format!("completion {shell}")).out.contains("reeve"));
    }
    assert!(place.expect(0, "man").out.contains(".TH"));
    place.expect(0, "man --dir pages");
    assert!(place.path("pages/reeve-plan.1").is_file());
    let version: Value = serde_json::from_str(&place.expect(0, "version -o json").out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
