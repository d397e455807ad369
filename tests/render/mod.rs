//! How results look: a plan with everything that can be in one, and what is listed and described, word for word; and that
//! the documents for programs are what `schemas/` says.
//!
//! `REEVE_BLESS=1` writes the files anew; read the difference.

use std::path::Path;

use reeve::base::{Diagnostic, Diagnostics, Place};
use reeve::cli::render::paint::Paint;
use reeve::cli::render::plan::Shown;
use reeve::cli::render::{diagnostics, diff, plan};
use reeve::kinds::{Catalog, KindName};
use reeve::manifest::load_str;
use reeve::plan::model::Plan;
use serde_json::{Value, json};

use crate::cli::{Place as Folder, STORAGE};

/// Compares with the file of that name beside this one.
#[track_caller]
fn expect(name: &str, found: &str) {
    let path = Path::new("tests/render").join(name);
    if std::env::var_os("REEVE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == found, "{name}\n--- expected\n{expected}\n--- found\n{found}");
}

fn everything() -> Plan {
    serde_json::from_str(&std::fs::read_to_string("tests/render/plan.json").unwrap()).unwrap()
}

/// What stands between the escapes that colours are made of.
fn without_colours(text: &str) -> String {
    regex_lite::Regex::new("\u{1b}\\[[0-9;]*m").unwrap().replace_all(text, "").into_owned()
}

#[test]
fn a_plan_as_text() {
    let plain = plan::text(&everything(), Shown::All, Paint::new(false));
    expect("plan.txt", &plain);
    assert!(!plain.contains('\u{1b}') && !plain.contains('\u{202e}'), "a value reaches the terminal as it is");
    let colours = plan::text(&everything(), Shown::All, Paint::new(true));
    expect("plan.colours.txt", &colours.replace('\u{1b}', "ESC"));
    assert_eq!(without_colours(&colours), plain, "colours change more than colours");
}

#[test]
fn a_plan_as_markdown() {
    expect("plan.md", &plan::markdown(&everything(), Shown::All));
    expect("plan.short.md", &plan::markdown(&everything(), Shown::Telling));
}

#[test]
fn a_plan_as_a_diff() {
    let manifest = |kind: &str, name: &str, spec: &str| {
        format!("---\napiVersion: reeve/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let text = [
        manifest("Volume", "data", "{storage: local, size: 10Gi}"),
        manifest("VirtualMachine", "web-1", "{cpu: {weight: 200}}"),
        manifest("VirtualMachine", "web-2", "{cpu: {cores: 4}, memory: {size: 2Gi}}"),
        manifest("VirtualMachine", "moves", "{node: n2}"),
        manifest("Container", "old", "{rootfs: {hostPath: /srv/old}}"),
    ];
    let mut catalog = Catalog::default();
    for resource in load_str("x", &text.concat()).resources {
        catalog.insert(resource);
    }
    expect("plan.diff", &diff::unified(&everything(), &catalog, Paint::new(false)));
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(format!("schemas/{name}")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

#[track_caller]
fn satisfies(schema: &jsonschema::Validator, document: &Value) {
    let errors: Vec<String> = schema.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{document:#}\n{errors:#?}");
}

#[test]
fn plans_are_what_their_schema_says() {
    let schema = schema("plan.schema.json");
    satisfies(&schema, &serde_json::to_value(everything()).unwrap());
    let mut seen = 0;
    for case in std::fs::read_dir("tests/plans").unwrap() {
        let path = case.unwrap().path().join("plan.json");
        satisfies(&schema, &serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap());
        seen += 1;
    }
    assert!(seen > 10, "only {seen} plans");
    for (wrong, at) in [
        (json!("maybe"), "/steps/0/action"),
        (json!("hot"), "/steps/0/disruption"),
        (json!({"state": "blocked"}), "/steps/0/readiness"),
        (json!("why"), "/steps/1/fields/0/cause"),
        (json!(-1), "/summary/create"),
        (json!("short"), "/hash"),
    ] {
        let mut document = serde_json::to_value(everything()).unwrap();
        *document.pointer_mut(at).unwrap() = wrong;
        assert!(!schema.is_valid(&document), "{at} may be anything");
    }
}

#[test]
fn diagnostics_are_what_their_schema_says() {
    let schema = schema("diagnostics.schema.json");
    let place = |line, column, length| Place { file: "a.yaml".into(), line, column, length };
    let one = Diagnostic::error("manifest/unknown-field", "spec has no field").at(place(1, 2, 3)).help("take it out");
    let two = Diagnostic::warning("source/empty-file", "nothing is in it").related(Some(place(4, 5, 0)), "here too");
    satisfies(&schema, &diagnostics::json(&Diagnostics(vec![one, two])));
    satisfies(&schema, &diagnostics::json(&Diagnostics::default()));
    let folder = Folder::new();
    folder.write("m/a.yaml", &STORAGE.replace("driver:", "drivr:"));
    satisfies(&schema, &serde_json::from_str(&folder.expect(1, "validate m -o json").out).unwrap());
    assert!(!schema.is_valid(&json!({"diagnostics": [{"severity": "bad", "code": "x", "message": ""}]})));
}

/// A text without what is new in every run: identifiers, times, hashes.
fn steady(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, word) in [
        ("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UID]"),
        ("[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?", "[TIME]"),
        // YAML quotes one that could be read as a number to the base of sixty.
        ("mac: \"52:54:00(:[0-9]{2}){3}\"", "mac: [MAC]"),
        ("52:54:00(:[0-9a-f]{2}){3}", "[MAC]"),
        ("\\b[0-9a-f]{12}\\b", "[HASH]"),
    ] {
        text = regex_lite::Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}

/// A place with a guest of each sort, applied.
fn applied() -> Folder {
    let folder = Folder::new();
    folder.write("m/a.yaml", STORAGE);
    folder.write(
        "m/b.yaml",
        "apiVersion: reeve/v1
kind: Volume
metadata: {name: data}
spec: {storage: local, size: 1Mi, format: raw}
---
apiVersion: reeve/v1
kind: Network
metadata: {name: lan}
spec: {type: nat, cidr: 10.40.0.1/24}
---
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: web-1, labels: {app: web}}
spec:
  description: front web server
  runStrategy: Always
  memory: {size: 64Mi}
  disks:
    data: {volume: data}
  nics:
    eth0: {network: lan}
---
apiVersion: reeve/v1
kind: Container
metadata: {name: dns-1}
spec:
  runStrategy: Manual
  rootfs: {hostPath: /srv/dns}
  nics:
    eth0: {network: lan, addresses: [10.40.0.53/24]}
",
    );
    folder.expect(0, "apply m --yes");
    folder
}

#[test]
fn what_is_listed_and_described() {
    let folder = applied();
    expect("get.txt", &steady(&folder.expect(0, "get vm,ct,volume,network").out));
    expect("get.wide.txt", &steady(&folder.expect(0, "get vm,ct,volume,network -o wide").out));
    expect("get.yaml", &steady(&folder.expect(0, "get vm/web-1 -o yaml").out));
    expect("get.json", &steady(&folder.expect(0, "get ct/dns-1 -o json").out));
    let changed = std::fs::read_to_string(folder.path("m/b.yaml")).unwrap().replace("64Mi", "96Mi");
    folder.write("m/b.yaml", &changed);
    expect("describe.txt", &steady(&folder.expect(0, "describe vm/web-1").out));
    let all: Value = serde_json::from_str(&folder.expect(0, "get -o json").out).unwrap();
    assert!(all["items"].as_array().unwrap().len() > 4);
    for kind in KindName::ALL {
        let short = kind.short();
        for format in ["table", "wide", "yaml", "json"] {
            let ran = folder.expect(0, &format!("get {short} -o {format}"));
            assert!(!ran.out.contains('\u{1b}'), "a pipe gets colours");
        }
    }
}

#[test]
fn no_progress_is_drawn_where_there_is_no_terminal() {
    let folder = Folder::new();
    folder.write("m/a.yaml", STORAGE);
    let ran = folder.expect(0, "apply m --yes");
    assert!(!ran.out.contains('\u{1b}') && !ran.out.contains('\r'), "{:?}", ran.out);
    assert_eq!(ran.err, "", "nothing is said beside the result");
}
