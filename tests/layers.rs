//! Which folder of the source may use which: the table of `specs/architecture.md`, held.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each folder may reach; `kinds::spec` stands for the data-only spec files of kinds.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("store", &["base"]),
    ("drivers", &["base", "kinds::spec"]),
    ("kinds", &["base", "drivers", "plan::model"]),
    ("manifest", &["base", "kinds", "drivers"]),
    ("plan", &["base", "kinds", "manifest"]),
    ("engine", &["base", "drivers", "kinds", "manifest", "plan", "store"]),
    ("agent", &["base", "drivers", "engine", "kinds", "manifest", "plan", "store"]),
    ("doctor", &["base", "drivers", "kinds"]),
    ("api", &["agent", "base", "drivers", "engine", "kinds", "manifest", "plan", "store"]),
    ("cli", &["agent", "api", "base", "doctor", "drivers", "engine", "kinds", "manifest", "plan", "store"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The paths behind `crate::` in a file, two segments deep, its tests left out.
fn edges(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let mut found = BTreeSet::new();
    for line in lines {
        for after in line.split("crate::").skip(1) {
            let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let path: String = after.chars().take_while(|c| word(*c)).collect();
            found.insert(path);
        }
    }
    found
}

/// Whether a path into `kinds` leads to data only: a spec, its parts, the resource's envelope or the compiled schema.
fn is_data(path: &str) -> bool {
    let segments: Vec<&str> = path.split("::").filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["kinds", "parts" | "shape" | "Shape" | "fields", ..] => true,
        ["kinds", kind, rest @ ..] if source().join("kinds").join(kind).is_dir() => rest
            .first()
            .is_none_or(|r| *r == "spec" || r.ends_with("Spec") || r.chars().next().is_some_and(char::is_uppercase)),
        _ => false,
    }
}

#[test]
fn every_edge_is_in_the_table() {
    let mut found = Vec::new();
    files(&source(), &mut found);
    let mut wrong = Vec::new();
    for file in found {
        let relative = file.strip_prefix(source()).unwrap();
        let Some(folder) = relative.components().next().and_then(|c| c.as_os_str().to_str()) else { continue };
        // A kind's own tests run the whole spine on fakes.
        let test = relative.components().any(|c| c.as_os_str() == "tests") || relative.ends_with("tests.rs");
        if folder == "lib.rs" || folder == "main.rs" || test {
            continue;
        }
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(name, _)| *name == folder)
            .unwrap_or_else(|| panic!("{folder} is not in the table of layers"));
        for edge in edges(&std::fs::read_to_string(&file).unwrap()) {
            let top = edge.split("::").next().unwrap_or_default();
            let fine = top == folder
                || allowed.iter().any(|a| edge == *a || edge.starts_with(&format!("{a}::")))
                || (allowed.contains(&"kinds::spec") && is_data(&edge));
            if !fine {
                wrong.push(format!("{}: crate::{edge}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that specs/architecture.md does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn every_kind_folder_is_in_the_list() {
    let list = std::fs::read_to_string(source().join("kinds/mod.rs")).unwrap();
    for entry in std::fs::read_dir(source().join("kinds")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "parts" {
            assert!(list.contains(&format!("{name}::")), "src/kinds/{name} is not in the list of kinds");
        }
    }
}

#[test]
fn every_storage_driver_folder_is_in_the_list() {
    let root = source().join("drivers/storage");
    let list = std::fs::read_to_string(root.join("mod.rs")).unwrap();
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // What volume managers share is no type.
        if path.is_dir() && name != "pool" {
            assert!(
                list.contains(&format!("{name}::")),
                "src/drivers/storage/{name} is not in the list of storage types"
            );
        }
    }
}
