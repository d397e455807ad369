//! What every container runtime promises, in one suite.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use reeve::base::{FaultKind, Name, Size, Uid};
use reeve::drivers::container::{CtDriver, Ended, Intent, Power, Record};
use reeve::kinds::container::CtSpec;
use serde_json::{Value, json};

use super::lab::target;

/// A runtime, and records that can be defined in it.
#[async_trait]
pub trait Rig: Sync {
    /// The runtime.
    fn driver(&self) -> &dyn CtDriver;
    /// A record of a container with this spec, its root file system made.
    async fn record(&self, name: &str, spec: Value) -> Record;
    /// Where interfaces can be plugged in.
    fn bridge(&self) -> &str;
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn spec(rig: &dyn Rig) -> Value {
    json!({
        "description": "one", "tags": ["a"], "rootfs": {"storage": "local", "size": "64Mi"},
        "memory": {"size": "64Mi"}, "cpu": {"weight": 50}, "stopTimeout": 20,
        "nics": {"eth0": {"bridge": rig.bridge()}}
    })
}

fn changed(record: &Record, change: impl Fn(&mut CtSpec)) -> Record {
    let mut record = record.clone();
    change(&mut record.spec);
    record
}

fn other(record: &Record) -> Record {
    let mut record = record.clone();
    record.mark.uid = Uid::fresh();
    record
}

/// All of it.
pub async fn suite(rig: &dyn Rig) {
    defining(rig).await;
    identity(rig).await;
    power(rig).await;
    changing(rig).await;
    staging(rig).await;
    watching(rig).await;
}

async fn defining(rig: &dyn Rig) {
    let (driver, id) = (rig.driver(), name("ct-def"));
    assert_eq!(driver.find(&id).await.unwrap(), None);
    let record = rig.record("ct-def", spec(rig)).await;
    driver.define(&id, &record).await.unwrap();
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.configured.canonical(), record.spec.canonical(), "what is configured reads back");
    assert_eq!(seen.record.as_ref(), Some(&record));
    assert_eq!((seen.power, seen.ended, seen.running), (Power::Stopped, Some(Ended::Never), None));
    driver.define(&id, &record).await.expect("defining again changes nothing");
    let listed = driver.list().await.unwrap();
    assert_eq!(listed[&id].as_ref().unwrap(), &driver.find(&id).await.unwrap().unwrap());
    driver.undefine(&target(&id, &record)).await.unwrap();
    driver.undefine(&target(&id, &record)).await.expect("what is gone is gone");
    assert_eq!(driver.find(&id).await.unwrap(), None);
    assert!(!driver.list().await.unwrap().contains_key(&id));
}

async fn identity(rig: &dyn Rig) {
    let (driver, id) = (rig.driver(), name("ct-own"));
    let record = rig.record("ct-own", spec(rig)).await;
    driver.define(&id, &record).await.unwrap();
    let stranger = other(&record);
    assert_eq!(driver.define(&id, &stranger).await.unwrap_err().kind, FaultKind::Exists);
    let foe = target(&id, &stranger);
    let kinds = [
        driver.set_record(&foe, &stranger).await.unwrap_err().kind,
        driver.reconfigure(&foe, &stranger, &[], true).await.unwrap_err().kind,
        driver.start(&foe).await.unwrap_err().kind,
        driver.kill(&foe, Intent::Stop).await.unwrap_err().kind,
        driver.shutdown(&foe, Duration::from_secs(1), Intent::Stop).await.unwrap_err().kind,
        driver.grow(&foe, None, Size::mib(128)).await.unwrap_err().kind,
        driver.undefine(&foe).await.unwrap_err().kind,
    ];
    assert_eq!(kinds, [FaultKind::Identity; 7]);
    assert_eq!(driver.find(&id).await.unwrap().unwrap().record, Some(record.clone()), "nothing was touched");
    driver.undefine(&target(&id, &record)).await.unwrap();
}

async fn power(rig: &dyn Rig) {
    let (driver, id) = (rig.driver(), name("ct-pow"));
    let record = rig.record("ct-pow", spec(rig)).await;
    let own = target(&id, &record);
    driver.define(&id, &record).await.unwrap();
    driver.start(&own).await.unwrap();
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.power, Power::Running);
    assert_eq!(seen.running.unwrap().canonical(), record.spec.canonical(), "what runs is what is configured");
    assert_eq!(seen.record.unwrap().intent, Intent::Run);
    driver.start(&own).await.expect("starting again changes nothing");
    assert_eq!(driver.find(&id).await.unwrap().unwrap().init, seen.init);
    assert_eq!(driver.undefine(&own).await.unwrap_err().kind, FaultKind::Busy);
    assert!(driver.console(&own).await.unwrap().len() > 1);
    assert!(driver.shutdown(&own, Duration::from_secs(20), Intent::Restart).await.unwrap());
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!((seen.power, seen.ended), (Power::Stopped, Some(Ended::Halted)));
    assert_eq!(seen.record.unwrap().intent, Intent::Restart);
    assert!(driver.console(&own).await.is_err());
    driver.start(&own).await.unwrap();
    driver.kill(&own, Intent::Stop).await.unwrap();
    driver.kill(&own, Intent::Stop).await.unwrap();
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!((seen.power, seen.ended), (Power::Stopped, Some(Ended::Failed)));
    assert_eq!(seen.record.unwrap().intent, Intent::Stop);
    driver.undefine(&own).await.unwrap();
}

