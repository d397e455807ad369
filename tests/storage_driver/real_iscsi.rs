//! A target of tgtd with the kernel's initiator: CHAP whose password nobody sees, LUNs by stable path, a volume group on
//! one of them, a LUN that vanishes, one that comes back as another, and an array that stops and starts again.

use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::{Format, Storage};
use reeve::kinds::{KindName, Live, Observed};
use serde_json::{Value, json};

use super::subject::{device, new, open, owner, put_secret, refused, run, secrets};
use super::uml::ran_inside;
use super::watch::nobody_shows;
use crate::scene::Scene;

const TARGET: &str = "iqn.2026-11.test.reeve:array";
const PORTAL: &str = "127.0.0.1:3260";
const PASSWORD: &str = "geheim-und=lang#1";

/// The guest's array, and its own initiator; they end with the guest.
struct Array;

impl Array {
    fn new() -> Self {
        run("modprobe", &["-a", "iscsi_tcp", "sd_mod", "crc32c", "md5"]);
        run("mount", &["-t", "tmpfs", "tmpfs", "/etc/iscsi"]);
        std::fs::create_dir_all("/run/lock/iscsi").unwrap();
        std::fs::write("/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.2026-11.test.reeve:node\n").unwrap();
        std::fs::write("/etc/iscsi/iscsid.conf", "node.startup = manual\n").unwrap();
        put_secret("san", "password", PASSWORD);
        put_secret("san", "wrong", "geheim-und-falsch");
        run("/lib/systemd/systemd-udevd", &["--daemon"]);
        run("iscsid", &[]);
        Self.started()
    }

    fn started(self) -> Self {
        run("tgtd", &[]);
        while !Command::new("tgtadm").args(["--op", "show", "--mode", "sys"]).output().unwrap().status.success() {
            std::thread::sleep(Duration::from_millis(20));
        }
        admin("new", "target", &["-T", TARGET]);
        run("tgtadm", &["--lld", "iscsi", "--op", "new", "--mode", "account", "--user", "me", "--password", PASSWORD]);
        run("tgtadm", &["--lld", "iscsi", "--op", "bind", "--mode", "account", "--tid", "1", "--user", "me"]);
        self.give(1, 64, "first");
        self.give(2, 32, "second");
        admin("bind", "target", &["-I", "ALL"]);
        self
    }

    fn give(&self, lun: u32, mebibytes: u64, serial: &str) {
        let (file, lun) = (format!("/run/tmp/{serial}"), lun.to_string());
        std::fs::File::options().create(true).append(true).open(&file).unwrap().set_len(mebibytes << 20).unwrap();
        admin("new", "logicalunit", &["--lun", &lun, "-b", &file]);
        admin("update", "logicalunit", &["--lun", &lun, "--params", &format!("scsi_sn={serial}")]);
    }

    fn take(&self, lun: u32) {
        admin("delete", "logicalunit", &["--lun", &lun.to_string()]);
    }

    fn stop(&self) {
        run("sh", &["-c", "kill -KILL $(cat /proc/[0-9]*/stat | awk '$2 == \"(tgtd)\" {print $1}')"]);
    }
}

fn admin(op: &str, mode: &str, more: &[&str]) {
    let first = ["--lld", "iscsi", "--op", op, "--mode", mode, "--tid", "1"];
    run("tgtadm", &[&first[..], more].concat());
}

fn log_out() {
    run("iscsiadm", &["-m", "node", "-T", TARGET, "-p", PORTAL, "--logout"]);
}

fn options(luns: Value) -> Value {
    json!({"portal": "127.0.0.1", "target": TARGET, "username": "me", "luns": luns,
        "password": {"secretRef": {"name": "san", "key": "password"}}})
}

fn both() -> Value {
    json!([{"lun": 1, "serial": "first", "size": "64Mi"}, {"lun": 2, "serial": "second", "size": "32Mi"}])
}

#[test]
fn iscsi_finds_what_an_array_gives() {
    if ran_inside(module_path!(), "iscsi_finds_what_an_array_gives") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let array = Array::new();
        who_may_not_log_in_is_told_so().await;
        nobody_sees_the_password().await;
        luns_are_found_and_left_alone().await;
        volumes_are_on_a_lun().await;
        a_lun_that_vanishes_or_is_another_is_refused(&array).await;
        an_array_that_stops_comes_back(array).await;
    });
    println!(
        "iscsi: tgtd and the kernel's initiator; the contract is about volumes that are made, and none is made there"
    );
}

async fn who_may_not_log_in_is_told_so() {
    let mut wrong = options(json!([]));
    for (key, kind) in [("wrong", FaultKind::Denied), ("not-there", FaultKind::NotFound)] {
        wrong["password"]["secretRef"]["key"] = json!(key);
        let storage = open("iscsi", &wrong, None);
        let fault = refused(storage.activate().await, kind);
        assert!(fault.help.is_some() && !format!("{fault:?}").contains("geheim"), "{fault:?}");
        assert!(!storage.active().await.unwrap());
        refused(storage.list().await, FaultKind::NotFound);
    }
    let mut nowhere = options(json!([]));
    nowhere["portal"] = json!("127.0.0.1:3261");
    refused(open("iscsi", &nowhere, None).activate().await, FaultKind::Unavailable);
}

