//! A process that is killed between any two of its commands leaves no half volume, and nothing that is not found.
//!
//! The test starts its own binary again as the child that is killed, at the first crash point, then at the second, and so
//! on until the child reaches its end. After each death the storage must hold only whole volumes, everything else must
//! be listed as left over and be gone after `clean`, and the same work must succeed when it is done again.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use reeve::base::{Mark, Size};
use reeve::drivers::storage::{Format, NewVolume, Source, Storage};
use serde_json::json;

use super::subject::{new, open, run, us};

const MIB: Size = Size::mib(1);

/// Everything that is done to a storage, in an order in which each call counts as done when it is repeated.
async fn work(storage: &dyn Storage, image: &Path) {
    storage.activate().await.unwrap();
    let marked = storage.marked().unwrap();
    let own = us(1);
    marked.set_mark(marked.mark().await.unwrap().as_ref(), Some(&own)).await.unwrap();
    for format in [Format::Qcow2, Format::Raw, Format::Subvol, Format::Vmdk] {
        let name = format!("kept-{format}");
        storage.create(&new(&name, format, MIB, &us(2)), &|_, _| {}).await.unwrap();
        storage.create(&new(&format!("gone-{format}"), format, MIB, &us(3)), &|_, _| {}).await.unwrap();
        let next = Mark { applied: Some(json!({"round": 2})), ..us(2) };
        storage.remark(&name, Some(&us(2)), &next).await.unwrap();
    }
    for (to, size) in [(Format::Qcow2, Size::mib(8)), (Format::Raw, Size::mib(4))] {
        let source = Source::Image { path: image.into(), format: Format::Qcow2 };
        let copy = NewVolume { source, ..new(&format!("copy-{to}"), to, size, &us(4)) };
        storage.create(&copy, &|_, _| {}).await.unwrap();
    }
    for format in [Format::Qcow2, Format::Raw, Format::Subvol, Format::Vmdk] {
        storage.delete(&format!("gone-{format}"), &us(3), MIB).await.unwrap();
    }
}

/// What is on disk once the work is done.
fn expected() -> BTreeSet<String> {
    let mut files = BTreeSet::from([".reeve-storage.json".to_owned()]);
    for file in [
        "images/kept-qcow2.qcow2",
        "images/kept-raw.raw",
        "images/kept-vmdk.vmdk",
        "rootdir/kept-subvol.subvol",
        "images/copy-qcow2.qcow2",
        "images/copy-raw.raw",
    ] {
        let (dir, name) = file.split_once('/').unwrap();
        files.extend([file.to_owned(), format!("{dir}/.{name}.reeve.json")]);
    }
    files
}

/// Every file, and every directory that is a volume.
fn found(root: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let text = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if !path.is_dir() || text.ends_with(".subvol") {
                files.insert(text);
            } else {
                open.push(path);
            }
        }
    }
    files
}

/// The child: does the work, and is killed at the point it was told.
#[test]
fn child() {
    let Some(root) = std::env::var_os("REEVE_TEST_STORAGE") else {
        // Run as a test of its own, it only shows that nothing kills it unasked.
        return reeve::base::crash::point("nobody asked");
    };
    let root = Path::new(&root);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let storage = open("dir", &json!({"path": root.join("s")}), None);
    runtime.block_on(work(&*storage, &root.join("image.qcow2")));
}

/// Runs the test `child`, to which a variable says that it is meant, and kills it at that point; whether it came so far.
pub fn die_at(child: &str, (variable, value): (&str, &Path), point: u32) -> bool {
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .env("REEVE_CRASH_AT", point.to_string())
        .output()
        .unwrap();
    let killed = done.status.code().is_none();
    assert!(killed || done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    killed
}

fn image(root: &Path) {
    let path = root.join("image.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "4M"]);
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 5 1M 64k", path.to_str().unwrap()]);
}

/// Everything that is seen is whole, and the rest is listed and goes away.
async fn check(storage: &dyn Storage, point: u32) {
    if !storage.active().await.unwrap() {
        return;
    }
    for info in storage.list().await.unwrap() {
        assert_eq!(info.problem, None, "at point {point}");
        assert!(info.mark.is_some(), "{} has no mark at point {point}", info.name);
        let wanted = if info.name == "copy-qcow2" {
            8
        } else if info.name == "copy-raw" {
            4
        } else {
            1
        };
        assert_eq!(info.size, Size::mib(wanted), "{} at point {point}", info.name);
    }
    for name in storage.leftovers().await.unwrap() {
        storage.clean(&name).await.unwrap();
    }
    assert_eq!(storage.leftovers().await.unwrap(), [""; 0], "at point {point}");
}

/// Only volumes, their marks and the storage's own are there.
fn only_volumes(root: &Path, point: u32) {
    for file in found(root).into_iter().filter(|f| f != ".reeve-storage.json" && !f.starts_with(".reeve-locks/")) {
        let (dir, name) = file.split_once('/').unwrap();
        let partner = match name.strip_prefix('.').and_then(|n| n.strip_suffix(".reeve.json")) {
            Some(volume) => root.join(dir).join(volume),
            None => root.join(dir).join(format!(".{name}.reeve.json")),
        };
        assert!(partner.exists(), "{file} is alone at point {point}");
    }
}

#[test]
fn a_death_at_any_point_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut points = 0;
    for point in 1.. {
        let root = tempfile::tempdir().unwrap();
        image(root.path());
        let path = root.path().join("s");
        if !die_at("storage_driver::crash::child", ("REEVE_TEST_STORAGE", root.path()), point) {
            assert_eq!(found(&path), expected());
            break;
        }
        points = point;
        let storage = open("dir", &json!({"path": path}), None);
        runtime.block_on(check(&*storage, point));
        if path.exists() {
            only_volumes(&path, point);
        }
        runtime.block_on(work(&*storage, &root.path().join("image.qcow2")));
        assert_eq!(found(&path), expected(), "after dying at point {point} and doing it again");
    }
    assert!(points > 50, "only {points} points were met");
}
