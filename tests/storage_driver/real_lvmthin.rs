//! The contract on a thin pool of LVM with the device mapper of a real kernel, and what only a thin pool has: a rollback
//! that is killed between any two commands, a pool that runs full, and the making of a pool.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::{Format, Storage};
use serde_json::json;

use super::crash::die_at;
use super::subject::{Behind, Server, Subject, device, new, open, owner, refused, run, us};
use super::uml::{Disk, ran_inside};

const MIB: Size = Size::mib(1);

/// A group with a pool made by hand, emptied for every subject.
struct Group {
    disk: Disk,
    fresh: Disk,
}

impl Group {
    fn new() -> Self {
        let group = Self { disk: Disk::new(256), fresh: Disk::new(64) };
        // An earlier one of the same guest.
        let _ = Command::new("vgremove").args(["-q", "-y", "-f", "vms"]).output().unwrap();
        run("vgcreate", &["-q", "-y", "-s", "1m", "vms", &group.disk.device]);
        run("lvcreate", &["-q", "-y", "--type", "thin-pool", "-L", "200m", "-n", "thin", "vms"]);
        group
    }

    fn subject(&self) -> Subject {
        let fresh = &self.fresh.device;
        run("lvremove", &["-q", "-y", "-S", "pool_lv=thin", "vms"]);
        for tag in run("vgs", &["--noheadings", "-o", "vg_tags", "vms"]).trim().split(',').filter(|t| !t.is_empty()) {
            run("vgchange", &["-q", "--deltag", tag, "vms"]);
        }
        let options = json!({"group": "vms", "pool": "thin", "extentSize": "1Mi"});
        let fresh = json!({"group": "fresh", "pool": "p", "extentSize": "1Mi", "initialize": true, "devices": [fresh]});
        let storage = open("lvmthin", &options, None);
        let server = Behind::Server(Box::new(Planter));
        Subject {
            any_name: false,
            clones_hold: false,
            // Every command takes a third of a second in there.
            many: 6,
            crowd: 6,
            rounds: 2,
            patience: Duration::from_secs(600),
            ..Subject::of("lvmthin", storage, server, options, fresh)
        }
    }
}

struct Planter;

impl Server for Planter {
    fn plant(&self, name: &str, size: Size) {
        let size = format!("{}b", size.bytes());
        run("lvcreate", &["-q", "-y", "-n", name, "-V", &size, "--thinpool", "vms/thin"]);
    }
}

#[test]
fn lvmthin_keeps_the_first_half_of_the_contract() {
    if !ran_inside(module_path!(), "lvmthin_keeps_the_first_half_of_the_contract") {
        let group = Group::new();
        assert_eq!(super::contract_of(super::halves().0, "lvmthin", || group.subject()), 2);
    }
}

#[test]
fn lvmthin_keeps_the_second_half_of_the_contract() {
    if !ran_inside(module_path!(), "lvmthin_keeps_the_second_half_of_the_contract") {
        let group = Group::new();
        assert_eq!(super::contract_of(super::halves().1, "lvmthin", || group.subject()), 0);
    }
}

#[test]
fn lvmthin_beyond_the_contract() {
    if ran_inside(module_path!(), "lvmthin_beyond_the_contract") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        a_pool_is_made_only_where_that_is_said().await;
        any_snapshot_can_be_gone_back_to().await;
        a_full_pool_takes_nothing_more().await;
        what_others_left_is_seen_as_theirs().await;
    });
    a_death_at_any_point_leaves_nothing();
}

