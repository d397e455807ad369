//! A storage that keeps nothing: the contract without a disk, with faults on demand and a log of calls.
//!
//! It is in every binary, so that tests can use the real one, and `check` refuses it unless `REEVE_FAKE` is set.

mod options;
mod rules;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::{Map, Value};

pub use self::options::FakeOptions;
pub use self::rules::{Rule, When};
use self::state::{Kept, State};
use super::{
    Abilities, Attachment, Format, Marked, NewVolume, OnProgress, OptionProblem, RollBack, Snapshots, Source, Storage,
    StorageType, Usage, VolumeInfo, header,
};
use crate::base::crash::point;
use crate::base::secret::Secrets;
use crate::base::{Attempt as _, Fault, FaultKind, Mark, Name, Size};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

static ABILITIES: Abilities = Abilities {
    content: &Content::ALL,
    formats: super::dir::formats,
    shared: false,
    snapshots: &[Format::Qcow2],
    linked_clones: &[],
    roll_back: RollBack::Any,
    thin: true,
    provisions: true,
};

/// The storage type `fake`.
#[derive(Debug)]
pub struct FakeType;

impl StorageType for FakeType {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        static SHAPE: LazyLock<Shape> = LazyLock::new(Shape::of::<FakeOptions>);
        &SHAPE
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<FakeOptions>().to_value()
    }

    fn canonical(&self, options: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        super::canonical::<FakeOptions>(options)
    }

    fn check(&self, _spec: &StorageSpec) -> Vec<OptionProblem> {
        if cfg!(test) || std::env::var_os("REEVE_FAKE").is_some() {
            return Vec::new();
        }
        vec![OptionProblem {
            option: "",
            message: "the driver fake keeps nothing and is for tests only".into(),
            help: "choose another driver, such as dir".into(),
        }]
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        spec.options.get("id").and_then(Value::as_str).map(|id| format!("fake {id}"))
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let options: FakeOptions = super::options(&spec.options)
            .map_err(|why| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}")))?;
        let content = spec.content.clone().unwrap_or_else(|| Content::ALL.to_vec());
        Ok(Arc::new(Handle { fake: fake(&options)?, content }))
    }
}

/// The fake of that id; a test puts faults into it and reads its log.
pub fn fake(options: &FakeOptions) -> Result<Arc<Fake>, Fault> {
    static ALL: Mutex<BTreeMap<String, Arc<Fake>>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(fake) = all.get(&options.id) {
        return Ok(fake.clone());
    }
    let fake = Arc::new(Fake::new(options)?);
    all.insert(options.id.clone(), fake.clone());
    Ok(fake)
}

/// What stands behind all handles of one id.
#[derive(Debug)]
pub struct Fake {
    id: String,
    file: Option<PathBuf>,
    capacity: Size,
    state: Mutex<State>,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<String>>,
}

impl Fake {
    fn new(options: &FakeOptions) -> Result<Self, Fault> {
        let FakeOptions { id, file, capacity, fail, hang } = options.clone();
        let file = file.map(PathBuf::from);
        let state = file.as_deref().map_or_else(|| Ok(State::default()), State::load)?;
        let failing = fail.into_iter().map(|call| Rule::fail(&call, FaultKind::Other));
        let rules = failing.chain(hang.into_iter().map(|call| Rule::hang(&call))).collect();
        Ok(Self { id, file, capacity, state: state.into(), rules: Mutex::new(rules), log: Mutex::default() })
    }

    /// Adds a fault; rules are asked in the order they were added.
    pub fn add(&self, rule: Rule) {
        open(&self.rules).push(rule);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        open(&self.rules).clear();
    }

    /// The calls so far, `create vol-x`.
    pub fn log(&self) -> Vec<String> {
        open(&self.log).clone()
    }

    /// Says that a guest has the volume open, or no longer.
    pub fn hold(&self, volume: &str, in_use: bool) -> Result<(), Fault> {
        self.change(|state| {
            state.volumes.get_mut(volume).into_iter().for_each(|kept| kept.in_use = in_use);
            Ok(())
        })
    }

