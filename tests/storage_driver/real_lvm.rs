//! The contract on LVM with the device mapper of a real kernel, and what only LVM has: space that others used before,
//! devices that are made into a group, a thousand volumes, a device that fails, and a kill between any two commands.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reeve::base::{FaultKind, Size};
use reeve::drivers::storage::{Format, NewVolume, Source, Storage};
use reeve::kinds::storage::Content;
use serde_json::json;

use super::behind::a_volume_is_deleted;
use super::crash::die_at;
use super::subject::{Behind, Server, Subject, device, new, open, owner, refused, run, us};
use super::uml::{Disk, ran_inside};

const MIB: Size = Size::mib(1);

/// A group made by hand, emptied for every subject.
struct Group {
    disk: Disk,
    fresh: Disk,
}

impl Group {
    fn new(mebibytes: u64) -> Self {
        Self { disk: Disk::new(mebibytes), fresh: Disk::new(64) }
    }

    fn subject(&self) -> Subject {
        let (device, fresh) = (&self.disk.device, &self.fresh.device);
        // Not there the first time.
        let _ = Command::new("vgremove").args(["-q", "-y", "-f", "vms"]).output().unwrap();
        run("vgcreate", &["-q", "-y", "-s", "1m", "vms", device]);
        let options = json!({"group": "vms", "extentSize": "1Mi"});
        let fresh = json!({"group": "fresh", "extentSize": "1Mi", "initialize": true, "devices": [fresh]});
        let storage = open("lvm", &options, None);
        let server = Behind::Server(Box::new(Planter));
        Subject {
            any_name: false,
            much: 64,
            // Every command takes a third of a second in there.
            many: 6,
            crowd: 6,
            rounds: 2,
            patience: Duration::from_secs(600),
            ..Subject::of("lvm", storage, server, options, fresh)
        }
    }
}

struct Planter;

impl Server for Planter {
    fn plant(&self, name: &str, size: Size) {
        run("lvcreate", &["-q", "-y", "-n", name, "-L", &format!("{}b", size.bytes()), "vms"]);
    }
}

#[test]
fn lvm_keeps_the_first_half_of_the_contract() {
    if !ran_inside(module_path!(), "lvm_keeps_the_first_half_of_the_contract") {
        let group = Group::new(256);
        assert_eq!(super::contract_of(super::halves().0, "lvm", || group.subject()), 2);
    }
}

#[test]
fn lvm_keeps_the_second_half_of_the_contract() {
    if !ran_inside(module_path!(), "lvm_keeps_the_second_half_of_the_contract") {
        let group = Group::new(256);
        assert_eq!(super::contract_of(super::halves().1, "lvm", || group.subject()), 14);
    }
}

#[test]
fn lvm_beyond_the_contract() {
    if ran_inside(module_path!(), "lvm_beyond_the_contract") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        only_empty_devices_become_a_group().await;
        a_volume_is_deleted_by_hand().await;
        nobody_reads_what_was_there_before().await;
        a_disk_is_used_as_machines_and_containers_do().await;
        a_thousand_are_listed_by_one_command().await;
        a_device_that_fails_is_not_an_absent_group().await;
    });
    a_death_at_any_point_leaves_nothing();
}

async fn a_volume_is_deleted_by_hand() {
    let group = Group::new(64);
    let s = group.subject();
    let by_hand = async |_: &dyn Storage, name: &str| drop(run("lvremove", &["-q", "-y", &format!("vms/{name}")]));
    a_volume_is_deleted("lvm", &s.options, by_hand).await;
    run("vgremove", &["-q", "-y", "-f", "vms"]);
}

