//! What every driver for virtual machines promises: one suite, run on the fake and on the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use reeve::base::{FaultKind, Mark, Rate, Size, Uid};
use reeve::drivers::guest::{Changed, Domain, Glance, Link, Machine, Power, Record, Snapshot, Stop, Target, VmDriver};
use reeve::drivers::storage::Attachment;
use reeve::kinds::vm::*;
use uuid::Uuid;

use super::machines::{name, settled};

mod in_flight;

pub use in_flight::changes_in_flight;

/// A driver, and what the suite needs from the world around it.
#[async_trait]
pub trait Subject: Sync {
    /// The driver.
    fn driver(&self) -> &dyn VmDriver;
    /// Every machine's name starts with this.
    fn prefix(&self) -> &str;
    /// A machine whose guest boots in seconds; without disks and network cards.
    fn machine(&self) -> Machine;
    /// A new disk of this size.
    fn disk(&self, name: &str, size: Size) -> Attachment;
    /// A medium for an optical drive.
    fn medium(&self, name: &str) -> Attachment;
    /// Two things a network card can be plugged into.
    fn links(&self) -> [Link; 2];
    /// Whether the host can hold network cards to a rate.
    fn shapes(&self) -> bool;
    /// Waits until the guest is up.
    async fn ready(&self, name: &str);
    /// Something that changes whenever the guest is started again.
    async fn life(&self, name: &str) -> String;
    /// What the guest sees: a short script's output; `None` where there is no guest to ask.
    async fn see(&self, name: &str, script: &str) -> Option<String>;
}

/// A machine under test.
pub struct Case<'a> {
    subject: &'a dyn Subject,
    name: String,
    uuid: Uuid,
    record: Record,
    machine: Machine,
    /// The paths that a running guest took, `*` for a device's name.
    taken: BTreeSet<String>,
}

/// A path with `*` for the name of a device.
fn of_any(path: &str) -> String {
    let mut words: Vec<&str> = path.split('.').collect();
    if matches!(words[0], "disks" | "nics" | "usb" | "pci") && words.len() > 1 {
        words[1] = "*";
    }
    words.join(".")
}

fn record(uid: Uid) -> Record {
    let mark = Mark { uid, resource: "vm/x".into(), applied: None };
    Record { mark, disks: BTreeMap::new(), plugs: BTreeMap::new(), notes: BTreeMap::new() }
}

impl<'a> Case<'a> {
    fn new(subject: &'a dyn Subject, name: &str) -> Self {
        let name = format!("{}{name}", subject.prefix());
        Self {
            subject,
            name,
            uuid: Uuid::new_v4(),
            record: record(Uid::fresh()),
            machine: subject.machine(),
            taken: BTreeSet::new(),
        }
    }

    fn target(&self) -> Target<'_> {
        Target { name: &self.name, uuid: self.uuid, owner: Some(self.record.mark.uid) }
    }

    async fn define(&self) {
        let none = BTreeMap::new();
        self.driver().define(&self.name, self.uuid, &self.machine, &self.record, &none).await.unwrap();
    }

    fn driver(&self) -> &dyn VmDriver {
        self.subject.driver()
    }

    async fn found(&self) -> Domain {
        self.driver().find(&self.name).await.unwrap().unwrap()
    }

    async fn clear(&self) {
        self.driver().destroy(&self.target()).await.unwrap();
        self.driver().undefine(&self.target()).await.unwrap();
        assert_eq!(self.driver().find(&self.name).await.unwrap(), None);
    }

    /// Changes the machine below these paths, and gives what came of it.
    async fn change(&mut self, paths: &[&str], change: impl FnOnce(&mut Machine)) -> Changed {
        change(&mut self.machine);
        self.machine.spec.fill();
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        let (old, none) = (self.found().await, BTreeMap::new());
        self.driver().reconfigure(&self.target(), &old, &self.machine, &paths, &none, true).await.unwrap()
    }

    /// The same for a change that a running guest must take.
    async fn live(&mut self, paths: &[&str], change: impl FnOnce(&mut Machine)) {
        let began = std::time::Instant::now();
        let changed = self.change(paths, change).await;
        eprintln!("{paths:?} took {:.1} s", began.elapsed().as_secs_f32());
        assert_eq!(changed.staged, [], "{paths:?}");
        assert_eq!(changed.live.len(), paths.len());
        self.taken.extend(paths.iter().map(|p| of_any(p)));
        let found = self.found().await;
        self.same(&found.configured, "configured");
        self.same(found.running.as_ref().unwrap(), "running");
        // And again, which changes nothing.
        assert_eq!(self.change(paths, |_| {}).await.staged, []);
        assert_eq!(self.found().await, found);
    }

    fn same(&self, machine: &Machine, which: &str) {
        let (have, want) = (settled(machine), settled(&self.machine));
        if have != want {
            let text = |m| serde_json::to_string_pretty(m).unwrap();
            panic!("{which}:\n{}", similar::TextDiff::from_lines(text(&want), text(&have)).unified_diff());
        }
    }

    /// The same, given some time.
    async fn will_see(&self, script: &str, want: &str) {
        let mut seen = None;
        for _ in 0..40 {
            seen = self.subject.see(&self.name, script).await;
            if seen.as_ref().is_none_or(|s| s.trim() == want) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("{script}: {seen:?} is not {want}");
    }
}

