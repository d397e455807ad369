//! Changes to a guest that runs: its disks, network cards, shares and memory, media, and what waits for its next start.

use std::time::Duration;

use reeve::base::{Rate, Size};
use reeve::drivers::guest::{Machine, Power, Stop};
use reeve::kinds::vm::*;

use super::{Case, Subject, nic, qcow2};
use crate::vm_driver::live_proofs;
use crate::vm_driver::machines::name;

/// Whatever is called live is done to a running guest, which goes on all the while.
pub async fn changes_in_flight(subject: &dyn Subject) {
    let mut case = Case::new(subject, "live");
    let cpu = case.machine.spec.cpu.get_or_insert_default();
    (cpu.cores, cpu.max_cores) = (Some(1), Some(2));
    let memory = case.machine.spec.memory.get_or_insert_default();
    (memory.size, memory.max) = (Some(Size::mib(256)), Some(Size::mib(320)));
    case.machine
        .spec
        .disks
        .insert(name("cd"), Disk { media: Some(Media::Cdrom), bus: Some(Bus::Scsi), ..Disk::default() }.into());
    case.machine.disks.insert(name("cd"), None);
    case.machine.spec.fill();
    case.define().await;
    subject.driver().start(&case.target()).await.unwrap();
    subject.ready(&case.name).await;
    let life = subject.life(&case.name).await;

    disks(&mut case).await;
    nics(&mut case).await;
    scalars(&mut case).await;
    media(&mut case).await;
    staged(&mut case).await;
    live_proofs::assert_all_proven(&case.taken, subject.shapes());

    assert_eq!(subject.life(&case.name).await, life, "the guest was started again");
    assert!(subject.driver().shutdown(&case.target(), Duration::from_secs(60)).await.unwrap());
    let found = case.found().await;
    assert_eq!((found.power, found.stop), (Power::Stopped, Some(Stop::Shutdown)));
    assert!(subject.driver().shutdown(&case.target(), Duration::from_secs(1)).await.unwrap());
    case.clear().await;
}

async fn disks(case: &mut Case<'_>) {
    let attachment = case.subject.disk("live-data", Size::mib(16));
    case.live(&["disks.data"], |m| {
        m.spec.disks.insert(name("data"), Disk { iothread: Some(true), serial: Some("S1".into()), ..qcow2() }.into());
        m.disks.insert(name("data"), Some(attachment));
    })
    .await;
    case.will_see("cat /sys/block/vda/serial /sys/block/vda/size", "S132768").await;
    assert_eq!(case.found().await.running.unwrap().spec.disks["data"].size, Some(Size::mib(16)));

    let attachment = case.subject.disk("live-scsi", Size::mib(8));
    case.live(&["disks.other"], |m| {
        let disk = Disk { bus: Some(Bus::Scsi), iothread: Some(true), ssd: Some(true), ..qcow2() };
        m.spec.disks.insert(name("other"), disk.into());
        m.disks.insert(name("other"), Some(attachment));
    })
    .await;
    case.will_see("cat /sys/block/sda/size /sys/block/sda/queue/rotational", "16384\n0").await;

    case.live(&["disks.data.limits.iops", "disks.data.limits.bandwidthWrite"], |m| {
        let limits = Limits { iops: Some(500), bandwidth_write: Some(Size::mib(3)), ..Limits::default() };
        m.spec.disks.get_mut("data").unwrap().limits = Some(limits);
    })
    .await;
    let split = ["iops", "bandwidthWrite", "iopsRead", "iopsWrite", "bandwidthRead"];
    let paths = split.map(|limit| ["disks.data.limits", limit].join("."));
    let paths = paths.each_ref().map(String::as_str);
    case.live(&paths, |m| {
        let limits = Limits { iops_read: Some(400), iops_write: Some(300), ..Limits::default() };
        let limits = Limits { bandwidth_read: Some(Size::mib(4)), bandwidth_write: Some(Size::mib(2)), ..limits };
        m.spec.disks.get_mut("data").unwrap().limits = Some(limits);
    })
    .await;
    case.live(&[&paths[1..], &["disks.data.limits.bandwidth"]].concat(), |m| {
        let limits = Limits { bandwidth: Some(Size::mib(5)), ..Limits::default() };
        m.spec.disks.get_mut("data").unwrap().limits = Some(limits);
    })
    .await;
    case.live(&["disks.data.limits.bandwidth"], |m| {
        m.spec.disks.get_mut("data").unwrap().limits = Some(Limits::default());
    })
    .await;
    case.live(&["disks.data.size"], |m| m.spec.disks.get_mut("data").unwrap().size = Some(Size::mib(32))).await;
    case.will_see("cat /sys/block/vda/size", "65536").await;
    assert_eq!(case.found().await.running.unwrap().spec.disks["data"].size, Some(Size::mib(32)));

    for disk in ["data", "other"] {
        case.live(&[&["disks", disk].join(".")], |m| {
            m.spec.disks.remove(disk);
            m.disks.remove(disk);
        })
        .await;
    }
    case.will_see("ls /sys/block | grep -c -e vd -e sd", "0").await;
}

