//! A world with a hypervisor, a storage and networks, and the engine's part: plan, do, crash, look again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::shelf::Shelf;
use crate::base::clock::TestClock;
use crate::base::{Diagnostic, Disruption, Fault, Name, Uid};
use crate::drivers::guest::fake::Fake;
use crate::kinds::vm::{VmKind, VmLive, VmSpec};
use crate::kinds::{
    Catalog, Journal, Kind, KindName, Live, Metadata, Observed, Options, Places, Progress, Reach, Ref, Report,
    Resource, Scope, Spec, Task, World,
};
use crate::plan::live::LiveState;
use crate::plan::make::{Goal, make};
use crate::plan::model::{Action, Plan, Readiness, Step};

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn spec(value: Value) -> VmSpec {
    serde_json::from_value(value).unwrap()
}

pub struct Stage {
    pub world: World,
    pub fake: Arc<Fake>,
    pub shelf: Shelf,
    pub other: Shelf,
    pub catalog: Catalog,
    pub uid: Uid,
    pub vm: Ref,
    pub options: Options,
    _dir: tempfile::TempDir,
}

struct Quiet;

impl Progress for Quiet {
    fn step(&self, _resource: &Ref, _what: &str, _done: u64, _total: u64) {}
}

/// Where a run is broken off: before the Nth effect's work, or after it.
#[derive(Default)]
pub struct Crashing {
    pub seen: AtomicUsize,
    pub before: Option<usize>,
    pub after: Option<usize>,
    pub open: std::sync::Mutex<Vec<(Uid, usize, String, Value)>>,
}

impl Crashing {
    pub fn points(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Journal for Crashing {
    async fn intent(&self, _resource: &Ref, _uid: Uid, effect: &str, detail: &Value) -> Result<Uid, Fault> {
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let id = Uid::fresh();
        self.open.lock().unwrap().push((id, number, effect.to_owned(), detail.clone()));
        if self.before == Some(number) {
            return Err(Fault::other("crash before"));
        }
        Ok(id)
    }

    async fn done(&self, id: Uid) -> Result<(), Fault> {
        let mut open = self.open.lock().unwrap();
        let number = open.iter().find(|(known, ..)| *known == id).map(|(_, number, ..)| *number);
        if self.after == number {
            return Err(Fault::other("crash after"));
        }
        open.retain(|(known, ..)| *known != id);
        Ok(())
    }
}

impl Stage {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::new());
        let mut world = World::open(Reach {
            node: name("n1"),
            data_dir: dir.path().to_owned(),
            hypervisor: Some("fake:".into()),
            containers: Some("fake:".into()),
        });
        world.vms = fake.clone();
        world.clock = Arc::new(TestClock::at("2026-11-22T12:00:00Z".parse().unwrap()));
        let mut stage = Self {
            world,
            fake,
            shelf: Shelf::default(),
            other: Shelf::default(),
            catalog: Catalog::default(),
            uid: "6e2e1d0c-8a52-4a6e-9b06-1f5d2b7f0001".parse().unwrap(),
            vm: Ref::new(KindName::VirtualMachine, name("web-1")),
            options: Options::default(),
            _dir: dir,
        };
        stage.put("Storage", "fast", json!({"driver": "shelf"}));
        stage.put("Storage", "slow", json!({"driver": "shelf"}));
        stage.put("Network", "lan", json!({"type": "nat", "cidr": "10.40.0.1/24"}));
        stage.put("Network", "dmz", json!({"type": "bridge", "bridge": "br7"}));
        for (storage, shelf) in [("fast", stage.shelf.clone()), ("slow", stage.other.clone())] {
            let Some(Spec::Storage(spec)) =
                stage.catalog.get(&format!("storage/{storage}").parse().unwrap()).map(|r| r.spec.clone())
            else {
                panic!("the storage is there");
            };
            stage.world.storages.put(&name(storage), &spec, Arc::new(shelf));
        }
        stage
    }

    /// Puts a manifest in force.
    pub fn put(&mut self, kind: &str, called: &str, spec: Value) {
        let spec = KindName::find(kind).unwrap().spec(spec).unwrap();
        self.catalog.insert(Arc::new(Resource {
            meta: Metadata::named(name(called)),
            spec,
            places: Places::default(),
        }));
    }

    /// Puts the machine's manifest in force.
    pub fn want(&mut self, spec: Value) {
        let called = self.vm.name.to_string();
        self.put("VirtualMachine", &called, spec);
    }

    pub fn spec(&self) -> Arc<VmSpec> {
        match &self.catalog.get(&self.vm).unwrap().spec {
            Spec::VirtualMachine(spec) => spec.clone(),
            _ => panic!("it is a machine"),
        }
    }

