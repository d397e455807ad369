//! `specs/errors.md` describes every diagnostic code there is, as a heading or in a table, and none that is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The areas whose codes may stand anywhere in the source; codes of other areas are found by how they are used.
const AREAS: [&str; 3] = ["manifest", "reference", "source"];

/// Calls whose first argument is a code, and the field that holds one.
const USES: [&str; 7] = ["error(", "warning(", "info(", "report(", "problem(", "problem(code, ", "code: "];

fn rust_files(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // Unit tests are at the end of a file, and may name codes that do not exist.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

fn is_code(text: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    text.split_once('/').is_some_and(|(area, problem)| word(area) && word(problem))
}

/// Every code in the source with the file it is in.
fn used() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    let mut codes = BTreeMap::new();
    for (file, text) in &files {
        let code_lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text = code_lines.collect::<Vec<_>>().join("\n");
        let parts: Vec<&str> = text.split('"').collect();
        for pair in parts.windows(2).filter(|pair| is_code(pair[1])) {
            let area = pair[1].split('/').next().unwrap();
            let before = pair[0].trim_end();
            if AREAS.contains(&area) || USES.iter().any(|call| before.ends_with(call.trim_end())) {
                codes.insert(pair[1].to_owned(), file.clone());
            }
        }
    }
    codes
}

/// The code that a line of the page describes, as a heading or as the first cell of a row.
fn described(line: &str) -> Option<&str> {
    let row = || line.strip_prefix("| `")?.split_once("` |").map(|(code, _)| code);
    line.strip_prefix("### ").or_else(row)
}

fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string("specs/errors.md").unwrap();
    let codes: Vec<String> = page.lines().filter_map(described).map(str::to_owned).collect();
    let set: BTreeSet<String> = codes.iter().cloned().collect();
    assert_eq!(set.len(), codes.len(), "a code is described twice");
    set
}

#[test]
fn every_code_is_described() {
    let (used, documented) = (used(), documented());
    assert!(used.len() > 40, "codes are no longer found: {used:?}");
    let missing: Vec<_> = used.iter().filter(|(code, _)| !documented.contains(*code)).collect();
    assert!(missing.is_empty(), "not described in specs/errors.md: {missing:#?}");
}

#[test]
fn every_described_code_exists() {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    let gone = |code: &String| !files.iter().any(|(_, text)| text.contains(&format!("\"{code}\"")));
    let gone: Vec<_> = documented().into_iter().filter(gone).collect();
    assert!(gone.is_empty(), "described in specs/errors.md and no longer in the source: {gone:?}");
}
