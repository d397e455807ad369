//! What every storage on a server's file system has beyond the contract: a mount that is lost, a place that something
//! else has, another node, and a server that stops and starts again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::Format;
use reeve::kinds::{KindName, Observed};
use serde_json::{Value, json};

use super::behind;
use super::subject::{Behind, Subject, new, open, owner, refused, run};
use crate::scene::Scene;

const MIB: Size = Size::mib(1);
/// Where they are mounted.
pub const MOUNTS: &str = "/run/tmp/mnt";

/// A server in this guest.
pub trait FileServer {
    /// The storage type.
    const DRIVER: &'static str;
    /// The options for a fresh place on it.
    fn place(&self) -> Value;
    fn start(&self);
    fn stop(&self);

    /// A fresh storage on it.
    fn subject(&self) -> Subject {
        subject(self)
    }
}

/// A fresh storage on a server, with the usual measures.
pub fn subject<S: FileServer + ?Sized>(server: &S) -> Subject {
    let (options, fresh) = (server.place(), server.place());
    let behind = Behind::Files(path(&options));
    let storage = open(S::DRIVER, &options, None);
    Subject {
        many: 60,
        crowd: 10,
        rounds: 2,
        patience: Duration::from_secs(300),
        ..Subject::of(S::DRIVER, storage, behind, options, fresh)
    }
}

/// Where such a storage is mounted.
pub fn path(options: &Value) -> PathBuf {
    PathBuf::from(options["path"].as_str().unwrap())
}

/// The kernel's line about the mount at that path.
pub fn line_of(options: &Value) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    mounts.lines().find(|l| l.split(' ').nth(1) == options["path"].as_str()).map(str::to_owned)
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// All of it.
pub async fn holds<S: FileServer>(server: &S) {
    behind::a_volume_is_deleted(S::DRIVER, &server.place(), behind::remove_file).await;
    nothing_is_written_below_a_mount_that_is_lost(server).await;
    nothing_is_hidden_by_a_mount(server).await;
    two_nodes_see_the_same(server).await;
    a_look_mounts_what_was_set_up_and_nothing_else(server).await;
    a_server_that_stops_delays_only_its_own(server).await;
}

async fn nothing_is_written_below_a_mount_that_is_lost<S: FileServer>(server: &S) {
    let s = server.subject();
    let (us, place) = (owner("vm/a"), path(&s.options));
    s.storage.activate().await.unwrap();
    s.storage.marked().unwrap().set_mark(None, Some(&us)).await.unwrap();
    s.make("v", Format::Qcow2, MIB, &us).await.unwrap();
    for round in 0..2 {
        run("umount", &[place.to_str().unwrap()]);
        if round == 1 {
            // Something else at the place is as bad as nothing.
            run("mount", &["-t", "tmpfs", "other", place.to_str().unwrap()]);
        }
        for format in s.formats() {
            refused(s.make("lost", format, MIB, &us).await, FaultKind::Unavailable);
        }
        refused(s.storage.list().await, FaultKind::Unavailable);
        refused(s.storage.grow("v", &us, Size::mib(2)).await, FaultKind::Unavailable);
        refused(s.storage.delete("v", &us, MIB).await, FaultKind::Unavailable);
        refused(s.storage.clean("v").await, FaultKind::Unavailable);
        refused(s.storage.remark("v", Some(&us), &us).await, FaultKind::Unavailable);
        refused(s.storage.snapshots().unwrap().take("v", &us, "one").await, FaultKind::Unavailable);
        refused(s.storage.marked().unwrap().set_mark(Some(&us), None).await, FaultKind::Unavailable);
        // One that this process never saw mounted.
        let fresh = open(S::DRIVER, &s.options, None);
        let kind = if round == 0 { FaultKind::NotFound } else { FaultKind::Unavailable };
        refused(fresh.create(&new("lost", Format::Raw, MIB, &us), &|_, _| {}).await, kind);
        assert_eq!(count(&place), 0, "something was written below the mount point");
        if round == 1 {
            refused(s.storage.reach().await, FaultKind::Exists);
            refused(s.storage.activate().await, FaultKind::Exists);
            assert_eq!(count(&place), 0);
            run("umount", &[place.to_str().unwrap()]);
        }
        s.storage.reach().await.unwrap();
        assert!(s.storage.active().await.unwrap());
        assert_eq!(s.storage.find("v").await.unwrap().unwrap().mark, Some(us.clone()));
        assert_eq!(s.storage.list().await.unwrap().len(), 1);
    }
}

