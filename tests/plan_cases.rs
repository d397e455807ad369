//! Every folder below `tests/plans/`: `want.yaml` against `live.yaml` gives `plan.txt` and `plan.json`.
//!
//! `UPDATE_EXPECTED=1` writes what comes out; the difference is then read in git. An `options.json` may say what is allowed.

use std::path::{Path, PathBuf};

use reeve::cli::render::paint::Paint;
use reeve::cli::render::plan::{Shown, text};
use reeve::kinds::{Catalog, Options};
use reeve::manifest;
use reeve::plan::desired::Desired;
use reeve::plan::live::LiveState;
use reeve::plan::make::{Goal, make};

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found
}

fn check(path: &Path, found: &str, failed: &mut Vec<String>) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected != found {
        let diff = similar::TextDiff::from_lines(expected.as_str(), found).unified_diff().to_string();
        failed.push(format!("{}:\n{diff}", path.display()));
    }
}

#[test]
fn every_case_gives_its_plan() {
    let cases = cases();
    assert!(cases.len() >= 10, "only {} cases were found", cases.len());
    let mut failed = Vec::new();
    for case in cases {
        let loaded = manifest::load(&[case.join("want.yaml")]);
        let (desired, found) = Desired::build(&loaded, &Catalog::default());
        let problems: Vec<String> = loaded.diagnostics.0.iter().chain(&found.0).map(ToString::to_string).collect();
        assert!(problems.is_empty(), "{}: {problems:#?}", case.display());
        let live = std::fs::read_to_string(case.join("live.yaml")).unwrap();
        let live: LiveState = serde_yaml::from_str(&live).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
        let options = match std::fs::read(case.join("options.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Err(_) => Options::default(),
        };
        let remove: Vec<_> = match std::fs::read_to_string(case.join("remove.txt")) {
            Ok(text) => text.lines().map(|l| l.parse().unwrap()).collect(),
            Err(_) => Vec::new(),
        };
        let goal = Goal { catalog: &desired.catalog, order: &desired.order, remove: &remove, options };
        let plan = make(&goal, &live);
        assert_eq!(plan, make(&goal, &live), "{}: two plans from the same differ", case.display());
        check(&case.join("plan.txt"), &text(&plan, Shown::Telling, Paint::new(false)), &mut failed);
        check(&case.join("plan.json"), &format!("{}\n", serde_json::to_string_pretty(&plan).unwrap()), &mut failed);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
