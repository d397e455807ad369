//! Manifests that load and manifests that do not, each with the diagnostics it must give.
//!
//! A case is a file or a folder in `valid/` or `invalid/`, with `<case>.expected` beside it: one line per diagnostic,
//! then its help and the other places that belong to it. `REEVE_BLESS=1` writes the files anew; read the difference.

mod large;
mod mutated;
mod properties;
mod sources;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use reeve::base::{Diagnostic, Diagnostics, Place};
use reeve::kinds::Catalog;
use reeve::manifest::{self, Loaded};
use reeve::plan::desired::Desired;

/// Diagnostics as the `.expected` files have them, paths relative to the case's folder.
fn print(diagnostics: &Diagnostics, root: &str) -> String {
    let mut text = String::new();
    for Diagnostic { severity, code, message, place, help, related } in &diagnostics.0 {
        let text_of = |p: &Place| format!("{}:{}:{}+{}", p.file.replace(root, ""), p.line, p.column, p.length);
        let at = text_of(place.as_ref().expect("every diagnostic has a place"));
        let _ = writeln!(text, "{at} {severity:?} {code}: {}", message.replace(root, ""));
        let _ = writeln!(text, "    help: {}", help.as_deref().unwrap_or("NONE"));
        for (other, why) in related {
            let _ = writeln!(text, "    {}: {why}", text_of(other));
        }
    }
    text
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/manifests").join(folder);
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_none_or(|e| e != "expected"));
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    cases
}

fn run(case: &Path) -> (Loaded, String) {
    let loaded = manifest::load(&[case.to_owned()]);
    let (_, found) = Desired::build(&loaded, &Catalog::default());
    let mut all = loaded.diagnostics.clone();
    all.extend(found.0);
    all.sort();
    let root = format!("{}/", case.parent().unwrap().display());
    let printed = print(&all, &root);
    (loaded, printed)
}

fn compare(case: &Path, printed: &str, wrong: &mut Vec<String>) {
    let expected = case.with_extension("expected");
    if std::env::var_os("REEVE_BLESS").is_some() {
        fs::write(&expected, printed).unwrap();
    }
    let want = fs::read_to_string(&expected).unwrap_or_default();
    if want != printed {
        wrong.push(format!("{}\n--- expected\n{want}--- found\n{printed}", case.display()));
    }
}

#[test]
fn invalid_manifests_give_the_expected_diagnostics() {
    let mut wrong = Vec::new();
    for case in cases("invalid") {
        let (loaded, printed) = run(&case);
        if !printed.contains(" Error ") {
            wrong.push(format!("{} has no error", case.display()));
        }
        assert_eq!(loaded.complete, !loaded.diagnostics.has_errors(), "{}", case.display());
        compare(&case, &printed, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn valid_manifests_load() {
    for case in cases("valid") {
        let (loaded, printed) = run(&case);
        assert_eq!(printed, "", "{}", case.display());
        assert!(loaded.complete && !loaded.resources.is_empty(), "{}", case.display());
    }
}