async fn nics(case: &mut Case<'_>) {
    let [one, two] = case.subject.links();
    case.live(&["nics.eth0"], |m| {
        m.spec.nics.insert(name("eth0"), nic("52:54:00:0b:00:01").into());
        m.links.insert(name("eth0"), Some(one.clone()));
    })
    .await;
    let address = "cat /sys/class/net/eth*/address";
    case.will_see(address, "52:54:00:0b:00:01").await;
    case.will_see("ip link set eth0 up; cat /sys/class/net/eth*/carrier", "1").await;

    case.live(&["nics.eth0.linkUp"], |m| m.spec.nics.get_mut("eth0").unwrap().link_up = Some(false)).await;
    case.will_see("cat /sys/class/net/eth*/carrier", "0").await;
    case.live(&["nics.eth0.linkUp"], |m| m.spec.nics.get_mut("eth0").unwrap().link_up = Some(true)).await;
    case.will_see("cat /sys/class/net/eth*/carrier", "1").await;
    rates(case).await;
    case.live(&["nics.eth0.network"], |m| drop(m.links.insert(name("eth0"), Some(two.clone())))).await;
    case.live(&["nics.eth0.mac"], |m| {
        m.spec.nics.get_mut("eth0").unwrap().mac = Some("52:54:00:0b:00:02".into());
    })
    .await;
    case.will_see(address, "52:54:00:0b:00:02").await;
    case.live(&["nics.eth0.mtu"], |m| m.spec.nics.get_mut("eth0").unwrap().mtu = Some(1400)).await;
    case.will_see("cat /sys/class/net/eth*/mtu", "1400").await;
    case.live(&["nics.eth0.queues"], |m| m.spec.nics.get_mut("eth0").unwrap().queues = Some(2)).await;
    case.live(&["nics.eth0.queues"], |m| m.spec.nics.get_mut("eth0").unwrap().queues = Some(1)).await;
    case.live(&["nics.eth0.model"], |m| {
        m.spec.nics.get_mut("eth0").unwrap().model = Some(NicModel::E1000e);
    })
    .await;
    case.live(&["nics.eth0"], |m| {
        m.spec.nics.clear();
        m.links.clear();
    })
    .await;
    case.will_see("ls -d /sys/class/net/eth* 2>/dev/null | wc -l", "0").await;
}

/// A host whose kernel cannot shape traffic refuses a rate, and the rest of the change is done all the same.
async fn rates(case: &mut Case<'_>) {
    let set = |rate: Option<Rate>, up: bool| {
        move |m: &mut Machine| {
            let nic = m.spec.nics.get_mut("eth0").unwrap();
            (nic.rate, nic.link_up) = (rate, Some(up));
        }
    };
    let paths = ["nics.eth0.rate", "nics.eth0.linkUp"];
    if case.subject.shapes() {
        case.live(&paths, set(Some(Rate(100_000_000)), false)).await;
        case.live(&paths, set(None, true)).await;
        return;
    }
    let changed = case.change(&paths, set(Some(Rate(100_000_000)), false)).await;
    assert_eq!(changed.live, ["nics.eth0.linkUp"]);
    assert!(changed.staged[0].0 == "nics.eth0.rate" && changed.staged[0].1.is_some(), "{changed:?}");
    case.live(&paths, set(None, true)).await;
}

