//! Files, directories and what may be wrong with them before a line is read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reeve::manifest::{self, Loaded};

fn storage(name: &str) -> String {
    format!(
        "apiVersion: reeve/v1\nkind: Storage\nmetadata: {{name: {name}}}\nspec: {{driver: dir, options: {{path: /{name}}}}}\n"
    )
}

fn load(path: &Path) -> Loaded {
    manifest::load(&[path.to_owned()])
}

/// The only diagnostic, as code, line and column.
fn only(loaded: &Loaded) -> (&'static str, u32, u32) {
    let [one] = loaded.diagnostics.0.as_slice() else { panic!("{:?}", loaded.diagnostics) };
    let place = one.place.as_ref().unwrap();
    assert!(one.help.is_some());
    (one.code, place.line, place.column)
}

fn file(dir: &Path, bytes: &[u8]) -> Loaded {
    let path = dir.join("x.yaml");
    fs::write(&path, bytes).unwrap();
    load(&path)
}

#[test]
fn bad_bytes_are_shown_where_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let bad = |bytes: &[u8]| {
        let loaded = file(dir.path(), bytes);
        assert!(!loaded.complete && loaded.resources.is_empty());
        only(&loaded)
    };
    assert_eq!(bad(b"a: b\nn\xc3\xa4me: \xff\n"), ("source/not-utf8", 2, 7));
    assert_eq!(bad(b"a: b\nc: \xc3"), ("source/not-utf8", 2, 4));
    assert_eq!(bad(b"a: b\nc: \0d\n"), ("source/nul", 2, 4));
    assert_eq!(bad(b"a: b\nc: d\re: f\n"), ("source/carriage-return", 2, 5));
    assert_eq!(bad(b"\xff\xfea\0:\0"), ("source/not-utf8", 1, 1));
    assert_eq!(bad(b"a: \x07\n").0, "manifest/syntax");
}

#[test]
fn a_byte_order_mark_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = file(dir.path(), format!("\u{feff}{}", storage("a")).as_bytes());
    assert_eq!(only(&loaded), ("source/byte-order-mark", 1, 1));
    assert!(loaded.complete && loaded.resources.len() == 1);
    let inside = file(dir.path(), format!("{}---\n\u{feff}{}", storage("a"), storage("b")).as_bytes());
    assert!(inside.diagnostics.0.len() <= 1, "{:?}", inside.diagnostics);
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.yaml");
    fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let start = std::time::Instant::now();
    let loaded = load(&path);
    assert_eq!(only(&loaded).0, "source/too-large");
    assert!(loaded.diagnostics.0[0].message.contains("100 MiB"));
    assert!(start.elapsed() < std::time::Duration::from_millis(500));
    assert_eq!(only(&load(Path::new("/dev/zero"))).0, "source/too-large");
}

#[test]
fn nothing_is_never_taken_for_everything() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(only(&load(dir.path())).0, "source/empty-directory");
    assert_eq!(only(&load(&dir.path().join("missing.yaml"))).0, "source/missing");
    for loaded in
        [load(dir.path()), load(&dir.path().join("missing.yaml")), file(dir.path(), b""), file(dir.path(), b" \n")]
    {
        assert!(!loaded.complete);
    }
    assert_eq!(only(&file(dir.path(), b"")).0, "source/empty-file");
    let comments = file(dir.path(), b"# nothing yet\n---\n");
    assert!(comments.complete && comments.diagnostics.0.is_empty());
}

#[test]
fn a_directory_is_read_in_order_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let sub = dir.path().join("sub");
    fs::create_dir_all(sub.join("deep")).unwrap();
    fs::create_dir(dir.path().join(".git")).unwrap();
    for (path, name) in [("b.yaml", "b"), ("a.yml", "a"), ("sub/deep/d.json", "d"), ("sub/c.YAML", "c")] {
        fs::write(dir.path().join(path), storage(name)).unwrap();
    }
    for ignored in [".hidden.yaml", "b.yaml~", "#b.yaml#", ".b.yaml.swp", "b.yaml.bak", "notes.txt", ".git/x.yaml"] {
        fs::write(dir.path().join(ignored), storage("ignored")).unwrap();
    }
    symlink(dir.path(), sub.join("loop")).unwrap();
    symlink("loop", sub.join("loop2")).unwrap();
    symlink("../a.yml", sub.join("again.yaml")).unwrap();
    symlink("self.txt", sub.join("self.txt")).unwrap();
    let loaded = manifest::load(&[dir.path().to_owned(), dir.path().join("b.yaml"), sub]);
    assert_eq!(loaded.diagnostics.0, []);
    let names: Vec<_> = loaded.resources.iter().map(|r| r.name().to_string()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert!(loaded.complete);
    assert_eq!(loaded.sources.len(), 4);
    assert_eq!(loaded.sources[0].sha256.len(), 64);
}

#[test]
fn links_to_nowhere_and_special_files_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), storage("a")).unwrap();
    symlink("nowhere", dir.path().join("b.yaml")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("c.yaml")).unwrap();
    let loaded = load(dir.path());
    let codes: Vec<_> = loaded.diagnostics.0.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["source/unreadable", "source/not-a-file"]);
    assert!(!loaded.complete && loaded.resources.len() == 1);
}

#[test]
fn every_file_is_read_whatever_is_wrong_with_others() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.yaml"), b"\xff").unwrap();
    fs::write(dir.path().join("b.yaml"), "[").unwrap();
    fs::write(dir.path().join("c.yaml"), storage("c").replace("driver", "drive")).unwrap();
    fs::write(dir.path().join("d.yaml"), storage("d")).unwrap();
    let loaded = load(dir.path());
    let codes: Vec<_> = loaded.diagnostics.0.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["source/not-utf8", "manifest/syntax", "manifest/unknown-field"]);
    assert_eq!(loaded.resources.len(), 1);
}
