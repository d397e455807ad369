//! Absent is not delete: however a folder of manifests is cut short or emptied, nothing is ever planned to be deleted.

use crate::cli::{Place, STORAGE};

/// A folder whose manifests were applied, one of them with a start that says nothing yet.
fn applied() -> (Place, String) {
    let place = Place::new();
    let volumes = "# the data\n---\napiVersion: reeve/v1\nkind: Volume\nmetadata: {name: data}\nspec:\n  storage: local\n  size: 1Mi\n";
    place.write("m/a.yaml", STORAGE);
    place.write("m/b.yaml", volumes);
    place.write("m/c.yaml", &volumes.replace("{name: data}", "{name: more}"));
    place.expect(0, "apply m --yes");
    (place, volumes.to_owned())
}

/// Whether a plan, made with these words, deletes nothing.
fn deletes_nothing(place: &Place, words: &str, how: &str) {
    let ran = place.run(words);
    let deletes = ran.out.contains("to delete") || ran.out.lines().any(|line| line.trim_start().starts_with("- "));
    assert!(!deletes, "{how}: reeve {words}\n{}\n{}", ran.out, ran.err);
}

#[test]
fn a_file_cut_short_anywhere_deletes_nothing() {
    let (place, text) = applied();
    for cut in (0..text.len()).step_by(if std::env::var_os("CI").is_some() { 1 } else { 3 }) {
        place.write("m/b.yaml", &text[..cut]);
        // A text that is cut where it still is the whole manifest is no cut.
        deletes_nothing(&place, "plan m --prune --prune-all", &format!("cut at {cut} of {}", text.len()));
    }
}

#[test]
fn what_is_emptied_away_or_unreadable_deletes_nothing() {
    let (place, text) = applied();
    for empty in ["", "\n\n", "---\n", "# nothing\n", "---\n---\n", "\u{feff}", "# a\n--- # b\n...\n"] {
        place.write("m/b.yaml", empty);
        deletes_nothing(&place, "plan m --prune --prune-all", &format!("{empty:?}"));
        let ran = place.expect(1, "plan m --prune");
        assert!(ran.err.contains("--prune"), "{}", ran.err);
    }
    for broken in ["kind: [", "\u{0}", &text.replace("Volume", "Volum"), &text.replace("size: 1Mi", "size: 1Mib")] {
        place.write("m/b.yaml", broken);
        deletes_nothing(&place, "plan m --prune --prune-all", broken);
    }
    std::fs::remove_file(place.path("m/b.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.path("m/b.yaml")).unwrap();
    deletes_nothing(&place, "plan m --prune --prune-all", "a link to nowhere");
    std::fs::remove_dir_all(place.path("m")).unwrap();
    deletes_nothing(&place, "plan m --prune --prune-all", "no folder");
    std::fs::create_dir(place.path("m")).unwrap();
    deletes_nothing(&place, "plan m --prune --prune-all", "an empty folder");
    // Without --prune not even whole and valid sources delete.
    place.write("m/a.yaml", STORAGE);
    deletes_nothing(&place, "plan m", "two files fewer");
}
