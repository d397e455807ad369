//! The contract on NFS 4.2 with the kernel's own server and client, and what only a mount has: one that is lost, a place
//! that something else has, and a server that stops and starts again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::Format;
use reeve::kinds::{KindName, Observed};
use serde_json::{Value, json};

use super::subject::{Behind, Subject, new, open, owner, refused, run};
use super::uml::ran_inside;
use crate::scene::Scene;

const MIB: Size = Size::mib(1);
const EXPORTS: &str = "/run/tmp/nfs";
const MOUNTS: &str = "/run/tmp/mnt";

/// The guest's NFS server; it ends with the guest.
struct NfsServer(AtomicU32);

impl NfsServer {
    fn new() -> Self {
        run("modprobe", &["-a", "nfsd", "nfs", "nfsv3", "nfsv4"]);
        // What the server's programs keep stays in the guest.
        run("mount", &["-t", "tmpfs", "tmpfs", "/var/lib/nfs"]);
        std::fs::create_dir_all("/var/lib/nfs/v4recovery").unwrap();
        for file in ["etab", "rmtab"] {
            std::fs::write(Path::new("/var/lib/nfs").join(file), "").unwrap();
        }
        std::fs::create_dir_all(EXPORTS).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs", EXPORTS]);
        run("mount", &["-t", "nfsd", "nfsd", "/proc/fs/nfsd"]);
        run("rpcbind", &["-w"]);
        let options = "rw,no_root_squash,no_subtree_check,insecure,fsid=0";
        run("exportfs", &["-i", "-o", options, &format!("127.0.0.1:{EXPORTS}")]);
        run("rpc.mountd", &["-N", "2"]);
        let server = Self(AtomicU32::new(0));
        server.start();
        server
    }

    fn start(&self) {
        run("rpc.nfsd", &["-V", "3", "-V", "4.0", "-V", "4.1", "-V", "4.2", "2"]);
        // Nobody has anything to claim back that a test would wait for.
        std::fs::write("/proc/fs/nfsd/v4_end_grace", "Y").unwrap();
        std::fs::write("/proc/fs/lockd/nlm_end_grace", "Y").unwrap();
    }

    fn stop(&self) {
        run("rpc.nfsd", &["0"]);
    }

    /// The options of a fresh export.
    fn export(&self) -> Value {
        let name = format!("e{}", self.0.fetch_add(1, Ordering::SeqCst));
        std::fs::create_dir(Path::new(EXPORTS).join(&name)).unwrap();
        json!({"server": "127.0.0.1", "export": format!("/{name}"), "path": format!("{MOUNTS}/{name}")})
    }

    fn subject(&self) -> Subject {
        let (options, fresh) = (self.export(), self.export());
        let behind = Behind::Files(path(&options));
        let storage = open("nfs", &options, None);
        Subject {
            many: 60,
            crowd: 10,
            rounds: 2,
            patience: Duration::from_secs(300),
            ..Subject::of("nfs", storage, behind, options, fresh)
        }
    }
}

fn path(options: &Value) -> PathBuf {
    PathBuf::from(options["path"].as_str().unwrap())
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn nfs_keeps_the_contract() {
    if !ran_inside(module_path!(), "nfs_keeps_the_contract") {
        let server = NfsServer::new();
        assert_eq!(super::contract("nfs", || server.subject()), NOT_APPLICABLE);
    }
}

/// The cases about linked clones, which `dir` does not have either.
const NOT_APPLICABLE: usize = 5;

#[test]
fn nfs_beyond_the_contract() {
    if ran_inside(module_path!(), "nfs_beyond_the_contract") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = NfsServer::new();
        nothing_is_written_below_a_mount_that_is_lost(&server).await;
        nothing_is_hidden_by_a_mount(&server).await;
        two_nodes_see_the_same(&server).await;
        other_versions_are_mounted_too(&server).await;
        what_cannot_be_mounted_says_why(&server).await;
        a_look_mounts_what_was_set_up_and_nothing_else(&server).await;
        a_server_that_stops_delays_only_its_own(&server).await;
    });
}