async fn nothing_is_hidden_by_a_mount<S: FileServer>(server: &S) {
    let options = server.place();
    std::fs::create_dir_all(path(&options)).unwrap();
    std::fs::write(path(&options).join("kept"), "kept").unwrap();
    let storage = open(S::DRIVER, &options, None);
    let fault = refused(storage.activate().await, FaultKind::Exists);
    assert!(fault.message.contains("is not empty"), "{fault}");
    assert_eq!(std::fs::read(path(&options).join("kept")).unwrap(), b"kept");
    std::fs::remove_file(path(&options).join("kept")).unwrap();
    storage.activate().await.unwrap();
}

/// The same place mounted elsewhere stands for another node: it sees the volumes and whose they are.
async fn two_nodes_see_the_same<S: FileServer>(server: &S) {
    let s = server.subject();
    s.storage.activate().await.unwrap();
    let mut elsewhere = s.options.clone();
    elsewhere["path"] = json!(format!("{MOUNTS}/elsewhere"));
    let other = open(S::DRIVER, &elsewhere, None);
    other.activate().await.unwrap();
    let (us, them) = (owner("vm/a"), owner("vm/b"));
    s.make("v", Format::Raw, MIB, &us).await.unwrap();
    assert_eq!(other.find("v").await.unwrap().unwrap().mark, Some(us.clone()));
    refused(other.create(&new("v", Format::Raw, MIB, &them), &|_, _| {}).await, FaultKind::Identity);
    refused(other.delete("v", &them, MIB).await, FaultKind::Identity);
    other.delete("v", &us, MIB).await.unwrap();
    s.make("v", Format::Raw, MIB, &them).await.unwrap();
}

async fn a_look_mounts_what_was_set_up_and_nothing_else<S: FileServer>(server: &S) {
    let mut scene = Scene::new();
    let options = server.place();
    let mounted = || line_of(&options).is_some();
    scene.world.secrets = super::subject::secrets();
    let nas = scene.say(KindName::Storage, "nas", json!({"driver": S::DRIVER, "options": options}));
    assert!(matches!(scene.look(&nas).await, Observed::Absent));
    assert!(!mounted() && !path(&options).exists(), "a look mounted what was never set up");
    scene.apply(&nas).await.unwrap();
    assert_eq!(scene.changes(&nas).await, []);
    // As after a restart of the node: the mount is gone, what the node remembers is there.
    run("umount", &[path(&options).to_str().unwrap()]);
    assert_eq!(scene.changes(&nas).await, []);
    assert!(mounted());
    run("umount", &[path(&options).to_str().unwrap()]);
    std::fs::write(path(&options).join("in-the-way"), "").unwrap();
    let Observed::Unknown(why) = scene.look(&nas).await else { panic!("it should not be known") };
    assert!(why.contains("is not empty"), "{why}");
}

async fn a_server_that_stops_delays_only_its_own<S: FileServer>(server: &S) {
    let s = server.subject();
    let us = owner("vm/a");
    s.storage.activate().await.unwrap();
    s.make("v", Format::Raw, MIB, &us).await.unwrap();
    server.stop();
    let own = Subject::dir(None);
    let neighbour = async {
        own.storage.activate().await.unwrap();
        own.make("n", Format::Raw, MIB, &us).await.unwrap();
        std::time::Instant::now()
    };
    let dead = async {
        let fault = refused(s.make("w", Format::Raw, MIB, &us).await, FaultKind::Unavailable);
        assert!(fault.help.is_some(), "{fault}");
        std::time::Instant::now()
    };
    let (quick, late) = tokio::join!(neighbour, dead);
    assert!(quick < late, "the neighbour waited for the dead server");
    server.start();
    let back = async {
        while s.storage.list().await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), back).await.unwrap();
    s.storage.clean("w").await.unwrap();
    s.make("w", Format::Raw, MIB, &us).await.unwrap();
    assert_eq!(s.storage.list().await.unwrap().len(), 2);
}