/// From nothing to nothing, each step twice.
pub async fn lifecycle(subject: &dyn Subject) {
    let case = Case::new(subject, "cycle");
    let driver = subject.driver();
    assert_eq!(driver.find(&case.name).await.unwrap(), None);
    case.define().await;
    case.define().await;
    let found = case.found().await;
    assert_eq!((found.uuid, found.record.as_ref()), (case.uuid, Some(&case.record)));
    assert_eq!((found.power, found.stop, found.running.is_none()), (Power::Stopped, Some(Stop::Never), true));
    case.same(&found.configured, "configured");
    assert_eq!(driver.list().await.unwrap().remove(&case.name).unwrap().unwrap(), found);

    for _ in 0..2 {
        driver.start(&case.target()).await.unwrap();
        let found = case.found().await;
        assert_eq!((found.power, found.stop), (Power::Running, None));
        case.same(found.running.as_ref().unwrap(), "running");
        assert_eq!(driver.list().await.unwrap().remove(&case.name).unwrap().unwrap(), found);
    }
    assert!(driver.console(&case.target()).await.unwrap().is_absolute());
    assert_eq!(driver.undefine(&case.target()).await.unwrap_err().kind, FaultKind::Busy);

    let mut record = case.record.clone();
    record.notes.insert("note".into(), "<&>\"' ]]> \u{1} é".into());
    driver.set_record(&case.target(), &record).await.unwrap();
    assert_eq!(case.found().await.record, Some(record.clone()));

    for _ in 0..2 {
        driver.destroy(&case.target()).await.unwrap();
        let found = case.found().await;
        assert_eq!((found.power, found.stop), (Power::Stopped, Some(Stop::Destroyed)));
        assert_eq!(found.record, Some(record.clone()));
        assert_eq!(driver.list().await.unwrap().remove(&case.name).unwrap().unwrap(), found);
    }
    for _ in 0..2 {
        driver.undefine(&case.target()).await.unwrap();
        assert_eq!(driver.find(&case.name).await.unwrap(), None);
        assert!(!driver.list().await.unwrap().contains_key(&case.name));
    }
}

/// A glance shows every machine's state, and that something changed, whoever changed it.
pub async fn glances(subject: &dyn Subject) {
    let case = Case::new(subject, "glance");
    let driver = subject.driver();
    let glance = async || driver.glance().await.unwrap().remove(&case.name);
    assert_eq!(glance().await, None);
    case.define().await;
    let defined = glance().await.unwrap();
    assert_eq!((defined.uuid, defined.power, defined.stop), (case.uuid, Power::Stopped, Some(Stop::Never)));
    assert_eq!(driver.list().await.unwrap().remove(&case.name).unwrap().unwrap(), case.found().await);
    assert_eq!(glance().await, Some(defined), "reading changes nothing");

    let mut record = case.record.clone();
    record.notes.insert("note".into(), "changed".into());
    driver.set_record(&case.target(), &record).await.unwrap();
    let marked = changed(&case, &defined).await;
    assert_eq!(driver.list().await.unwrap().remove(&case.name).unwrap().unwrap().record, Some(record));

    driver.start(&case.target()).await.unwrap();
    let started = changed(&case, &marked).await;
    assert_eq!((started.power, started.stop), (Power::Running, None));
    driver.destroy(&case.target()).await.unwrap();
    let ended = changed(&case, &started).await;
    assert_eq!((ended.power, ended.stop), (Power::Stopped, Some(Stop::Destroyed)));
    case.clear().await;
    assert_eq!(glance().await, None);
}