async fn a_pool_is_made_only_where_that_is_said() {
    let disk = Disk::new(64);
    run("vgcreate", &["-q", "-y", "-s", "1m", "made", &disk.device]);
    let options = |initialize| json!({"group": "made", "pool": "p", "extentSize": "1Mi", "initialize": initialize});
    let closed = open("lvmthin", &options(false), None);
    refused(closed.activate().await, FaultKind::NotFound);
    assert!(!closed.active().await.unwrap());
    run("lvcreate", &["-q", "-y", "-L", "4m", "-n", "p", "made"]);
    refused(open("lvmthin", &options(true), None).activate().await, FaultKind::Exists);
    run("lvremove", &["-q", "-y", "made/p"]);
    open("lvmthin", &options(true), None).activate().await.unwrap();
    let usage = closed.usage().await.unwrap();
    assert!(usage.total > Size::mib(40) && usage.used.bytes() == 0, "{usage:?}");
    closed.activate().await.unwrap();
    // More is promised than there is, and nothing is taken.
    closed.create(&new("v", Format::Raw, Size::mib(1 << 20), &owner("vm/a")), &|_, _| {}).await.unwrap();
    let usage = closed.usage().await.unwrap();
    assert_eq!((usage.promised, usage.used), (Some(Size::mib(1 << 20)), Size(0)));
    // Whole volumes of the same group are the other type's, and each sees its own.
    let whole = open("lvm", &json!({"group": "made", "extentSize": "1Mi"}), None);
    assert_eq!(whole.list().await.unwrap(), []);
    whole.create(&new("w", Format::Raw, MIB, &owner("vm/a")), &|_, _| {}).await.unwrap();
    assert_eq!(closed.list().await.unwrap().len(), 1);
    refused(whole.create(&new("v", Format::Raw, MIB, &owner("vm/a")), &|_, _| {}).await, FaultKind::Exists);
    run("vgremove", &["-q", "-y", "-f", "made"]);
}

async fn any_snapshot_can_be_gone_back_to() {
    let group = Group::new();
    let s = group.subject();
    let (us, snapshots) = (owner("vm/a"), s.storage.snapshots().unwrap());
    s.make("v", Format::Raw, Size::mib(4), &us).await.unwrap();
    for (byte, name) in [(1, "one"), (2, "two"), (3, "three")] {
        s.put("v", byte).await;
        snapshots.take("v", &us, name).await.unwrap();
    }
    s.put("v", 4).await;
    let held = s.hold("v").await;
    refused(snapshots.roll_back("v", &us, "one").await, FaultKind::Busy);
    drop(held);
    assert!(s.has("v", 4).await);
    for (byte, name) in [(1, "one"), (3, "three"), (2, "two")] {
        snapshots.roll_back("v", &us, name).await.unwrap();
        assert!(s.has("v", byte).await, "{name}");
        s.put("v", 9).await;
        assert_eq!(snapshots.list("v").await.unwrap(), ["one", "two", "three"]);
    }
    snapshots.take("v", &us, "four").await.unwrap();
    assert_eq!(snapshots.list("v").await.unwrap(), ["one", "two", "three", "four"]);
    // Another owner keeps them too.
    let heir = owner("vm/b");
    s.storage.remark("v", Some(&us), &heir).await.unwrap();
    assert_eq!(snapshots.list("v").await.unwrap().len(), 4);
    s.storage.delete("v", &heir, Size::mib(4)).await.unwrap();
    let left = run("lvs", &["--noheadings", "-o", "lv_name", "vms"]);
    assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["thin"]);
}

async fn a_full_pool_takes_nothing_more() {
    let group = Group::new();
    let s = group.subject();
    let us = owner("vm/a");
    s.make("v", Format::Raw, Size::mib(300), &us).await.unwrap();
    let path = device(&*s.storage, "v").await;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    for at in 0..192 {
        file.write_all_at(&[7; 1 << 20], at << 20).unwrap();
    }
    file.sync_all().unwrap();
    let usage = s.storage.usage().await.unwrap();
    assert!(usage.used > Size::mib(190) && usage.promised > Some(usage.total), "{usage:?}");
    assert!(s.storage.find("v").await.unwrap().unwrap().allocated > Some(Size::mib(190)));
    let fault = refused(s.make("w", Format::Raw, MIB, &us).await, FaultKind::NoSpace);
    assert!(fault.help.is_some() && fault.message.contains("96"), "{fault}");
    refused(s.storage.snapshots().unwrap().take("v", &us, "one").await, FaultKind::NoSpace);
    refused(s.storage.grow("v", &us, Size::mib(301)).await, FaultKind::NoSpace);
    drop(file);
    // What a guest discards is free again.
    run("blkdiscard", &["-f", "-o", "0", "-l", &(100 << 20).to_string(), path.to_str().unwrap()]);
    s.make("w", Format::Raw, MIB, &us).await.unwrap();
    s.storage.delete("v", &us, Size::mib(300)).await.unwrap();
    assert!(s.storage.usage().await.unwrap().used < Size::mib(10));
}