    /// Puts a volume there that Reeve did not make.
    pub fn plant(&self, info: VolumeInfo) -> Result<(), Fault> {
        self.change(|state| {
            state.volumes.insert(info.name.clone(), Kept { info, snapshots: Vec::new(), in_use: false });
            Ok(())
        })
    }

    /// What is there, by name.
    pub fn volumes(&self) -> BTreeMap<String, VolumeInfo> {
        open(&self.state).volumes.iter().map(|(name, kept)| (name.clone(), kept.info.clone())).collect()
    }

    /// Takes a volume away behind Reeve's back.
    pub fn lose(&self, volume: &str) {
        open(&self.state).volumes.remove(volume);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut state = open(&self.state);
        let mut next = state.clone();
        let done = change(&mut next)?;
        if let Some(file) = &self.file {
            next.save(file)?;
        }
        *state = next;
        Ok(done)
    }

    fn ready(&self) -> Result<(), Fault> {
        match open(&self.state).active {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::NotFound, format!("fake {} is not set up as a storage", self.id))),
        }
    }

    /// Logs a call and does what a rule for it says.
    async fn enter(&self, call: &str, about: &str, when: When) -> Result<(), Fault> {
        if when == When::Before {
            open(&self.log).push(if about.is_empty() { call.to_owned() } else { format!("{call} {about}") });
        }
        let rule = {
            let mut rules = open(&self.rules);
            let rule = rules.iter_mut().find(|r| r.applies(call, about, when));
            rule.map(|rule| rule.spend())
        };
        match rule {
            Some(effect) => effect.happen(call).await,
            None => Ok(()),
        }
    }
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One storage that is a fake.
#[derive(Debug)]
struct Handle {
    fake: Arc<Fake>,
    content: Vec<Content>,
}

impl Handle {
    /// Logs the call, makes the change, and lets the rules speak before and after it.
    async fn act<T: Send>(
        &self,
        call: &str,
        about: &str,
        change: impl FnOnce(&mut State) -> Result<T, Fault> + Send,
    ) -> Result<T, Fault> {
        self.fake.enter(call, about, When::Before).await?;
        self.fake.ready()?;
        let done = self.fake.change(change)?;
        point("storage.fake.changed");
        self.fake.enter(call, about, When::After).await?;
        Ok(done)
    }

