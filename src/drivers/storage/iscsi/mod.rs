//! A target of an array: the kernel logs in, and its LUNs are disks at stable paths, of which volume groups are made.
//!
//! `login` brings the session up, `sysfs` reads what the kernel has of it. Nothing is made on an array or deleted there,
//! and no machine's disk or volume is put on a LUN: LUNs are listed, and are the `devices` of an `lvm` on this `base`.

mod login;
mod options;
mod sysfs;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use self::options::IscsiOptions;
use self::options::plain_portal;
use self::sysfs::Lun;
use super::offload::Offload;
use super::{
    Abilities, Attachment, Format, NewVolume, OnProgress, OptionProblem, RollBack, Storage, StorageType, Usage,
    VolumeInfo,
};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Mark, Name, Size};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

/// How long looking at a target may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long the disks of a session may take to appear.
const APPEARANCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

static ABILITIES: Abilities = Abilities {
    content: &[Content::Images],
    formats: super::pool::devices_only,
    shared: true,
    snapshots: &[],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: false,
    provisions: false,
};

/// The storage type `iscsi`.
#[derive(Debug)]
pub struct IscsiType;

impl StorageType for IscsiType {
    fn name(&self) -> &'static str {
        "iscsi"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<IscsiOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<IscsiOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut options = super::canonical::<IscsiOptions>(options)?;
        if let Some(Value::String(portal)) = options.get_mut("portal") {
            *portal = plain_portal(portal);
        }
        Ok(options)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        super::options(&spec.options).map_or(Vec::new(), |options| problems(&options))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        spec.options.get("target").and_then(Value::as_str).map(|target| format!("iscsi {target}"))
    }

    fn open(&self, name: &Name, spec: &StorageSpec, secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let options: IscsiOptions = super::options(&spec.options).map_err(invalid)?;
        if let Some(problem) = problems(&options).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let (name, secrets) = (name.clone(), secrets.clone());
        Ok(Arc::new(Iscsi { name, options, secrets, offload: Offload::new(DEADLINE) }))
    }
}

/// What the schema cannot say about the options.
fn problems(given: &IscsiOptions) -> Vec<OptionProblem> {
    let mut found = Vec::new();
    let mut say = |option, message: String, help: &str| {
        found.push(OptionProblem { option, message, help: help.to_owned() });
    };
    if let Some(why) = options::bad_portal(&given.portal) {
        say("portal", why, "write the array's address, such as 10.0.0.5 or 10.0.0.5:3260");
    }
    if let Some(why) = options::bad_target(&given.target) {
        say("target", why, "write what `iscsiadm -m discovery -t sendtargets -p PORTAL` shows");
    }
    if let Some(why) = given.username.as_deref().and_then(options::bad_user) {
        say("username", why, "write the name that the array knows, without spaces");
    }
    match (&given.username, &given.password) {
        (Some(name), None) => {
            let why = format!("the user {name:?} has no password");
            say("username", why, "add `password: {secretRef: {name: …, key: …}}`");
        }
        (None, Some(_)) => say("password", "there is a password and no user".into(), "add `username`"),
        _ => {}
    }
    for (i, expected) in given.luns.iter().enumerate() {
        if given.luns[..i].iter().any(|other| other.lun == expected.lun) {
            say("luns", format!("LUN {} is described twice", expected.lun), "describe each LUN once");
        }
    }
    found
}

/// A target, opened.
#[derive(Debug)]
struct Iscsi {
    name: Name,
    options: IscsiOptions,
    secrets: Secrets,
    offload: Offload,
}

impl Iscsi {
    /// The LUNs as they are; one that does not answer is as one whose array is gone.
    async fn luns(&self) -> Result<Vec<Lun>, Fault> {
        let target = self.options.target.clone();
        let what = format!("storage/{}: cannot look at its LUNs", self.name);
        let found = self.offload.run(what, move || sysfs::luns(&target)).await;
        found.map_err(|fault| match fault.kind {
            FaultKind::Deadline => Fault { kind: FaultKind::Unavailable, ..fault },
            _ => fault,
        })
    }

    async fn logged_in(&self) -> Result<bool, Fault> {
        let target = self.options.target.clone();
        let what = format!("storage/{}: cannot look for its session", self.name);
        self.offload.run(what, move || Ok(sysfs::session(&target)?.is_some())).await
    }

    /// What is wrong with the first LUN that is not as the manifest describes it.
    fn unlike(&self, luns: &[Lun]) -> Option<Fault> {
        self.options.luns.iter().find_map(|expected| self.differs(expected, luns))
    }