async fn only_empty_devices_become_a_group() {
    let disk = Disk::new(64);
    let options = |initialize: bool| json!({"group": "made", "initialize": initialize, "devices": [&disk.device]});
    let closed = open("lvm", &options(false), None);
    refused(closed.activate().await, FaultKind::NotFound);
    assert!(!closed.active().await.unwrap());
    let file = std::fs::File::options().write(true).open(disk.path()).unwrap();
    file.write_all_at(b"x", 1 << 20).unwrap();
    let storage = open("lvm", &options(true), None);
    refused(storage.activate().await, FaultKind::Exists);
    file.write_all_at(&[0], 1 << 20).unwrap();
    file.sync_all().unwrap();
    drop(file);
    storage.activate().await.unwrap();
    let us = owner("vm/a");
    storage.create(&new("v", Format::Raw, Size::mib(4), &us), &|_, _| {}).await.unwrap();
    // What is a group already is adopted with what is on it, and never made again.
    storage.activate().await.unwrap();
    closed.activate().await.unwrap();
    assert_eq!(closed.list().await.unwrap().len(), 1);
    let unlike = open("lvm", &json!({"group": "made", "extentSize": "2Mi"}), None);
    refused(unlike.activate().await, FaultKind::Invalid);
    // Another group cannot be made of the same device.
    let other = json!({"group": "other", "initialize": true, "devices": [&disk.device]});
    refused(open("lvm", &other, None).activate().await, FaultKind::Exists);
    run("vgremove", &["-q", "-y", "-f", "made"]);
}

fn all_is(path: &Path, from: u64, to: u64, byte: u8) -> bool {
    let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, from).unwrap();
    bytes.iter().all(|b| *b == byte)
}

async fn nobody_reads_what_was_there_before() {
    let group = Group::new(64);
    let s = group.subject();
    let us = owner("vm/a");
    // Everything there is was somebody's.
    let all = s.storage.usage().await.unwrap().free;
    s.make("old", Format::Raw, all, &us).await.unwrap();
    let path = device(&*s.storage, "old").await;
    let written = std::fs::File::options().write(true).open(path).unwrap();
    for at in 0..all.bytes() >> 20 {
        written.write_all_at(&[7; 1 << 20], at << 20).unwrap();
    }
    written.sync_all().unwrap();
    drop(written);
    let fault = refused(s.make("more", Format::Raw, MIB, &us).await, FaultKind::NoSpace);
    assert!(fault.help.is_some(), "{fault}");
    s.storage.delete("old", &us, all).await.unwrap();

    s.make("new", Format::Raw, Size::mib(4), &us).await.unwrap();
    let path = device(&*s.storage, "new").await;
    assert!(all_is(&path, 0, 4 << 20, 0));
    s.storage.grow("new", &us, Size::mib(8)).await.unwrap();
    assert!(all_is(&path, 0, 8 << 20, 0));
    // One whose growth was broken off is seen as it was, and grows again.
    run("lvchange", &["-q", "--addtag", "reeve.growing.8388608", "vms/new"]);
    run("lvextend", &["-q", "-L", "16m", "vms/new"]);
    assert!(all_is(&path, 8 << 20, 16 << 20, 7), "the space should be somebody's");
    assert_eq!(s.storage.find("new").await.unwrap().unwrap().size, Size::mib(8));
    s.storage.grow("new", &us, Size::mib(16)).await.unwrap();
    assert!(all_is(&path, 0, 16 << 20, 0));
    assert_eq!(s.storage.find("new").await.unwrap().unwrap().size, Size::mib(16));
    // What hangs on a volume would go with it.
    run("lvcreate", &["-q", "-y", "-s", "-n", "look", "-L", "4m", "vms/new"]);
    refused(s.storage.delete("new", &us, Size::mib(16)).await, FaultKind::Busy);
}