/// A machine is taken back to what it was: disks, and the memory where it was kept.
pub async fn snapshots(subject: &dyn Subject) {
    let mut case = Case::new(subject, "moment");
    let driver = subject.driver();
    let moments = driver.snapshots().unwrap();
    let attachment = subject.disk("moment", Size::mib(8));
    case.machine.spec.disks.insert(name("root"), Disk { size: Some(Size::mib(8)), ..Disk::default() }.into());
    case.machine.disks.insert(name("root"), Some(attachment));
    case.machine.spec.fill();
    case.define().await;
    let target = case.target();
    let [clean, held, live] = ["clean", "held", "live"].map(name);

    moments.take(&target, &clean, false).await.unwrap();
    moments.take(&target, &clean, false).await.unwrap();
    assert_eq!(moments.take(&target, &held, true).await.unwrap_err().kind, FaultKind::Invalid, "it does not run");
    let stranger = Target { owner: Some(Uid::fresh()), ..case.target() };
    assert_eq!(moments.take(&stranger, &held, false).await.unwrap_err().kind, FaultKind::Identity);
    assert_eq!(moments.revert(&stranger, &clean).await.unwrap_err().kind, FaultKind::Identity);
    assert_eq!(moments.delete(&stranger, &clean).await.unwrap_err().kind, FaultKind::Identity);

    driver.start(&target).await.unwrap();
    subject.ready(&case.name).await;
    let write = |word: &str| format!("echo {word} > /run/word; echo {word} | dd of=/dev/vda conv=notrunc; sync");
    let read = "cat /run/word; head -c 5 /dev/vda";
    subject.see(&case.name, &write("one1")).await;
    let before = case.found().await;
    moments.take(&target, &held, true).await.unwrap();
    assert_eq!(case.found().await, before, "a snapshot is no change");
    subject.see(&case.name, &write("two2")).await;
    moments.take(&target, &live, false).await.unwrap();
    moments.take(&target, &live, false).await.unwrap();
    assert_eq!(moments.take(&target, &live, true).await.unwrap_err().kind, FaultKind::Exists);
    case.will_see(read, "two2\ntwo2").await;

    let line = |found: &[Snapshot]| {
        let each = found.iter().map(|s| (s.name.to_string(), s.memory, s.parent.as_ref().map(ToString::to_string)));
        each.collect::<Vec<_>>()
    };
    let of = |name: &str, memory, parent: Option<&str>| (name.to_owned(), memory, parent.map(str::to_owned));
    let all = [of("clean", false, None), of("held", true, Some("clean")), of("live", false, Some("held"))];
    assert_eq!(line(&moments.list(&target).await.unwrap()), all);

    moments.revert(&target, &held).await.unwrap();
    assert_eq!(case.found().await.power, Power::Running);
    subject.ready(&case.name).await;
    case.will_see(read, "one1\none1").await;
    moments.revert(&target, &live).await.unwrap();
    assert_eq!(case.found().await.power, Power::Stopped, "without the memory nothing can go on");
    driver.start(&target).await.unwrap();
    subject.ready(&case.name).await;
    case.will_see("head -c 5 /dev/vda", "two2").await;
    assert_eq!(case.found().await.record, Some(case.record.clone()));

    moments.delete(&target, &held).await.unwrap();
    moments.delete(&target, &held).await.unwrap();
    let rest = [of("clean", false, None), of("live", false, Some("clean"))];
    assert_eq!(line(&moments.list(&target).await.unwrap()), rest, "what built on it stays");
    assert_eq!(moments.revert(&target, &held).await.unwrap_err().kind, FaultKind::NotFound);
    moments.revert(&target, &clean).await.unwrap();
    case.clear().await;
}

/// What cannot be taken back whole is refused before anything is done.
pub async fn no_half_snapshots(subject: &dyn Subject) {
    let moments = subject.driver().snapshots().unwrap();
    let mut case = Case::new(subject, "half");
    case.machine.spec.disks.insert(name("root"), Disk { size: Some(Size::mib(1)), ..Disk::default() }.into());
    case.machine.disks.insert(name("root"), Some(subject.medium("half")));
    case.machine.spec.fill();
    case.define().await;
    let refused = moments.take(&case.target(), &name("x"), false).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unsupported, "{refused}");
    assert_eq!(moments.list(&case.target()).await.unwrap(), []);
    case.clear().await;

    let mut case = Case::new(subject, "variables");
    case.machine.spec.disks.insert(name("root"), Disk { size: Some(Size::mib(1)), ..Disk::default() }.into());
    case.machine.disks.insert(name("root"), Some(subject.disk("variables", Size::mib(1))));
    case.machine.spec.firmware = Some(Firmware { r#type: Some(FirmwareType::Uefi), ..Firmware::default() });
    case.machine.spec.fill();
    case.define().await;
    let refused = moments.take(&case.target(), &name("x"), false).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unsupported, "{refused}");
    case.clear().await;
}