async fn scalars(case: &mut Case<'_>) {
    case.live(&["cpu.limit", "cpu.weight"], |m| {
        let cpu = m.spec.cpu.get_or_insert_default();
        (cpu.limit, cpu.weight) = (Some(1.5), Some(250));
    })
    .await;
    case.live(&["cpu.limit", "cpu.weight"], |m| {
        let cpu = m.spec.cpu.get_or_insert_default();
        (cpu.limit, cpu.weight) = (None, Some(100));
    })
    .await;
    let pinning = |first, last| vec![CpuRange { first, last }];
    case.live(&["cpu.pinning"], |m| m.spec.cpu.get_or_insert_default().pinning = pinning(1, 1)).await;
    case.live(&["cpu.pinning"], |m| m.spec.cpu.get_or_insert_default().pinning = vec![]).await;
    case.live(&["cpu.cores"], |m| m.spec.cpu.get_or_insert_default().cores = Some(2)).await;
    case.will_see("cat /sys/devices/system/cpu/present", "0-1").await;
    case.live(&["memory.size"], |m| m.spec.memory.get_or_insert_default().size = Some(Size::mib(200))).await;
    case.live(&["memory.size"], |m| m.spec.memory.get_or_insert_default().size = Some(Size::mib(320))).await;
    balloon(case).await;
    case.live(&["description"], |m| m.spec.description = Some("<new> & \"words\"\n".into())).await;
    case.live(&["description"], |m| m.spec.description = None).await;
}

/// A running guest lends memory and gets it back; what it is configured with stays.
async fn balloon(case: &mut Case<'_>) {
    let domain = case.found().await;
    let balloons = case.subject.driver().balloons().unwrap();
    let target = case.target();
    for size in [256, 320] {
        balloons.lend(&target, Size::mib(size)).await.unwrap();
        let mut now = None;
        for _ in 0..300 {
            now = balloons.shared(&[domain.uuid]).await.unwrap().guests.get(&domain.uuid).copied();
            if now == Some(Size::mib(size)) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(now, Some(Size::mib(size)));
    }
    assert_eq!(case.found().await.configured, domain.configured);
}

async fn media(case: &mut Case<'_>) {
    for medium in [Some(case.subject.medium("one")), Some(case.subject.medium("two")), None] {
        case.live(&["disks.cd.image"], |m| drop(m.disks.insert(name("cd"), medium.clone()))).await;
        if medium.is_some() {
            case.will_see("dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | wc -c", "2048").await;
        } else {
            case.will_see("dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | wc -c", "0").await;
        }
    }
}

/// What the guest cannot take is configured, and waits.
async fn staged(case: &mut Case<'_>) {
    let before = case.found().await.running;
    let changed = case
        .change(&["cpu.maxCores", "memory.max", "rng.enabled"], |m| {
            m.spec.cpu.get_or_insert_default().max_cores = Some(4);
            m.spec.memory.get_or_insert_default().max = Some(Size::mib(400));
            m.spec.rng.get_or_insert_default().enabled = Some(false);
        })
        .await;
    assert_eq!(changed.live, Vec::<String>::new());
    assert_eq!(changed.staged.len(), 3);
    let found = case.found().await;
    case.same(&found.configured, "configured");
    assert_eq!(found.running, before);
    let changed = case.change(&["cpu.cores"], |m| m.spec.cpu.get_or_insert_default().cores = Some(4)).await;
    assert_eq!(changed.staged.len(), 1);
    assert!(changed.staged[0].1.is_some(), "the reason is said");
}
