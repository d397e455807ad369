//! The contract on ZFS in user space: datasets for containers. It has no zvols; those are known by what OpenZFS prints.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use reeve::base::{FaultKind, Name, Size};
use reeve::drivers::container::lxc::Lxc;
use reeve::drivers::storage::Format;
use reeve::kinds::{KindName, Scope};
use serde_json::json;

use super::subject::{Behind, Server, Subject, new, open, owner, refused, run};
use crate::container::bench::Bench;
use crate::ct_driver::lab::Lab;

static POOLS: AtomicU32 = AtomicU32::new(0);

/// A pool in a file, destroyed when it is dropped.
struct Pool {
    name: String,
    dir: tempfile::TempDir,
    // In memory: ZFS waits for its disk at every command.
    _disk: tempfile::NamedTempFile,
    count: AtomicU32,
}

impl Pool {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("zfs-").tempdir().unwrap();
        let disk = tempfile::Builder::new().prefix("zfs-").tempfile_in("/dev/shm").unwrap();
        disk.as_file().set_len(1 << 30).unwrap();
        let name = format!("reevetest{}-{}", std::process::id(), POOLS.fetch_add(1, Ordering::SeqCst));
        run("zpool", &["create", "-m", "none", &name, disk.path().to_str().unwrap()]);
        Self { name, dir, _disk: disk, count: AtomicU32::new(0) }
    }

    fn subject(&self) -> Subject {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let options = |place: &str| {
            let mountpoint = self.dir.path().join(format!("{place}{number}"));
            json!({"pool": format!("{}/{place}{number}", self.name), "mountpoint": mountpoint})
        };
        let (options, fresh) = (options("case"), options("fresh"));
        let server = Behind::Server(Box::new(Place(options["pool"].as_str().unwrap().to_owned())));
        let storage = open("zfs", &options, None);
        // It runs in user space and answers one call at a time.
        Subject {
            only: Some(Format::Subvol),
            any_name: false,
            many: 200,
            ..Subject::of("zfs", storage, server, options, fresh)
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        run("zpool", &["destroy", "-f", &self.name]);
    }
}

struct Place(String);

impl Server for Place {
    fn plant(&self, name: &str, size: Size) {
        let quota = format!("refquota={}", size.bytes());
        run("zfs", &["create", "-o", "canmount=noauto", "-o", &quota, &format!("{}/{name}", self.0)]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Not there when the case never made it.
        let _ = std::process::Command::new("zfs").args(["destroy", "-R", &self.0]).output();
    }
}

#[test]
fn zfs_keeps_the_contract() {
    let pool = Pool::new();
    assert_eq!(super::contract("zfs-fuse", || pool.subject()), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_runs_from_a_dataset() {
    let (pool, lab) = (Pool::new(), Lab::new());
    // The container's root without privileges looks into it.
    std::fs::set_permissions(pool.dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let archive = std::fs::read(lab.archive()).unwrap();
    let mut bench = Bench::new(Arc::new(Lxc::below(lab.path("l"))), &lab.bridge, &archive).await;
    let (place, mountpoint) = (format!("{}/ct", pool.name), pool.dir.path().join("ct"));
    let tank = json!({"driver": "zfs", "options": {"pool": place, "mountpoint": mountpoint}});
    bench.say(KindName::Storage, "tank", tank);
    let said = json!({
        "runStrategy": "Always", "stopTimeout": "10s", "memory": {"size": "64Mi"},
        "rootfs": {"storage": "tank", "size": "64Mi", "image": "small"},
        "nics": {"eth0": {"network": "lan", "addresses": [format!("{}.5/24", lab.net)]}}
    });
    let ct = bench.say(KindName::Container, "sto-ct", said);
    let storage = bench.world.storage(&Scope::of(&bench.catalog), &Name::new("tank").unwrap()).unwrap();
    storage.activate().await.unwrap();

    bench.apply(&ct).await.unwrap();
    assert_eq!(bench.changes(&ct).await, Vec::<String>::new(), "a second plan finds something to do");
    let root = lab.inside("sto-ct", &["cat", "/proc/mounts"]).unwrap();
    assert!(root.starts_with(&format!("{place}/ct-sto-ct-rootfs / fuse")), "{root}");
    lab.inside("sto-ct", &["sh", "-c", "echo kept >/kept && sync"]).unwrap();
    assert_eq!(std::fs::read_to_string(mountpoint.join("ct-sto-ct-rootfs/kept")).unwrap(), "kept\n");
    let volume = storage.find("ct-sto-ct-rootfs").await.unwrap().unwrap();
    let held = storage.delete(&volume.name, volume.mark.as_ref().unwrap(), volume.size).await;
    refused(held, FaultKind::Busy);

    bench.options.destroy_data = true;
    bench.delete(&ct).await.unwrap();
    assert_eq!(storage.list().await.unwrap(), Vec::new());
}

#[test]
fn only_empty_devices_become_a_pool() {
    let dir = tempfile::Builder::new().prefix("zfs-").tempdir().unwrap();
    let (file, name) = (dir.path().join("vdev"), format!("reevenew{}", std::process::id()));
    std::fs::write(&file, vec![0; 128 << 20]).unwrap();
    let options = |initialize: bool| json!({"pool": format!("{name}/reeve"), "devices": [&file], "initialize": initialize, "mountpoint": dir.path().join("m")});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let closed = open("zfs", &options(false), None);
        assert!(!closed.active().await.unwrap());
        refused(closed.activate().await, FaultKind::NotFound);
        let storage = open("zfs", &options(true), None);
        std::os::unix::fs::FileExt::write_all_at(
            &std::fs::File::options().write(true).open(&file).unwrap(),
            b"x",
            1 << 20,
        )
        .unwrap();
        refused(storage.activate().await, FaultKind::Exists);
        std::fs::write(&file, vec![0; 128 << 20]).unwrap();
        storage.activate().await.unwrap();
        storage.create(&new("v", Format::Subvol, Size::mib(1), &owner("ct/a")), &|_, _| {}).await.unwrap();
        // What is a pool already is adopted with what is on it.
        closed.activate().await.unwrap();
        assert_eq!(closed.list().await.unwrap().len(), 1);
        assert_eq!(closed.usage().await.unwrap().promised, Some(Size::mib(1)));
    });
    run("zpool", &["destroy", "-f", &name]);
}
