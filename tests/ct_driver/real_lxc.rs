//! Real containers: made from an archive, started, reached over the network, changed while they run.

use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reeve::base::{FaultKind, Mark, Name, Size, Uid};
use reeve::drivers::container::{Backing, CtDriver, Ended, Fill, Intent, Place, Power, Record, Target};
use reeve::kinds::container::CtSpec;
use serde_json::{Value, json};

use super::contract::{Rig, suite};
use super::lab::{Lab, filled, pings, run, target, until};

#[async_trait]
impl Rig for Lab {
    fn driver(&self) -> &dyn CtDriver {
        &self.lxc
    }

    async fn record(&self, name: &str, spec: Value) -> Record {
        Lab::record(self, name, spec).await
    }

    fn bridge(&self) -> &str {
        &self.bridge
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[tokio::test]
async fn it_keeps_to_the_contract() {
    suite(&Lab::new()).await;
}

#[tokio::test]
async fn a_container_comes_up_from_an_archive() {
    for unprivileged in [true, false] {
        let lab = Lab::new();
        let address = format!("{}.5", lab.net);
        let id = name("ct-up");
        let spec = json!({
            "unprivileged": unprivileged, "rootfs": {"storage": "local", "size": "64Mi"},
            "memory": {"size": "64Mi", "swap": "0"}, "cpu": {"cores": 1, "limit": 0.5, "weight": 50},
            "nics": {"eth0": {"bridge": lab.bridge, "addresses": [format!("{address}/24")], "gateway": format!("{}.1", lab.net)}},
            "nameservers": ["9.9.9.9"], "env": {"GREETING": " hello \"you\" "}
        });
        let start = Instant::now();
        let record = lab.record("ct-up", spec).await;
        let made = start.elapsed();
        lab.lxc.define(&id, &record).await.unwrap();
        let begun = Instant::now();
        lab.lxc.start(&target(&id, &record)).await.unwrap();
        let started = begun.elapsed();
        assert!(pings(&address), "the guest answers at {address}");
        eprintln!("unprivileged {unprivileged}: made {made:?}, started {started:?}, answers {:?}", begun.elapsed());
        let seen = lab.lxc.find(&id).await.unwrap().unwrap();
        assert_eq!(seen.running.unwrap().canonical(), record.spec.canonical(), "what runs is what is configured");
        assert_eq!(lab.inside("ct-up", &["id", "-u"]).unwrap(), "0");
        assert_eq!(lab.inside("ct-up", &["hostname"]).unwrap(), "ct-up");
        assert_eq!(lab.inside("ct-up", &["cat", "/etc/hostname"]).unwrap(), "ct-up");
        assert!(lab.inside("ct-up", &["cat", "/etc/resolv.conf"]).unwrap().contains("nameserver 9.9.9.9"));
        let init = lab.init("ct-up").await;
        let environ = std::fs::read_to_string(format!("/proc/{init}/environ")).unwrap();
        assert!(environ.split('\0').any(|v| v == "GREETING= hello \"you\" "), "{environ:?}");
        let map = std::fs::read_to_string(format!("/proc/{init}/uid_map")).unwrap();
        assert_eq!(map.split_whitespace().nth(1) == Some("0"), !unprivileged, "{map}");
        assert!(
            std::fs::read_to_string("/proc/mounts").unwrap().lines().all(|l| !l.contains("ct-up")),
            "seen by nobody"
        );
        assert!(lab.lxc.shutdown(&target(&id, &record), Duration::from_secs(20), Intent::Stop).await.unwrap());
        lab.lxc.undefine(&target(&id, &record)).await.unwrap();
        assert_eq!(std::fs::read_dir(lab.path("l")).unwrap().count(), 0, "nothing is left");
        assert_eq!(lab.loops(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn limits_are_the_kernels_and_change_without_a_restart() {
    let lab = Lab::new();
    let id = name("ct-lim");
    let spec = json!({"rootfs": {"storage": "local", "size": "64Mi"}, "memory": {"size": "48Mi", "swap": "0"}});
    let record = lab.record("ct-lim", spec).await;
    let own = target(&id, &record);
    lab.lxc.define(&id, &record).await.unwrap();
    lab.lxc.start(&own).await.unwrap();
    let init = lab.init("ct-lim").await;
    // More than the guest may use: the kernel ends the program, and the guest lives.
    let fill = "head -c 60000000 /dev/zero | tail > /dev/null";
    assert!(lab.inside("ct-lim", &["sh", "-c", &format!("{fill}; exit $?")]).is_err() || lab.oom_kills(init) > 0);
    let mut new = record.clone();
    new.spec.memory.get_or_insert_default().size = Some(Size::mib(256));
    let begun = Instant::now();
    lab.lxc.reconfigure(&own, &new, &["memory.size".into()], true).await.unwrap();
    eprintln!("memory changed live in {:?}", begun.elapsed());
    let before = lab.oom_kills(init);
    lab.inside("ct-lim", &["sh", "-c", fill]).unwrap();
    assert_eq!(lab.oom_kills(init), before, "now there is room");
    assert_eq!(lab.init("ct-lim").await, init);
    // A limit below what is used cannot be had, and says so; nothing is half done.
    let mut small = new.clone();
    small.spec.memory.get_or_insert_default().size = Some(Size(4096));
    let outcome = lab.lxc.reconfigure(&own, &small, &["memory.size".into()], true).await;
    let seen = lab.lxc.find(&id).await.unwrap().unwrap();
    match outcome {
        Err(fault) => assert!(fault.message.contains("memory"), "{fault}"),
        Ok(_) => assert!(seen.running.is_none() || seen.running.unwrap().memory().size == Some(Size(4096))),
    }
}

#[tokio::test]
async fn interfaces_are_plugged_changed_and_pulled_live() {
    let lab = Lab::new();
    let id = name("ct-nic");
    let at = |n: u8| format!("{}.{n}/24", lab.net);
    let others = cables();
    let spec = json!({
        "rootfs": {"storage": "local", "size": "64Mi"},
        "nics": {"eth0": {"bridge": lab.bridge, "addresses": [at(5)]}}
    });
    let record = lab.record("ct-nic", spec).await;
    let own = target(&id, &record);
    lab.lxc.define(&id, &record).await.unwrap();
    lab.lxc.start(&own).await.unwrap();
    let init = lab.init("ct-nic").await;
    let change = async |record: &Record, path: &str| {
        let begun = Instant::now();
        lab.lxc.reconfigure(&own, record, &[path.to_owned()], true).await.unwrap();
        eprintln!("{path}: {:?}", begun.elapsed());
        let seen = lab.lxc.find(&id).await.unwrap().unwrap();
        assert_eq!(seen.configured.canonical(), record.spec.canonical(), "{path} is configured");
        assert_eq!(seen.running.unwrap().canonical(), record.spec.canonical(), "{path} is in force");
    };
    let mut new = record.clone();
    let nic = json!({"bridge": lab.bridge, "addresses": [at(6)], "mtu": 1400, "mac": "52:54:00:00:00:06"});
    let second = filled("x", json!({"nics": {"eth1": nic}})).nics[&name("eth1")].clone();
    new.spec.nics.insert(name("eth1"), second);
    new.bridges.insert(name("eth1"), lab.bridge.clone());
    change(&new, "nics.eth1").await;
    assert!(pings(&format!("{}.6", lab.net)), "the new interface answers");
    assert!(lab.inside("ct-nic", &["ip", "link", "show", "eth1"]).unwrap().contains("mtu 1400"));
    let eth1 = |record: &mut Record, change: &dyn Fn(&mut reeve::kinds::container::CtNic)| {
        change(record.spec.nics.get_mut("eth1").unwrap());
    };
    eth1(&mut new, &|nic| nic.addresses = vec![at(7)]);
    change(&new, "nics.eth1.addresses").await;
    assert!(pings(&format!("{}.7", lab.net)) && !pings(&format!("{}.6", lab.net)));
    eth1(&mut new, &|nic| nic.rate = Some("8Mbps".parse().unwrap()));
    change(&new, "nics.eth1.rate").await;
    eth1(&mut new, &|nic| nic.mac = Some("52:54:00:00:00:07".into()));
    change(&new, "nics.eth1.mac").await;
    assert!(lab.inside("ct-nic", &["ip", "link", "show", "eth1"]).unwrap().contains("52:54:00:00:00:07"));
    eth1(&mut new, &|nic| nic.link_up = Some(false));
    change(&new, "nics.eth1.linkUp").await;
    // The other interface answers for that address too, so the cable itself is looked at.
    let carrier = lab.inside("ct-nic", &["cat", "/sys/class/net/eth1/carrier"]).unwrap();
    assert_eq!(carrier, "0", "the cable is pulled");
    change(&record, "nics.eth1").await;
    assert!(lab.inside("ct-nic", &["ip", "link", "show", "eth1"]).is_err());
    assert_eq!(lab.init("ct-nic").await, init, "and the guest never noticed");
    // Someone pulls the other one behind our back: it is seen, and plugging it again repairs it.
    run("nsenter", &["-t", &init.to_string(), "-n", "ip", "link", "del", "eth0"]).unwrap();
    let seen = lab.lxc.find(&id).await.unwrap().unwrap();
    assert!(seen.running.unwrap().nics.is_empty());
    change(&record, "nics.eth0").await;
    assert!(pings(&format!("{}.5", lab.net)));
    lab.lxc.kill(&own, Intent::Stop).await.unwrap();
    until("the interface is gone", || cables().is_subset(&others)).await;
}

/// The host's ends of all containers' interfaces, those of other containers on this machine among them.
fn cables() -> std::collections::BTreeSet<String> {
    let links = run("ip", &["-br", "link"]).unwrap();
    let names = links.lines().filter_map(|l| l.split(['@', ' ']).next());
    names.filter(|n| n.starts_with("rvc")).map(str::to_owned).collect()
}

/// A record with a mount on an image file, a directory and a file of the host, and a device.
async fn with_mounts(lab: &Lab, record: &Record) -> Record {
    let unprivileged = record.spec.unprivileged();
    let place = lab.image("data.raw", 32, unprivileged, false).await;
    std::fs::create_dir_all(lab.path("shared dir")).unwrap();
    std::fs::write(lab.path("shared dir/note"), "from the host").unwrap();
    std::fs::write(lab.path("one-file"), "a file").unwrap();
    let dir = lab.path("shared dir");
    let more = filled(
        "x",
        json!({
            "mounts": {
                "data": {"path": "/srv/my data", "storage": "local", "size": "32Mi", "mountOptions": ["nosuid"]},
                "conf": {"path": "/etc/conf", "hostPath": dir, "readOnly": true, "backup": false},
                "file": {"path": "/etc/one", "hostPath": lab.path("one-file"), "backup": false}
            },
            "devices": {"null": {"path": "/dev/loop-control", "mode": "0666", "uid": 7}}
        }),
    );
    let mut new = record.clone();
    (new.spec.mounts, new.spec.devices) = (more.mounts, more.devices);
    let data = Backing {
        storage: Some(name("local")),
        volume: Some("data".into()),
        size: Some(Size::mib(32)),
        ..Backing::host(place)
    };
    new.mounts.insert(name("data"), data);
    new.mounts.insert(name("conf"), Backing::host(Place::Directory(dir)));
    new.mounts.insert(name("file"), Backing::host(Place::File(lab.path("one-file"))));
    new
}

fn look_at_mounts(lab: &Lab, id: &str) {
    lab.inside(id, &["sh", "-c", "echo kept > '/srv/my data/file'"]).unwrap();
    assert!(lab.inside(id, &["grep", "/srv/my.040data", "/proc/mounts"]).unwrap().contains("nosuid"));
    assert_eq!(lab.inside(id, &["cat", "/etc/conf/note"]).unwrap(), "from the host");
    assert!(lab.inside(id, &["sh", "-c", "echo x > /etc/conf/new"]).is_err(), "read-only");
    assert_eq!(lab.inside(id, &["cat", "/etc/one"]).unwrap(), "a file");
    let device = lab.inside(id, &["stat", "-c", "%t:%T %u %a", "/dev/loop-control"]).unwrap();
    assert_eq!(device, "a:ed 7 666");
}

#[tokio::test]
async fn mounts_and_devices_are_added_live_and_come_back_after_a_restart() {
    for unprivileged in [true, false] {
        let lab = Lab::new();
        let id = name("ct-mnt");
        let spec = json!({"unprivileged": unprivileged, "rootfs": {"storage": "local", "size": "64Mi"}});
        let record = lab.record("ct-mnt", spec).await;
        let own = target(&id, &record);
        lab.lxc.define(&id, &record).await.unwrap();
        lab.lxc.start(&own).await.unwrap();
        let init = lab.init("ct-mnt").await;
        let new = with_mounts(&lab, &record).await;
        let paths = ["mounts.data", "mounts.conf", "mounts.file", "devices.null"].map(String::from);
        let begun = Instant::now();
        let done = lab.lxc.reconfigure(&own, &new, &paths, true).await.unwrap();
        eprintln!("unprivileged {unprivileged}: three mounts and a device added live in {:?}", begun.elapsed());
        assert_eq!(done.live, paths);
        look_at_mounts(&lab, "ct-mnt");
        let seen = lab.lxc.find(&id).await.unwrap().unwrap();
        assert_eq!(seen.configured.canonical(), new.spec.canonical());
        assert_eq!(seen.running.unwrap().canonical(), new.spec.canonical());
        assert_eq!(lab.init("ct-mnt").await, init);
        // What is mounted is taken away by a restart, not under the guest's feet.
        let done = lab.lxc.reconfigure(&own, &record, &["mounts.conf".into()], true).await.unwrap();
        assert_eq!(done.staged, ["mounts.conf"]);
        lab.lxc.reconfigure(&own, &new, &[], true).await.unwrap();
        lab.lxc.kill(&own, Intent::Restart).await.unwrap();
        assert_eq!(lab.loops(), Vec::<String>::new(), "no loop device is left");
        lab.lxc.start(&own).await.unwrap();
        assert_eq!(lab.inside("ct-mnt", &["cat", "/srv/my data/file"]).unwrap(), "kept");
        look_at_mounts(&lab, "ct-mnt");
        lab.lxc.kill(&own, Intent::Stop).await.unwrap();
        lab.lxc.undefine(&own).await.unwrap();
        assert_eq!(std::fs::read_dir(lab.path("l")).unwrap().count(), 0, "nothing is left");
        assert!(lab.path("shared dir/note").exists(), "what is the host's stays");
    }
}

#[tokio::test]
async fn a_guest_may_reboot_crash_and_lose_its_monitor() {
    let lab = Lab::new();
    let id = name("ct-ups");
    let spec = json!({"rootfs": {"storage": "local", "size": "64Mi"}, "nics": {"eth0": {"bridge": lab.bridge, "addresses": [format!("{}.5/24", lab.net)]}}});
    let record = lab.record("ct-ups", spec).await;
    let new = with_mounts(&lab, &record).await;
    let own = target(&id, &record);
    lab.lxc.define(&id, &new).await.unwrap();
    lab.lxc.start(&own).await.unwrap();
    let init = lab.init("ct-ups").await;
    // The command may end with the guest it ends.
    let _ = lab.inside("ct-ups", &["reboot"]);
    until("the guest rebooted", || !Path::new(&format!("/proc/{init}")).exists()).await;
    let mut again = None;
    for _ in 0..100 {
        again = lab.lxc.find(&id).await.unwrap().unwrap().init.filter(|i| *i != init);
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let again = again.expect("it came up again");
    assert!(pings(&format!("{}.5", lab.net)));
    look_at_mounts(&lab, "ct-ups");
    assert_eq!(lab.loops().len(), 2);
    run("kill", &["-9", &again.to_string()]).unwrap();
    let stopped = async || {
        for _ in 0..100 {
            let seen = lab.lxc.find(&id).await.unwrap().unwrap();
            if seen.power == Power::Stopped {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it still runs");
    };
    assert_eq!(stopped().await.ended, Some(Ended::Failed), "killed is not shut down");
    lab.lxc.start(&own).await.unwrap();
    let parent = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned()
    };
    run("kill", &["-9", &parent(lab.init("ct-ups").await)]).unwrap();
    assert_eq!(stopped().await.ended, Some(Ended::Failed), "so is a monitor that was killed");
    until("the loop devices are free", || lab.loops().is_empty()).await;
    lab.lxc.start(&own).await.expect("and it starts again");
    look_at_mounts(&lab, "ct-ups");
    let _ = lab.inside("ct-ups", &["poweroff"]);
    assert_eq!(stopped().await.ended, Some(Ended::Halted), "a guest may shut itself down");
    lab.lxc.undefine(&own).await.unwrap();
    let left = run("find", &["/sys/fs/cgroup", "-maxdepth", "3", "-name", "lxc.*.ct-ups*"]).unwrap();
    assert_eq!(left, "", "no control groups are left");
}

#[tokio::test]
async fn a_file_system_grows_and_keeps_what_is_on_it() {
    let lab = Lab::new();
    let id = name("ct-gro");
    let record = lab.record("ct-gro", json!({"rootfs": {"storage": "local", "size": "64Mi"}})).await;
    let own = target(&id, &record);
    lab.lxc.define(&id, &record).await.unwrap();
    let size = || -> u64 {
        let text = lab.inside("ct-gro", &["df", "-m", "/"]).unwrap();
        text.lines().last().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let set = |mib: u64| {
        std::fs::File::options().write(true).open(record.rootfs.place.path()).unwrap().set_len(mib << 20).unwrap();
    };
    set(96);
    lab.lxc.grow(&own, None, Size::mib(96)).await.unwrap();
    lab.lxc.start(&own).await.unwrap();
    let before = size();
    assert!(before > 75, "{before}");
    set(160);
    let begun = Instant::now();
    match lab.lxc.grow(&own, None, Size::mib(160)).await {
        Ok(()) => {
            eprintln!("grown while it runs in {:?}", begun.elapsed());
            assert!(size() > 130);
        }
        Err(fault) => {
            // The kernel of this host gives nobody the right; the next start does it.
            assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
            assert!(fault.help.unwrap().contains("CAP_SYS_RESOURCE"));
            assert!(run("sh", &["-c", "grep CapBnd /proc/self/status"]).unwrap().len() > 8);
            let seen = lab.lxc.find(&id).await.unwrap().unwrap();
            assert_eq!(seen.configured.rootfs.unwrap().size, Some(Size::mib(96)), "not said to be done");
        }
    }
    lab.lxc.kill(&own, Intent::Restart).await.unwrap();
    lab.lxc.start(&own).await.unwrap();
    assert!(size() > 130, "{}", size());
    let seen = lab.lxc.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.configured.rootfs.unwrap().size, Some(Size::mib(160)));
}

/// A container as an administrator makes one by hand.
fn by_hand(lab: &Lab, id: &str) -> String {
    let dir = lab.path("l").join(id);
    std::fs::create_dir_all(&dir).unwrap();
    lab.archive();
    let config = format!(
        "# mine\nlxc.include = /usr/share/lxc/config/common.conf\nlxc.rootfs.path = dir:{}\nlxc.uts.name = old\n\
         lxc.net.0.type = veth\nlxc.net.0.link = {}\nlxc.net.0.flags = up\nlxc.net.0.hwaddr = 52:54:00:00:00:99\n\
         lxc.mount.entry = /tmp mnt none bind,create=dir 0 0\nlxc.prlimit.nofile = 4096\n",
        lab.path("root").display(),
        lab.bridge
    );
    std::fs::write(dir.join("config"), &config).unwrap();
    config
}

#[tokio::test]
async fn what_others_made_is_left_alone_until_adopted() {
    let lab = Lab::new();
    let id = name("ct-old");
    let text = by_hand(&lab, "ct-old");
    let config = lab.path("l/ct-old/config");
    let seen = lab.lxc.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.record, None);
    let spec = seen.configured.clone();
    assert!(!spec.unprivileged() && spec.features().keyctl() && spec.features().mknod());
    assert_eq!(spec.rootfs.as_ref().unwrap().host_path, Some(lab.path("root").display().to_string()));
    assert_eq!(spec.nics[&name("eth0")].bridge.as_deref(), Some(lab.bridge.as_str()));
    assert_eq!(seen.foreign, ["lxc.mount.entry = /tmp mnt none bind,create=dir 0 0", "lxc.prlimit.nofile = 4096"]);
    let nobody = Target { name: &id, owner: Some(Uid::fresh()) };
    assert_eq!(lab.lxc.start(&nobody).await.unwrap_err().kind, FaultKind::Identity);
    // Adopting writes our record and nothing else.
    let record = Record {
        mark: Mark { uid: Uid::fresh(), resource: "ct/ct-old".into(), applied: None },
        spec: spec.clone(),
        rootfs: Backing::host(seen.rootfs.unwrap()),
        mounts: Default::default(),
        bridges: [(name("eth0"), lab.bridge.clone())].into(),
        intent: Intent::None,
    };
    lab.lxc.set_record(&Target { name: &id, owner: None }, &record).await.unwrap();
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
    let own = target(&id, &record);
    assert_eq!(lab.lxc.find(&id).await.unwrap().unwrap().configured.canonical(), spec.canonical());
    // The first change writes the file our way, and keeps what is not ours.
    let mut new = record.clone();
    new.spec.memory.get_or_insert_default().size = Some(Size::mib(64));
    lab.lxc.reconfigure(&own, &new, &["memory.size".into()], false).await.unwrap();
    let seen = lab.lxc.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.configured.canonical(), new.spec.canonical());
    assert_eq!(seen.foreign.len(), 2, "{:?}", seen.foreign);
    lab.lxc.start(&own).await.unwrap();
    assert_eq!(lab.inside("ct-old", &["hostname"]).unwrap(), "old");
    assert!(lab.inside("ct-old", &["grep", " /mnt ", "/proc/mounts"]).is_ok(), "others' lines work");
    lab.lxc.kill(&own, Intent::Stop).await.unwrap();
    lab.lxc.undefine(&own).await.unwrap();
    assert!(lab.path("root/bin/busybox").exists(), "its files were never ours");
}

#[tokio::test]
async fn an_archive_cannot_write_outside_and_is_unpacked_as_the_guests_root() {
    let lab = Lab::new();
    let evil = lab.path("evil");
    std::fs::create_dir_all(evil.join("etc")).unwrap();
    std::fs::write(lab.path("precious"), "mine").unwrap();
    std::os::unix::fs::symlink(lab.dir.path(), evil.join("out")).unwrap();
    std::fs::write(evil.join("etc/owned"), "x").unwrap();
    let archive = lab.path("evil.tar");
    let (from, to) = (evil.to_str().unwrap(), archive.to_str().unwrap());
    run("tar", &["-C", from, "--owner=33", "--group=0", "-cf", to, "."]).unwrap();
    // More members write through the link that the first one is, and above the top.
    std::fs::write(lab.path("evil-file"), "evil").unwrap();
    for member in ["out/precious", &format!("../../../../../..{}", lab.path("precious").display())] {
        let rename = format!("s,.*,{member},");
        let file = lab.path("evil-file");
        run("tar", &["-rPf", to, "--transform", &rename, file.to_str().unwrap()]).unwrap();
    }
    let path = lab.path("evil.raw");
    std::fs::File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let fill = Fill { place: Place::Image(path.clone()), unprivileged: true, archive: Some(archive), keep: false };
    // Whether it is refused or unpacked without harm is tar's choice.
    let _ = lab.lxc.fill(&fill).await;
    assert_eq!(std::fs::read_to_string(lab.path("precious")).unwrap(), "mine");
    assert_eq!(lab.loops(), Vec::<String>::new());
    let stat = run("debugfs", &["-R", "stat /etc/owned", path.to_str().unwrap()]).unwrap();
    assert!(stat.contains("User: 100033"), "{stat}");
}

#[tokio::test]
async fn many_containers_are_listed_quickly() {
    let lab = Lab::new();
    let spec: CtSpec = filled("x", json!({"rootfs": {"hostPath": "/srv/x"}, "memory": {"size": "64Mi"}}));
    for n in 0..200 {
        let id = name(&format!("ct-{n}"));
        let record = super::lab::record(id.as_str(), spec.clone(), Place::Directory("/srv/x".into()), "br0");
        let record = Record { rootfs: Backing::host(Place::Directory("/srv/x".into())), ..record };
        lab.lxc.define(&id, &record).await.unwrap();
    }
    let begun = Instant::now();
    let listed = lab.lxc.list().await.unwrap();
    let took = begun.elapsed();
    eprintln!("200 stopped containers listed in {took:?}");
    assert_eq!(listed.len(), 200);
    assert!(listed.values().all(Result::is_ok));
    assert!(took < Duration::from_secs(2), "{took:?}");
    std::fs::write(lab.path("l/ct-7/reeve.json"), "{").unwrap();
    let listed = lab.lxc.list().await.unwrap();
    assert!(listed[&name("ct-7")].is_err(), "a record that cannot be read is not a stranger's");
    assert_eq!(listed.values().filter(|seen| seen.is_ok()).count(), 199);
}