/// As QEMU opens it: the page cache passed by, native asynchronous I/O, discards handed on; and as a container's root.
async fn a_disk_is_used_as_machines_and_containers_do() {
    let group = Group::new(64);
    let s = group.subject();
    let us = owner("vm/a");
    s.make("disk", Format::Raw, Size::mib(16), &us).await.unwrap();
    let path = device(&*s.storage, "disk").await;
    let image = format!(
        "driver=raw,discard=unmap,file.driver=host_device,file.filename={},file.aio=native,file.cache.direct=on",
        path.display()
    );
    let commands = ["-c", "write -P 5 1M 1M", "-c", "discard 4M 4M", "-c", "flush", "-c", "read -P 5 1M 1M"];
    let said = run("qemu-io", &[&["--image-opts"][..], &commands[..], &[&image]].concat());
    assert!(!said.contains("failed"), "{said}");
    s.storage.release("disk").await.unwrap();
    assert!(!path.exists(), "a released volume has no device");

    let root = NewVolume { content: Content::Rootdir, ..new("root", Format::Raw, Size::mib(16), &us) };
    s.storage.create(&root, &|_, _| {}).await.unwrap();
    assert_eq!(s.storage.find("root").await.unwrap().unwrap().content, Content::Rootdir);
    let (path, point) = (device(&*s.storage, "root").await, s.scratch.path().to_str().unwrap());
    run("mkfs.ext4", &["-q", "-E", "root_owner=100000:100000", path.to_str().unwrap()]);
    run("mount", &[path.to_str().unwrap(), point]);
    std::fs::write(s.scratch.path().join("kept"), "kept").unwrap();
    refused(s.storage.delete("root", &us, Size::mib(16)).await, FaultKind::Busy);
    refused(s.storage.release("root").await, FaultKind::Busy);
    s.storage.grow("root", &us, Size::mib(32)).await.unwrap();
    run("umount", &[point]);
    run("e2fsck", &["-f", "-p", path.to_str().unwrap()]);
    run("resize2fs", &[path.to_str().unwrap()]);
    run("mount", &[path.to_str().unwrap(), point]);
    assert_eq!(std::fs::read(s.scratch.path().join("kept")).unwrap(), b"kept");
    assert!(rustix::fs::statvfs(s.scratch.path()).unwrap().f_blocks > 20 << 10);
    run("umount", &[point]);
}

/// The group's metadata is written with a thousand volumes, as they would be when each had been made.
async fn a_thousand_are_listed_by_one_command() {
    let disk = Disk::new(1200);
    run("vgcreate", &["-q", "-y", "-s", "1m", "--metadatasize", "16m", "vms1000", &disk.device]);
    let storage = open("lvm", &json!({"group": "vms1000", "extentSize": "1Mi"}), None);
    storage.create(&new("v-0000", Format::Raw, MIB, &owner("vm/a")), &|_, _| {}).await.unwrap();
    storage.release("v-0000").await.unwrap();
    let saved = disk.path().with_file_name("saved");
    run("vgcfgbackup", &["-q", "-f", saved.to_str().unwrap(), "vms1000"]);
    let text = std::fs::read_to_string(&saved).unwrap();
    std::fs::write(&saved, thousandfold(&text)).unwrap();
    run("vgcfgrestore", &["-q", "-f", saved.to_str().unwrap(), "vms1000"]);
    let begun = std::time::Instant::now();
    let listed = storage.list().await.unwrap();
    println!("1,000 volumes listed in {:.2?}", begun.elapsed());
    assert_eq!(listed.len(), 1000);
    assert!(listed.iter().all(|v| v.mark.is_some() && v.size == MIB && v.problem.is_none()));
    run("vgremove", &["-q", "-y", "-f", "vms1000"]);
}

/// The same metadata with copies of its one volume.
fn thousandfold(text: &str) -> String {
    let start = text.find("\t\tv-0000 {").unwrap();
    let end = start + text[start..].find("\n\t\t}\n").unwrap() + 5;
    let one = &text[start..end];
    let id = one.split("id = \"").nth(1).unwrap().split('"').next().unwrap();
    let copy = |n: usize| {
        let other = format!("{}{n:04}", &id[..id.len() - 4]);
        let name = one.replacen("v-0000", &format!("v-{n:04}"), 1).replacen(id, &other, 1);
        name.replacen("\"pv0\", 0", &format!("\"pv0\", {n}"), 1)
    };
    let copies: Vec<String> = (1..1000).map(copy).collect();
    format!("{}\n{}{}", &text[..end], copies.join("\n"), &text[end..])
}