    fn differs(&self, expected: &options::Expected, luns: &[Lun]) -> Option<Fault> {
        let number = expected.lun;
        let lun = format!("storage/{}: LUN {number} of {}", self.name, self.options.target);
        let Some(there) = luns.iter().find(|l| l.number == number && l.size.bytes() > 0) else {
            return Some(
                Fault::new(FaultKind::Unavailable, format!("{lun} is not there"))
                    .help("see whether the array still gives it to this node"),
            );
        };
        let (serial, size) = (there.serial.as_deref().unwrap_or("none"), there.size);
        let other = |what: String| {
            let help = "nothing is done with it; if the array was changed on purpose, say so in `luns`";
            Some(Fault::new(FaultKind::Identity, format!("{lun} {what}")).help(help))
        };
        match (&expected.serial, expected.size) {
            (Some(want), _) if want != serial => other(format!("has the serial number {serial}, not {want}")),
            (_, Some(want)) if want != size => other(format!("has {size}, not {want}")),
            _ => None,
        }
    }

    /// Waits until every LUN of the session has its stable path, and those described are there.
    async fn appear(&self) -> Result<(), Fault> {
        let begun = tokio::time::Instant::now();
        loop {
            let luns = self.luns().await?;
            let wrong = self.unlike(&luns);
            let linked = luns.iter().all(|lun| lun.size.bytes() == 0 || self.options.path(lun.number).exists());
            match wrong {
                None if linked => return Ok(()),
                Some(fault) if fault.kind == FaultKind::Identity => return Err(fault),
                wrong if begun.elapsed() > APPEARANCE => {
                    let unlinked = || {
                        Fault::new(FaultKind::Unavailable, format!("storage/{}: LUNs have no stable path", self.name))
                            .help("udev makes /dev/disk/by-path: see whether it runs")
                    };
                    return Err(wrong.unwrap_or_else(unlinked));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn info(&self, lun: &Lun) -> VolumeInfo {
        let expected = self.options.luns.iter().find(|e| e.lun == lun.number);
        let wrong = expected.and_then(|e| self.differs(e, std::slice::from_ref(lun)));
        let gone = (lun.size.bytes() == 0).then(|| format!("the array does not have LUN {} any more", lun.number));
        VolumeInfo {
            name: format!("lun-{}", lun.number),
            content: Content::Images,
            format: Format::Raw,
            size: lun.size,
            allocated: None,
            mark: None,
            problem: wrong.map(|fault| fault.message).or(gone),
        }
    }

    fn cannot<T>(&self, what: &str, name: &str) -> Result<T, Fault> {
        let message = format!("storage/{}: cannot {what} {name:?}: its LUNs belong to the array", self.name);
        Err(Fault::new(FaultKind::Unsupported, message)
            .help("make an `lvm` storage whose `base` this is, and put volumes there"))
    }
}

#[async_trait]
impl Storage for Iscsi {
    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    async fn activate(&self) -> Result<(), Fault> {
        self.reach().await?;
        self.appear().await
    }

    async fn reach(&self) -> Result<(), Fault> {
        if self.logged_in().await? {
            return Ok(());
        }
        let done = login::login(&self.options, &self.secrets).await;
        done.map_err(|fault| fault.context(format!("storage/{}", self.name)))?;
        self.appear().await
    }

    async fn active(&self) -> Result<bool, Fault> {
        match self.luns().await {
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
            Ok(luns) => self.unlike(&luns).map_or(Ok(true), Err),
        }
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        let total = Size(self.luns().await?.iter().map(|lun| lun.size.bytes()).sum());
        Ok(Usage { total, used: total, free: Size(0), promised: None })
    }

    async fn list(&self) -> Result<Vec<VolumeInfo>, Fault> {
        Ok(self.luns().await?.iter().map(|lun| self.info(lun)).collect())
    }

    async fn find(&self, name: &str) -> Result<Option<VolumeInfo>, Fault> {
        Ok(self.list().await?.into_iter().find(|info| info.name == name))
    }

    async fn create(&self, new: &NewVolume, _progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
        self.cannot("make", &new.name)
    }

    async fn grow(&self, name: &str, _mark: &Mark, _to: Size) -> Result<(), Fault> {
        self.cannot("grow", name)
    }

    async fn remark(&self, name: &str, _from: Option<&Mark>, _to: &Mark) -> Result<(), Fault> {
        self.cannot("mark", name)
    }

    async fn delete(&self, name: &str, _expect: &Mark, _size: Size) -> Result<(), Fault> {
        self.cannot("delete", name)
    }

    async fn attachment(&self, name: &str) -> Result<Attachment, Fault> {
        let luns = self.luns().await?;
        let lun = luns.iter().find(|lun| format!("lun-{}", lun.number) == name && lun.size.bytes() > 0);
        let missing = || Fault::new(FaultKind::NotFound, format!("storage/{} has no {name:?}", self.name));
        let lun = lun.ok_or_else(missing)?;
        match self.options.luns.iter().find(|e| e.lun == lun.number).and_then(|e| self.differs(e, &luns)) {
            Some(fault) => Err(fault),
            None => Ok(Attachment::Block { path: self.options.path(lun.number) }),
        }
    }

    async fn clean(&self, _name: &str) -> Result<(), Fault> {
        Ok(())
    }
}