async fn nobody_sees_the_password() {
    let storage = open("iscsi", &options(both()), None);
    let log_in = async |seen: &AtomicU32| {
        for round in 0.. {
            storage.activate().await.unwrap();
            storage.activate().await.unwrap();
            if seen.load(Ordering::SeqCst) > 0 && round > 2 {
                break;
            }
            assert!(round < 100, "no process was ever seen that logs in");
            log_out();
        }
    };
    tokio::task::block_in_place(|| {
        nobody_shows("geheim", "iscsiadm -m node", |seen| tokio::runtime::Handle::current().block_on(log_in(seen)));
    });
    // It is in the record of open-iscsi, which is root's.
    let found = run("grep", &["-r", "-l", "-F", PASSWORD, "/etc/iscsi"]);
    for file in found.lines() {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert!(!found.is_empty());
}

async fn luns_are_found_and_left_alone() {
    let storage = open("iscsi", &options(both()), None);
    assert!(storage.active().await.unwrap());
    let found: Vec<_> = storage.list().await.unwrap().into_iter().map(|v| (v.name, v.size, v.problem)).collect();
    assert_eq!(found, [("lun-1".to_owned(), Size::mib(64), None), ("lun-2".to_owned(), Size::mib(32), None)]);
    assert_eq!(storage.usage().await.unwrap().total, Size::mib(96));
    let path = device(&*storage, "lun-2").await;
    assert!(path.starts_with("/dev/disk/by-path") && path.exists(), "{}", path.display());
    let us = owner("vm/a");
    refused(storage.create(&new("v", Format::Raw, Size::mib(1), &us), &|_, _| {}).await, FaultKind::Unsupported);
    refused(storage.delete("lun-2", &us, Size::mib(32)).await, FaultKind::Unsupported);
    refused(storage.remark("lun-2", None, &us).await, FaultKind::Unsupported);
    refused(storage.grow("lun-2", &us, Size::mib(64)).await, FaultKind::Unsupported);
    refused(storage.attachment("lun-3").await, FaultKind::NotFound);
}

/// The path of a volume's device, with what was written there.
async fn first_bytes(scene: &Scene) -> Vec<u8> {
    let Observed::Present(Live::Storage(live)) = scene.look(&"storage/san".parse().unwrap()).await else {
        panic!("it is not there")
    };
    let name = "san".parse().unwrap();
    let san = scene.world.storages.open(&name, &live.spec, &scene.world.secrets).unwrap();
    let mut bytes = vec![0; 512];
    std::fs::File::open(device(&*san, "vol-data").await).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    san.release("vol-data").await.unwrap();
    bytes
}

async fn volumes_are_on_a_lun() {
    log_out();
    let mut scene = Scene::new();
    scene.world.secrets = secrets();
    let lun = format!("/dev/disk/by-path/ip-{PORTAL}-iscsi-{TARGET}-lun-1");
    let group = json!({"group": "san", "base": "array", "initialize": true, "devices": [lun], "extentSize": "1Mi"});
    let array = scene.say(KindName::Storage, "array", json!({"driver": "iscsi", "options": options(both())}));
    let san = scene.say(KindName::Storage, "san", json!({"driver": "lvm", "options": group}));
    let data = scene.say(KindName::Volume, "data", json!({"storage": "san", "size": "8Mi"}));
    assert!(matches!(scene.look(&array).await, Observed::Absent), "a look logged in where nothing was set up");
    for resource in [&array, &san, &data] {
        scene.apply(resource).await.unwrap();
        assert_eq!(scene.changes(resource).await, []);
    }
    let opened = open("lvm", &group, None);
    let file = std::fs::File::options().write(true).open(device(&*opened, "vol-data").await).unwrap();
    file.write_all_at(&[7; 512], 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    opened.release("vol-data").await.unwrap();
    // As after a restart of the node: no session, and the group that is on it is looked at first.
    log_out();
    assert!(!Path::new(&lun).exists());
    assert_eq!(scene.changes(&san).await, []);
    assert_eq!(scene.changes(&data).await, []);
    assert_eq!(first_bytes(&scene).await, [7; 512]);
    assert_eq!(scene.changes(&array).await, []);
}

async fn a_lun_that_vanishes_or_is_another_is_refused(array: &Array) {
    let storage = open("iscsi", &options(both()), None);
    let problem = async |storage: &dyn Storage| storage.find("lun-2").await.unwrap().unwrap().problem;
    array.take(2);
    refused(storage.active().await, FaultKind::Unavailable);
    assert!(problem(&*storage).await.is_some());
    refused(storage.attachment("lun-2").await, FaultKind::NotFound);
    // The other one does not notice.
    let first = open("iscsi", &options(json!([{"lun": 1, "serial": "first"}])), None);
    assert!(first.active().await.unwrap());
    for (mebibytes, serial, said) in [(32, "third", "serial number third"), (48, "second", "has 48Mi")] {
        array.give(2, mebibytes, serial);
        let fault = refused(storage.active().await, FaultKind::Identity);
        assert!(fault.message.contains(said), "{fault}");
        refused(storage.activate().await, FaultKind::Identity);
        refused(storage.attachment("lun-2").await, FaultKind::Identity);
        assert!(problem(&*storage).await.unwrap().contains(said));
        assert!(first.active().await.unwrap());
        array.take(2);
    }
    std::fs::File::options().write(true).open("/run/tmp/second").unwrap().set_len(32 << 20).unwrap();
    array.give(2, 32, "second");
    assert!(storage.active().await.unwrap());
}

async fn an_array_that_stops_comes_back(array: Array) {
    let storage = open("iscsi", &options(both()), None);
    array.stop();
    let gone = async {
        while storage.active().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    refused(storage.list().await, FaultKind::Unavailable);
    let _again = array.started();
    let back = async {
        while !storage.active().await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), back).await.unwrap();
    assert_eq!(storage.list().await.unwrap().len(), 2);
}