/// The group lies on a device that starts to fail, as a disk does that dies.
async fn a_device_that_fails_is_not_an_absent_group() {
    let disk = Disk::new(64);
    let sectors = (64 << 20) / 512;
    run("dmsetup", &["create", "weak", "--table", &format!("0 {sectors} linear {} 0", disk.device)]);
    run("dmsetup", &["mknodes"]);
    // Its own configuration lets LVM see that device and not the one below it.
    let conf = std::env::var("LVM_SYSTEM_DIR").unwrap();
    let own = Path::new("/run/tmp/lvm-weak");
    std::fs::create_dir_all(own).unwrap();
    let usual = std::fs::read_to_string(Path::new(&conf).join("lvm.conf")).unwrap();
    let weak = usual.replace("a|^/dev/loop|", "a|^/dev/mapper/weak$|");
    assert_ne!(usual, weak);
    std::fs::write(own.join("lvm.conf"), weak).unwrap();
    run("mount", &["--bind", own.to_str().unwrap(), &conf]);
    run("vgcreate", &["-q", "-y", "-s", "1m", "weakly", "/dev/mapper/weak"]);
    let storage = open(
        "lvm",
        &json!({"group": "weakly", "extentSize": "1Mi", "initialize": true, "devices": ["/dev/mapper/weak"]}),
        None,
    );
    let us = owner("vm/a");
    storage.create(&new("v", Format::Raw, MIB, &us), &|_, _| {}).await.unwrap();
    let table = |target: &str| {
        run("dmsetup", &["suspend", "--noflush", "weak"]);
        run("dmsetup", &["reload", "weak", "--table", target]);
        run("dmsetup", &["resume", "weak"]);
    };
    run("modprobe", &["dm_flakey"]);
    table(&format!("0 {sectors} flakey {} 0 0 600", disk.device));
    // LVM only says that it finds no such group. That is an error to every call, and never an empty group.
    refused(storage.list().await, FaultKind::NotFound);
    let fault = refused(storage.find("v").await, FaultKind::NotFound);
    assert!(fault.help.is_some_and(|help| help.contains("dmesg")));
    refused(storage.delete("v", &us, MIB).await, FaultKind::NotFound);
    // Nor is it made anew, though that is allowed: what cannot be read is not empty.
    let fault = storage.activate().await.unwrap_err();
    assert!(fault.message.contains("/dev/mapper/weak"), "{fault}");
    table(&format!("0 {sectors} linear {} 0", disk.device));
    assert_eq!(storage.list().await.unwrap().len(), 1);
    storage.delete("v", &us, MIB).await.unwrap();
    run("vgremove", &["-q", "-y", "-f", "weakly"]);
    run("dmsetup", &["remove", "weak"]);
    run("umount", &[&conf]);
}

/// What the child does that is killed; each call counts as done when it is repeated.
async fn work(storage: &dyn Storage, image: &Path) {
    storage.create(&new("plain", Format::Raw, MIB, &us(1)), &|_, _| {}).await.unwrap();
    let source = Source::Image { path: image.into(), format: Format::Raw };
    let copy = NewVolume { source, ..new("copy", Format::Raw, Size::mib(4), &us(2)) };
    if storage.find("copy").await.unwrap().is_none_or(|v| v.size == copy.size) {
        storage.create(&copy, &|_, _| {}).await.unwrap();
    }
    storage.grow("copy", &us(2), Size::mib(8)).await.unwrap();
}

#[test]
fn child() {
    let Some(image) = std::env::var_os("REEVE_TEST_LVM") else {
        // Run as a test of its own, it only shows that nothing kills it unasked.
        return reeve::base::crash::point("nobody asked");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let storage = open("lvm", &json!({"group": "vms", "extentSize": "1Mi"}), None);
    runtime.block_on(work(&*storage, Path::new(&image)));
}

fn a_death_at_any_point_leaves_nothing() {
    let image = Path::new("/run/tmp/image.raw");
    std::fs::write(image, vec![5; 1 << 20]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let group = Group::new(64);
    let mut points = 0;
    for point in 1.. {
        let s = group.subject();
        if !die_at("storage_driver::real_lvm::child", ("REEVE_TEST_LVM", image), point) {
            break;
        }
        points = point;
        runtime.block_on(async {
            for info in s.storage.list().await.unwrap() {
                let sizes: &[u64] = if info.name == "plain" { &[1] } else { &[4, 8] };
                assert!(info.mark.is_some() && info.problem.is_none(), "{info:?} at point {point}");
                assert!(sizes.contains(&(info.size.bytes() >> 20)), "{info:?} at point {point}");
            }
            for name in s.storage.leftovers().await.unwrap() {
                s.storage.clean(&name).await.unwrap();
            }
            assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0], "at point {point}");
            work(&*s.storage, image).await;
            let path = device(&*s.storage, "copy").await;
            assert!(all_is(&path, 0, 1 << 20, 5) && all_is(&path, 1 << 20, 8 << 20, 0), "at point {point}");
        });
    }
    println!("killed at {points} points");
    assert!(points >= 9, "only {points} points were met");
}