    fn may_keep(&self, new: &NewVolume) -> Result<(), Fault> {
        let invalid = |why: String| Err(Fault::new(FaultKind::Invalid, why));
        super::dir::check_name(&new.name)?;
        let (content, format) = (new.content, new.format);
        if !self.content.contains(&content) {
            return invalid(format!("the manifest does not allow the content {content}"));
        }
        if !super::dir::formats(content).contains(&format) {
            return invalid(format!("{content} cannot be {format}"));
        }
        if matches!(content, Content::Images | Content::Rootdir) {
            super::rules::check_size(new.size)?;
        }
        let Source::Image { path, format } = &new.source else { return Ok(()) };
        let file = std::fs::File::open(path).attempt(|| format!("cannot open the image {}", path.display()))?;
        let header = header::read(&file, *format).map_err(|why| Fault::new(FaultKind::Invalid, why))?;
        match (&header.leans_on, header.broken) {
            (Some(other), _) => invalid(format!("the image needs {other}")),
            (_, Some(broken)) => invalid(format!("the image cannot be used: {broken}")),
            _ if header.size > new.size => invalid(format!("the image has {}", header.size)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Storage for Handle {
    fn abilities(&self) -> &'static Abilities {
        &ABILITIES
    }

    async fn activate(&self) -> Result<(), Fault> {
        self.fake.enter("activate", "", When::Before).await?;
        self.fake.change(|state| {
            state.active = true;
            Ok(())
        })
    }

    async fn active(&self) -> Result<bool, Fault> {
        self.fake.enter("active", "", When::Before).await?;
        Ok(open(&self.fake.state).active)
    }

    async fn usage(&self) -> Result<Usage, Fault> {
        self.fake.enter("usage", "", When::Before).await?;
        self.fake.ready()?;
        let (total, used) = (self.fake.capacity, open(&self.fake.state).used());
        let free = Size(total.bytes().saturating_sub(used.bytes()));
        Ok(Usage { total, used, free, promised: None })
    }

    async fn list(&self) -> Result<Vec<VolumeInfo>, Fault> {
        self.fake.enter("list", "", When::Before).await?;
        self.fake.ready()?;
        Ok(open(&self.fake.state).volumes.values().map(|v| v.info.clone()).collect())
    }

    async fn find(&self, name: &str) -> Result<Option<VolumeInfo>, Fault> {
        self.fake.enter("find", name, When::Before).await?;
        super::dir::check_name(name)?;
        self.fake.ready()?;
        Ok(open(&self.fake.state).volumes.get(name).map(|v| v.info.clone()))
    }

    async fn create(&self, new: &NewVolume, progress: OnProgress<'_>) -> Result<VolumeInfo, Fault> {
        self.may_keep(new)?;
        let capacity = self.fake.capacity;
        let made = self
            .act("create", &new.name, |state| {
                let NewVolume { name, content, format, size, source: _, mark } = new.clone();
                if state.volumes.contains_key(&name) {
                    return already(state, new);
                }
                if state.used().bytes().saturating_add(size.bytes()) > capacity.bytes() {
                    return Err(Fault::new(FaultKind::NoSpace, format!("no space is left for {size}")));
                }
                let allocated = (format != Format::Subvol).then_some(Size(0));
                let info = VolumeInfo {
                    name: name.clone(),
                    content,
                    format,
                    size,
                    allocated,
                    mark: Some(mark),
                    problem: None,
                };
                state.volumes.insert(name, Kept { info: info.clone(), snapshots: Vec::new(), in_use: false });
                Ok(info)
            })
            .await?;
        progress(new.size.bytes(), new.size.bytes());
        Ok(made)
    }

    async fn grow(&self, name: &str, mark: &Mark, to: Size) -> Result<(), Fault> {
        self.act("grow", name, |state| {
            let kept = state.ours(name, Some(mark))?;
            if to == kept.info.size {
                return Ok(());
            }
            super::rules::check_size(to)?;
            if to < kept.info.size {
                return Err(Fault::new(FaultKind::Invalid, format!("the volume {name:?} cannot shrink")));
            }
            free(kept)?;
            kept.info.size = to;
            Ok(())
        })
        .await
    }

    async fn remark(&self, name: &str, from: Option<&Mark>, to: &Mark) -> Result<(), Fault> {
        self.act("remark", name, |state| {
            state.ours(name, from)?.info.mark = Some(to.clone());
            Ok(())
        })
        .await
    }

    async fn delete(&self, name: &str, expect: &Mark, size: Size) -> Result<(), Fault> {
        self.act("delete", name, |state| {
            if !state.volumes.contains_key(name) {
                return Ok(());
            }
            let kept = state.ours(name, Some(expect))?;
            if kept.info.size != size {
                return Err(Fault::new(FaultKind::Identity, format!("the volume {name:?} has {}", kept.info.size)));
            }
            free(kept)?;
            state.volumes.remove(name);
            Ok(())
        })
        .await
    }

    async fn attachment(&self, name: &str) -> Result<Attachment, Fault> {
        let info = self.find(name).await?;
        let info = info.ok_or_else(|| Fault::new(FaultKind::NotFound, format!("there is no volume {name:?}")))?;
        let path = PathBuf::from(format!("/fake/{}/{name}.{}", self.fake.id, info.format));
        Ok(match info.format {
            Format::Subvol => Attachment::Directory { path },
            format => Attachment::File { path, format },
        })
    }

    async fn clean(&self, name: &str) -> Result<(), Fault> {
        self.act("clean", name, |state| {
            state.leftovers.retain(|left| left != name);
            Ok(())
        })
        .await
    }

    async fn leftovers(&self) -> Result<Vec<String>, Fault> {
        self.fake.ready()?;
        Ok(open(&self.fake.state).leftovers.clone())
    }

    fn marked(&self) -> Option<&dyn Marked> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
}

/// A volume that is there already: made, when it is the one asked for.
fn already(state: &mut State, new: &NewVolume) -> Result<VolumeInfo, Fault> {
    let unmarked = state.volumes.get(&new.name).is_some_and(|kept| kept.info.mark.is_none());
    let kept = state.ours(&new.name, Some(&new.mark)).map_err(|fault| match unmarked {
        true => Fault { kind: FaultKind::Exists, ..fault },
        false => fault,
    })?;
    let info = kept.info.clone();
    if (info.content, info.format, info.size) == (new.content, new.format, new.size) {
        return Ok(info);
    }
    Err(Fault::new(FaultKind::Exists, format!("the volume {:?} exists with {}", new.name, info.size)))
}

fn free(kept: &Kept) -> Result<(), Fault> {
    match kept.in_use {
        true => Err(Fault::new(FaultKind::Busy, format!("the volume {:?} is in use", kept.info.name))),
        false => Ok(()),
    }
}

#[async_trait]
impl Marked for Handle {
    async fn mark(&self) -> Result<Option<Mark>, Fault> {
        self.fake.enter("mark", "", When::Before).await?;
        Ok(open(&self.fake.state).mark.clone())
    }

    async fn set_mark(&self, from: Option<&Mark>, to: Option<&Mark>) -> Result<(), Fault> {
        self.act("set-mark", "", |state| {
            let present = state.mark.as_ref().map(|m| m.uid);
            if present != from.map(|m| m.uid) && present != to.map(|m| m.uid) {
                return Err(Fault::new(FaultKind::Identity, "the place belongs to another storage"));
            }
            state.mark = to.cloned();
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Snapshots for Handle {
    async fn take(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        super::dir::check_snapshot(snapshot)?;
        self.act("snapshot", volume, |state| {
            let kept = able(state.ours(volume, Some(mark))?)?;
            if kept.snapshots.iter().any(|s| s == snapshot) {
                return Err(Fault::new(FaultKind::Exists, format!("there is a snapshot {snapshot:?} already")));
            }
            kept.snapshots.push(snapshot.to_owned());
            Ok(())
        })
        .await
    }

    async fn roll_back(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        self.act("roll-back", volume, |state| match able(state.ours(volume, Some(mark))?)? {
            kept if kept.snapshots.iter().any(|s| s == snapshot) => Ok(()),
            _ => Err(Fault::new(FaultKind::NotFound, format!("there is no snapshot {snapshot:?}"))),
        })
        .await
    }

    async fn remove(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        self.act("remove-snapshot", volume, |state| {
            able(state.ours(volume, Some(mark))?)?.snapshots.retain(|s| s != snapshot);
            Ok(())
        })
        .await
    }

    async fn list(&self, volume: &str) -> Result<Vec<String>, Fault> {
        self.fake.enter("snapshots", volume, When::Before).await?;
        let missing = || Fault::new(FaultKind::NotFound, format!("there is no volume {volume:?}"));
        open(&self.fake.state).volumes.get(volume).map(|v| v.snapshots.clone()).ok_or_else(missing)
    }
}

fn able(kept: &mut Kept) -> Result<&mut Kept, Fault> {
    if kept.info.format != Format::Qcow2 {
        let message = format!("the volume {:?} is {} and has no snapshots", kept.info.name, kept.info.format);
        return Err(Fault::new(FaultKind::Unsupported, message));
    }
    free(kept).map(|()| kept)
}