/// The first glance that is another than `before`; an event may take a moment.
async fn changed(case: &Case<'_>, before: &Glance) -> Glance {
    for _ in 0..100 {
        let now = case.driver().glance().await.unwrap()[&case.name];
        if now != *before {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing changed: {before:?}");
}

/// Nothing is done to a machine that is not the one meant.
pub async fn identity(subject: &dyn Subject) {
    let mut case = Case::new(subject, "whose");
    let driver = subject.driver();
    case.define().await;
    let before = case.found().await;
    let none = BTreeMap::new();
    for owner in [None, Some(Uid::fresh())] {
        let target = Target { name: &case.name, uuid: case.uuid, owner };
        let wrong = |result: Result<(), reeve::base::Fault>| assert_eq!(result.unwrap_err().kind, FaultKind::Identity);
        wrong(driver.start(&target).await);
        wrong(driver.destroy(&target).await);
        wrong(driver.undefine(&target).await);
        wrong(driver.set_record(&target, &record(Uid::fresh())).await);
        wrong(driver.shutdown(&target, Duration::from_secs(1)).await.map(drop));
        wrong(driver.console(&target).await.map(drop));
        let mut other = case.machine.clone();
        other.spec.description = Some("another".into());
        let paths = ["description".to_owned()];
        wrong(driver.reconfigure(&target, &before, &other, &paths, &none, true).await.map(drop));
    }
    let stranger = record(Uid::fresh());
    let defined = driver.define(&case.name, case.uuid, &case.machine, &stranger, &none).await;
    assert_eq!(defined.unwrap_err().kind, FaultKind::Identity);
    let defined = driver.define(&case.name, Uuid::new_v4(), &case.machine, &stranger, &none).await;
    assert!(matches!(defined.unwrap_err().kind, FaultKind::Exists | FaultKind::Identity));
    assert_eq!(case.found().await, before);

    // One that is not there is not there.
    let gone = Target { name: "gone", uuid: Uuid::new_v4(), owner: None };
    assert_eq!(driver.start(&gone).await.unwrap_err().kind, FaultKind::NotFound);
    driver.undefine(&gone).await.unwrap();
    case.machine.spec.description = None;
    case.clear().await;
}

/// A machine that does not run is changed whole, and only below the paths.
pub async fn changes_at_rest(subject: &dyn Subject) {
    let mut case = Case::new(subject, "rest");
    case.define().await;
    let (disk, link) = (subject.disk("rest-a", Size::mib(8)), subject.links()[0].clone());
    let changed = case
        .change(&["cpu.cores", "cpu.maxCores", "memory.size", "memory.max", "disks.a", "nics.n", "watchdog"], |m| {
            let cpu = m.spec.cpu.get_or_insert_default();
            (cpu.cores, cpu.max_cores) = (Some(3), Some(6));
            let memory = m.spec.memory.get_or_insert_default();
            (memory.size, memory.max) = (Some(Size::mib(300)), Some(Size::mib(400)));
            m.spec.watchdog = Some(Watchdog::default());
            m.spec.disks.insert(name("a"), Disk { bus: Some(Bus::Scsi), iothread: Some(true), ..qcow2() }.into());
            m.disks.insert(name("a"), Some(disk));
            m.spec.nics.insert(name("n"), nic("52:54:00:0a:00:01").into());
            m.links.insert(name("n"), Some(link));
        })
        .await;
    assert_eq!((changed.live.len(), changed.staged), (7, vec![]));
    case.same(&case.found().await.configured, "configured");

    // What no path names stays, although the new machine says otherwise.
    let kept = case.machine.clone();
    case.change(&["nics.n.rate"], |m| {
        m.spec.description = Some("not named".into());
        m.spec.disks.clear();
        m.disks.clear();
        m.spec.nics.get_mut("n").unwrap().rate = Some(Rate(8_000_000));
    })
    .await;
    case.machine = kept;
    case.machine.spec.nics.get_mut("n").unwrap().rate = Some(Rate(8_000_000));
    case.same(&case.found().await.configured, "configured");

    case.change(&["disks.a", "nics.n", "watchdog", "cpu.maxCores"], |m| {
        m.spec.disks.clear();
        m.disks.clear();
        m.spec.nics.clear();
        m.links.clear();
        m.spec.watchdog = None;
        m.spec.cpu.get_or_insert_default().max_cores = None;
    })
    .await;
    case.same(&case.found().await.configured, "configured");
    case.clear().await;
}

fn qcow2() -> Disk {
    let mut disk = Disk { format: Some(reeve::drivers::storage::Format::Qcow2), ..Disk::default() };
    disk.fill();
    disk.bus = Some(Bus::Virtio);
    disk
}

fn nic(mac: &str) -> Nic {
    let mut nic = Nic { mac: Some(mac.to_owned()), ..Nic::default() };
    nic.fill();
    nic
}
