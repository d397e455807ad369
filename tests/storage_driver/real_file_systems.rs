//! The same contract on other file systems, and on one that is full; needs root, loop devices and their programs.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::{Format, NewVolume, Source};
use serde_json::json;

use super::subject::{Subject, new, open, owner, refused, run};
use super::{contract, play};

/// A file system in a file, mounted until it is dropped.
struct Mounted {
    at: PathBuf,
    dir: tempfile::TempDir,
}

impl Mounted {
    fn new(kind: &str, mebibytes: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("storage-").tempdir().unwrap();
        let (image, at) = (dir.path().join("disk"), dir.path().join("mnt"));
        std::fs::File::create(&image).unwrap().set_len(mebibytes << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        run(&format!("mkfs.{kind}"), &["-q", image.to_str().unwrap()]);
        run("mount", &["-o", "loop", image.to_str().unwrap(), at.to_str().unwrap()]);
        Self { at, dir }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.at.to_str().unwrap()]);
        assert!(self.dir.path().exists());
    }
}

fn contract_on(kind: &str) {
    let mounted = Mounted::new(kind, 1024);
    // It has no linked clones.
    assert_eq!(contract(kind, || Subject::dir(Some(&mounted.at))), 5);
}

/// A copy of an image shares its blocks: it takes no time and no space.
async fn copies_share(s: Rc<Subject>) {
    let path = s.scratch.path().join("image.raw");
    std::fs::write(&path, vec![7; 256 << 20]).unwrap();
    // Both file systems give out space only when they write, so the image itself must be on the disk before.
    std::fs::File::open(&path).unwrap().sync_all().unwrap();
    let before = s.storage.usage().await.unwrap().used.bytes();
    for i in 0..3 {
        let source = Source::Image { path: path.clone(), format: Format::Raw };
        let copy = NewVolume { source, ..new(&format!("v-{i}"), Format::Raw, Size::mib(300), &owner("vm/a")) };
        s.storage.create(&copy, &|_, _| {}).await.unwrap();
        assert_eq!(std::fs::read(s.path(&format!("v-{i}")).await).unwrap()[..1 << 20], vec![7; 1 << 20]);
    }
    let grown = s.storage.usage().await.unwrap().used.bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "three copies took {grown} bytes");
}

#[test]
fn btrfs_keeps_the_contract() {
    contract_on("btrfs");
}

#[test]
fn xfs_keeps_the_contract() {
    contract_on("xfs");
}

#[test]
fn btrfs_and_xfs_share_the_blocks_of_an_image() {
    for kind in ["btrfs", "xfs"] {
        let mounted = Mounted::new(kind, 1024);
        play(Subject::dir(Some(&mounted.at)), copies_share);
    }
}

/// Fills a storage and sees that what does not fit leaves nothing.
async fn full(s: Rc<Subject>) {
    let path = s.scratch.path().with_file_name("image.raw");
    let image = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(image.path(), vec![1; 100 << 20]).unwrap();
    drop(path);
    for format in [Format::Raw, Format::Qcow2] {
        let source = Source::Image { path: image.path().into(), format: Format::Raw };
        let copy = NewVolume { source, ..new("v", format, Size::mib(100), &owner("vm/a")) };
        refused(s.storage.create(&copy, &|_, _| {}).await, FaultKind::NoSpace);
        assert_eq!(s.storage.find("v").await.unwrap(), None);
        assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
    }
    let taken = open("dir", &json!({"path": s.files().unwrap(), "preallocation": "falloc"}), None);
    let reserved = taken.create(&new("v", Format::Raw, Size::mib(100), &owner("vm/a")), &|_, _| {}).await;
    refused(reserved, FaultKind::NoSpace);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
    s.make("v", Format::Qcow2, Size::gib(1), &owner("vm/a")).await.unwrap();
}

#[test]
fn a_full_file_system_leaves_nothing() {
    let mounted = Mounted::new("ext4", 64);
    play(Subject::dir(Some(&mounted.at)), full);
}

#[test]
fn nothing_is_written_below_a_mount_that_is_missing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mounted = Mounted::new("ext4", 64);
    let at = mounted.at.to_str().unwrap().to_owned();
    let storage = open("dir", &json!({"path": at, "mountpoint": true}), None);
    let make = || async { storage.create(&new("v", Format::Raw, Size::mib(1), &owner("vm/a")), &|_, _| {}).await };
    runtime.block_on(async {
        storage.activate().await.unwrap();
        make().await.unwrap();
        run("umount", &[&at]);
        refused(storage.active().await, FaultKind::Unavailable);
        refused(storage.list().await, FaultKind::Unavailable);
        refused(storage.activate().await, FaultKind::Unavailable);
        refused(make().await, FaultKind::Unavailable);
        // Also without the option: what was set up is missed.
        let plain = open("dir", &json!({"path": at}), None);
        refused(plain.list().await, FaultKind::NotFound);
        assert_eq!(std::fs::read_dir(Path::new(&at)).unwrap().count(), 0);
        run("mount", &["-o", "loop", mounted.dir.path().join("disk").to_str().unwrap(), &at]);
        assert_eq!(storage.list().await.unwrap().len(), 1);
    });
}

#[test]
fn a_directory_with_a_mount_inside_is_not_deleted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let s = Subject::dir(None);
    runtime.block_on(async {
        s.storage.activate().await.unwrap();
        let us = owner("ct/a");
        s.make("v w", Format::Subvol, Size::mib(1), &us).await.unwrap();
        let inside = s.path("v w").await.join("mnt");
        std::fs::create_dir(&inside).unwrap();
        run("mount", &["-t", "tmpfs", "storage-test", inside.to_str().unwrap()]);
        std::fs::write(inside.join("precious"), "x").unwrap();
        let refusal = s.storage.delete("v w", &us, Size::mib(1)).await;
        assert!(inside.join("precious").exists());
        run("umount", &[inside.to_str().unwrap()]);
        refused(refusal, FaultKind::Busy);
        s.storage.delete("v w", &us, Size::mib(1)).await.unwrap();
    });
}