async fn changing(rig: &dyn Rig) {
    let (driver, id) = (rig.driver(), name("ct-chg"));
    let record = rig.record("ct-chg", spec(rig)).await;
    let own = target(&id, &record);
    driver.define(&id, &record).await.unwrap();
    driver.start(&own).await.unwrap();
    let before = driver.find(&id).await.unwrap().unwrap();
    let new = changed(&record, |spec| {
        spec.description = Some("two".into());
        let cpu = spec.cpu.get_or_insert_default();
        (cpu.weight, cpu.limit, cpu.cores) = (Some(200), Some(0.25), Some(1));
        let memory = spec.memory.get_or_insert_default();
        (memory.size, memory.swap) = (Some(Size::mib(96)), Some(Size::mib(32)));
        spec.hostname = Some("renamed".into());
    });
    let paths = ["description", "cpu.weight", "cpu.limit", "cpu.cores", "memory.size", "memory.swap", "hostname"];
    let paths = paths.map(String::from).to_vec();
    let done = driver.reconfigure(&own, &new, &paths, true).await.unwrap();
    assert_eq!((done.live, done.staged), (paths, vec![]));
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.configured.canonical(), new.spec.canonical());
    assert_eq!(seen.running.unwrap().canonical(), new.spec.canonical(), "it is in force at once");
    assert_eq!(seen.init, before.init, "and the guest was not restarted");
    // Back to what it was: no limits are left over.
    driver.reconfigure(&own, &record, &["cpu".into(), "memory".into(), "hostname".into()], true).await.unwrap();
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.running.unwrap().canonical(), record.spec.canonical());
    driver.kill(&own, Intent::Stop).await.unwrap();
    driver.undefine(&own).await.unwrap();
}

async fn staging(rig: &dyn Rig) {
    let (driver, id) = (rig.driver(), name("ct-stg"));
    let record = rig.record("ct-stg", spec(rig)).await;
    let own = target(&id, &record);
    driver.define(&id, &record).await.unwrap();
    driver.start(&own).await.unwrap();
    let new = changed(&record, |spec| {
        spec.features.get_or_insert_default().nesting = Some(true);
        spec.env = Some([("A".to_owned(), "b".to_owned())].into());
    });
    let paths = ["features.nesting".to_owned(), "env.A".to_owned()];
    let done = driver.reconfigure(&own, &new, &paths, true).await.unwrap();
    assert_eq!((done.live, done.staged), (vec![], paths.to_vec()));
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.configured.canonical(), new.spec.canonical(), "it is configured");
    assert_eq!(seen.running.unwrap().canonical(), record.spec.canonical(), "and not in force");
    // A second change, live this time, does not make the first one forgotten.
    let newer = changed(&new, |spec| spec.memory.get_or_insert_default().size = Some(Size::mib(80)));
    driver.reconfigure(&own, &newer, &["memory.size".into()], true).await.unwrap();
    let running = driver.find(&id).await.unwrap().unwrap().running.unwrap();
    assert_eq!(running.memory().size, Some(Size::mib(80)));
    assert!(!running.features().nesting());
    assert!(driver.shutdown(&own, Duration::from_secs(20), Intent::Restart).await.unwrap());
    driver.start(&own).await.unwrap();
    let seen = driver.find(&id).await.unwrap().unwrap();
    assert_eq!(seen.running.unwrap().canonical(), newer.spec.canonical(), "the restart brought it in force");
    driver.kill(&own, Intent::Stop).await.unwrap();
    driver.undefine(&own).await.unwrap();
}

async fn watching(rig: &dyn Rig) {
    let (driver, id) = (rig.driver(), name("ct-wat"));
    let record = rig.record("ct-wat", spec(rig)).await;
    let own = target(&id, &record);
    let mut events = driver.watch();
    // The first look is what everything is compared with.
    assert!(tokio::time::timeout(Duration::from_millis(700), events.next()).await.is_err(), "nothing happened yet");
    let mut next = async |what: &str| {
        let event = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
        assert_eq!(event.unwrap_or_else(|_| panic!("no event: {what}")), Some(id.clone()), "{what}");
        // One cause may be seen as several changes.
        while tokio::time::timeout(Duration::from_millis(800), events.next()).await.is_ok() {}
    };
    driver.define(&id, &record).await.unwrap();
    next("defined").await;
    driver.start(&own).await.unwrap();
    next("started").await;
    driver.kill(&own, Intent::Stop).await.unwrap();
    next("killed").await;
    driver.undefine(&own).await.unwrap();
    next("undefined").await;
}