async fn what_others_left_is_seen_as_theirs() {
    let group = Group::new();
    let s = group.subject();
    let us = owner("vm/a");
    s.make("v", Format::Raw, MIB, &us).await.unwrap();
    s.storage.snapshots().unwrap().take("v", &us, "one").await.unwrap();
    // Somebody removes the volume by hand: what is left holds its data, and is nobody's to clear away.
    run("lvremove", &["-q", "-y", "vms/v"]);
    let listed = s.storage.list().await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str()), (1, "v.snap.one"));
    assert!(listed[0].problem.is_some() && listed[0].mark.is_none(), "{listed:?}");
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
    // Nor does it become a snapshot of a new volume of that name.
    s.make("v", Format::Raw, MIB, &us).await.unwrap();
    assert_eq!(s.storage.snapshots().unwrap().list("v").await.unwrap(), [""; 0]);
}

async fn fill(storage: &dyn Storage, name: &str, byte: u8) {
    let file = std::fs::File::options().write(true).open(device(storage, name).await).unwrap();
    file.write_all_at(&[byte; 4096], 0).unwrap();
    file.sync_all().unwrap();
}

async fn holds(storage: &dyn Storage, name: &str) -> u8 {
    let mut byte = [0];
    std::fs::File::open(device(storage, name).await).unwrap().read_exact_at(&mut byte, 0).unwrap();
    byte[0]
}

/// A volume with the byte 1 in its snapshot, and 2 since.
async fn prepare(storage: &dyn Storage) {
    storage.create(&new("v", Format::Raw, MIB, &us(1)), &|_, _| {}).await.unwrap();
    fill(storage, "v", 1).await;
    storage.snapshots().unwrap().take("v", &us(1), "one").await.unwrap();
    fill(storage, "v", 2).await;
}

/// What the child does that is killed; each call counts as done when it is repeated.
async fn work(storage: &dyn Storage) {
    storage.snapshots().unwrap().roll_back("v", &us(1), "one").await.unwrap();
    storage.clones().unwrap().create_from(&new("c", Format::Raw, Size::mib(2), &us(2)), "v", "one").await.unwrap();
}

#[test]
fn child() {
    if std::env::var_os("REEVE_TEST_LVMTHIN").is_none() {
        // Run as a test of its own, it only shows that nothing kills it unasked.
        return reeve::base::crash::point("nobody asked");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let storage = open("lvmthin", &json!({"group": "vms", "pool": "thin", "extentSize": "1Mi"}), None);
    runtime.block_on(work(&*storage));
    runtime.block_on(storage.delete("v", &us(1), MIB)).unwrap();
}

fn a_death_at_any_point_leaves_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let group = Group::new();
    let mut points = 0;
    for point in 1.. {
        let s = group.subject();
        runtime.block_on(prepare(&*s.storage));
        if !die_at("storage_driver::real_lvmthin::child", ("REEVE_TEST_LVMTHIN", Path::new("1")), point) {
            break;
        }
        points = point;
        runtime.block_on(async {
            let all = s.storage.list().await.unwrap();
            assert!(all.iter().all(|v| v.mark.is_some() && v.problem.is_none()), "{all:?} at point {point}");
            let there = s.storage.find("v").await.unwrap().is_some();
            // Either content, whole, and reachable under the volume's name.
            assert!(!there || [1, 2].contains(&holds(&*s.storage, "v").await), "at point {point}");
            for name in s.storage.leftovers().await.unwrap() {
                s.storage.clean(&name).await.unwrap();
            }
            if there && s.storage.snapshots().unwrap().list("v").await.unwrap() == ["one"] {
                work(&*s.storage).await;
                assert_eq!(holds(&*s.storage, "v").await, 1, "at point {point}");
            }
            assert_eq!(holds(&*s.storage, "c").await, 1, "at point {point}");
            s.storage.delete("v", &us(1), MIB).await.unwrap();
            s.storage.delete("c", &us(2), Size::mib(2)).await.unwrap();
            assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0], "at point {point}");
        });
        let left = run("lvs", &["--noheadings", "-o", "lv_name", "vms"]);
        assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["thin"], "at point {point}");
    }
    println!("killed at {points} points");
    assert!(points >= 6, "only {points} points were met");
}