async fn nothing_is_written_below_a_mount_that_is_lost(server: &NfsServer) {
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
        for format in [Format::Raw, Format::Qcow2, Format::Subvol] {
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
        let fresh = open("nfs", &s.options, None);
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

async fn nothing_is_hidden_by_a_mount(server: &NfsServer) {
    let options = server.export();
    std::fs::create_dir_all(path(&options)).unwrap();
    std::fs::write(path(&options).join("kept"), "kept").unwrap();
    let storage = open("nfs", &options, None);
    let fault = refused(storage.activate().await, FaultKind::Exists);
    assert!(fault.message.contains("is not empty"), "{fault}");
    assert_eq!(std::fs::read(path(&options).join("kept")).unwrap(), b"kept");
    std::fs::remove_file(path(&options).join("kept")).unwrap();
    storage.activate().await.unwrap();
}

/// The same export mounted at another place stands for another node: it sees the volumes, and the locks on their names.
async fn two_nodes_see_the_same(server: &NfsServer) {
    let s = server.subject();
    s.storage.activate().await.unwrap();
    let mut elsewhere = s.options.clone();
    elsewhere["path"] = json!(format!("{MOUNTS}/elsewhere"));
    let other = open("nfs", &elsewhere, None);
    other.activate().await.unwrap();
    let (us, them) = (owner("vm/a"), owner("vm/b"));
    s.make("v", Format::Raw, MIB, &us).await.unwrap();
    assert_eq!(other.find("v").await.unwrap().unwrap().mark, Some(us.clone()));
    refused(other.create(&new("v", Format::Raw, MIB, &them), &|_, _| {}).await, FaultKind::Identity);
    refused(other.delete("v", &them, MIB).await, FaultKind::Identity);
    other.delete("v", &us, MIB).await.unwrap();
    s.make("v", Format::Raw, MIB, &them).await.unwrap();
}

async fn other_versions_are_mounted_too(server: &NfsServer) {
    for (version, shown) in [("v3", "vers=3,"), ("v4.0", "vers=4.0,"), ("v4.1", "vers=4.1,")] {
        let mut options = server.export();
        options["version"] = json!(version);
        if version == "v3" {
            // It knows nothing of a root of all exports, and no rpc.statd runs here.
            options["export"] = json!(format!("{EXPORTS}{}", options["export"].as_str().unwrap()));
            options["mountOptions"] = json!(["nolock"]);
        }
        let (storage, us) = (open("nfs", &options, None), owner("vm/a"));
        storage.activate().await.unwrap();
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let line = mounts.lines().find(|l| l.contains(path(&options).to_str().unwrap())).unwrap();
        assert!(line.contains(shown), "{line}");
        storage.create(&new("v", Format::Qcow2, MIB, &us), &|_, _| {}).await.unwrap();
        storage.snapshots().unwrap().take("v", &us, "one").await.unwrap();
        assert_eq!(storage.list().await.unwrap().len(), 1);
        storage.delete("v", &us, MIB).await.unwrap();
        assert_eq!(storage.leftovers().await.unwrap(), [""; 0]);
    }
}

async fn what_cannot_be_mounted_says_why(server: &NfsServer) {
    let mut options = server.export();
    options["export"] = json!("/nowhere");
    let fault = refused(open("nfs", &options, None).activate().await, FaultKind::Unavailable);
    assert!(fault.message.contains("127.0.0.1:/nowhere") && fault.help.is_some(), "{fault}");
    options["mountOptions"] = json!(["no-such-option"]);
    refused(open("nfs", &options, None).activate().await, FaultKind::Invalid);
}

async fn a_look_mounts_what_was_set_up_and_nothing_else(server: &NfsServer) {
    let mut scene = Scene::new();
    let options = server.export();
    let mounted = || std::fs::read_to_string("/proc/mounts").unwrap().contains(options["path"].as_str().unwrap());
    let nas = scene.say(KindName::Storage, "nas", json!({"driver": "nfs", "options": options}));
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

async fn a_server_that_stops_delays_only_its_own(server: &NfsServer) {
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