    pub fn check(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut report = Report::new(&|_| None, &mut found);
        VmKind::check(&self.vm.name, &self.spec(), &Scope::of(&self.catalog), &mut report);
        found
    }

    pub async fn look(&self) -> LiveState {
        let mut state = LiveState::empty(name("n1"), self.world.clock.now());
        let found = KindName::VirtualMachine.observe(&self.world, &Scope::of(&self.catalog)).await.unwrap();
        for (called, seen) in found {
            state.resources.insert(Ref::new(KindName::VirtualMachine, called), seen);
        }
        state
    }

    pub async fn live(&self) -> VmLive {
        match self.look().await.resources.remove(&self.vm) {
            Some(Observed::Present(Live::VirtualMachine(live))) => *live,
            other => panic!("it is there: {other:?}"),
        }
    }

    pub async fn plan(&self) -> Plan {
        let order = [self.vm.clone()];
        let goal = Goal { catalog: &self.catalog, order: &order, remove: &[], options: self.options };
        make(&goal, &self.look().await)
    }

    /// The one step of the plan.
    pub async fn step(&self) -> Step {
        let mut plan = self.plan().await;
        assert_eq!(plan.steps.len(), 1, "{plan:#?}");
        plan.steps.remove(0)
    }

    /// What the plan would change: path, have, want, cost.
    pub async fn changes(&self) -> Vec<String> {
        let fields = self.plan().await.steps.into_iter().flat_map(|s| s.fields);
        fields
            .map(|f| {
                format!(
                    "{} {} -> {} ({}{})",
                    f.path,
                    f.have,
                    f.want,
                    f.disruption,
                    if f.pending { ", pending" } else { "" }
                )
            })
            .collect()
    }

    pub async fn apply(&self) -> Result<(), Fault> {
        self.apply_with(&Crashing::default()).await
    }

    pub async fn apply_with(&self, journal: &Crashing) -> Result<(), Fault> {
        let state = self.look().await;
        let order = [self.vm.clone()];
        let goal = Goal { catalog: &self.catalog, order: &order, remove: &[], options: self.options };
        for step in make(&goal, &state).steps {
            match &step.readiness {
                Readiness::Blocked(why) => return Err(Fault::other(format!("blocked: {why}"))),
                Readiness::Pending(_) => continue,
                _ => {}
            }
            let resource = self.catalog.get(&self.vm).unwrap();
            self.task(journal, async |task| match step.action {
                Action::Create => resource.spec.create(task).await,
                Action::Update => resource.spec.update(task, state.present(&self.vm).unwrap(), &step.fields).await,
                Action::Delete => panic!("nothing is deleted here"),
            })
            .await?;
        }
        Ok(())
    }

    pub async fn task<T>(&self, journal: &Crashing, work: impl AsyncFnOnce(&Task<'_>) -> T) -> T {
        let meta = Metadata::named(self.vm.name.clone());
        let task = Task {
            world: &self.world,
            scope: Scope::of(&self.catalog),
            reference: &self.vm,
            meta: &meta,
            uid: self.uid,
            options: self.options,
            journal,
            progress: &Quiet,
        };
        work(&task).await
    }

    pub async fn delete_with(&self, journal: &Crashing) -> Result<(), Fault> {
        let state = self.look().await;
        let Some(live) = state.present(&self.vm) else { return Ok(()) };
        self.task(journal, async |task| live.delete(task).await).await
    }

    /// Clears away what a crash left, as the engine does.
    pub async fn recover(&self, journal: &Crashing, deleted: bool) {
        let open = std::mem::take(&mut *journal.open.lock().unwrap());
        let spec = self.catalog.get(&self.vm).map(|r| r.spec.clone()).filter(|_| !deleted);
        for (_, _, effect, detail) in open {
            let quiet = Crashing::default();
            self.task(&quiet, async |task| KindName::VirtualMachine.undo(task, spec.as_ref(), &effect, &detail).await)
                .await
                .unwrap();
        }
    }

    pub fn allow(&mut self, allow: Disruption) {
        self.options.allow = allow;
    }

    /// Asserts that the manifest is in force, and that asking again changes nothing.
    pub async fn assert_settled(&self) {
        assert_eq!(self.changes().await, Vec::<String>::new());
        let (calls, volumes) = (self.fake.calls().len(), self.shelf.calls().len());
        self.apply().await.unwrap();
        assert_eq!((self.fake.calls().len(), self.shelf.calls().len()), (calls, volumes));
    }

    pub fn seeds(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.world.data_dir.join("seeds")).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }
}
