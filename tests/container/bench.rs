//! A node with containers: manifests, plans and what is done about them, with crashes on demand.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reeve::base::clock::TestClock;
use reeve::base::crash::point;
use reeve::base::{Fault, Name, Uid};
use reeve::drivers::container::CtDriver;
use reeve::engine::observe::observe;
use reeve::kinds::{
    Catalog, Journal, KindName, Metadata, Options, Places, Progress, Reach, Ref, Resource, Scope, Task, World,
};
use reeve::plan::live::{Accepted, LiveState};
use reeve::plan::make::{Goal, make};
use reeve::plan::model::{Action, Plan, Readiness};
use serde_json::{Value, json};

/// The node.
pub struct Bench {
    pub world: World,
    pub catalog: Catalog,
    pub uids: BTreeMap<Ref, Uid>,
    pub options: Options,
    pub journal: Notes,
    #[allow(dead_code, reason = "tells a person where to look")]
    pub root: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

/// The journal: what was begun and not finished, and where the run shall break off.
#[derive(Default)]
pub struct Notes {
    /// Effects that were begun and not finished: resource, effect, detail.
    pub open: Mutex<Vec<(Uid, Ref, String, Value)>>,
    /// Every effect that was begun.
    pub begun: Mutex<Vec<String>>,
    /// How many points are left before the run breaks off; there are two for each effect, before and after it.
    pub left: Mutex<Option<usize>>,
    /// Where it is kept, so that another process can read it after this one was killed.
    file: Option<PathBuf>,
}

impl Notes {
    fn keep(&self, line: &Value) {
        let Some(path) = &self.file else { return };
        let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
        file.sync_all().unwrap();
    }

    /// What another process began and did not finish.
    fn recover(file: &Path) -> Vec<(Uid, Ref, String, Value)> {
        let mut open: Vec<(Uid, Ref, String, Value)> = Vec::new();
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let id = line["id"].as_str().unwrap().parse().unwrap();
            match line["effect"].as_str() {
                Some(effect) => {
                    let on = line["on"].as_str().unwrap().parse().unwrap();
                    open.push((id, on, effect.to_owned(), line["detail"].clone()));
                }
                None => open.retain(|(other, ..)| *other != id),
            }
        }
        open
    }

    fn point(&self) -> Result<(), Fault> {
        let mut left = self.left.lock().unwrap();
        match &mut *left {
            Some(0) => Err(Fault::other("broken off")),
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Journal for Notes {
    async fn intent(&self, resource: &Ref, _uid: Uid, effect: &str, detail: &Value) -> Result<Uid, Fault> {
        let id = Uid::fresh();
        point("before intent");
        self.keep(&json!({"id": id, "on": resource, "effect": effect, "detail": detail}));
        point("after intent");
        self.open.lock().unwrap().push((id, resource.clone(), effect.to_owned(), detail.clone()));
        self.begun.lock().unwrap().push(effect.to_owned());
        self.point()?;
        Ok(id)
    }

    async fn done(&self, id: Uid) -> Result<(), Fault> {
        self.point()?;
        point("before done");
        self.keep(&json!({"id": id}));
        point("after done");
        self.open.lock().unwrap().retain(|(open, ..)| *open != id);
        Ok(())
    }
}

impl Progress for Notes {
    fn step(&self, _resource: &Ref, _what: &str, _done: u64, _total: u64) {}
}

impl Bench {
    /// A node of its own with this container runtime, a storage in a directory, a network and an image.
    pub async fn new(cts: Arc<dyn CtDriver>, bridge: &str, archive: &[u8]) -> Self {
        let dir = tempfile::Builder::new().prefix("ct-").tempdir_in("/var/tmp").unwrap();
        std::fs::write(dir.path().join("root.tar"), archive).unwrap();
        let mut bench = Self::at(dir.path(), cts, bridge);
        bench._dir = Some(dir);
        bench.journal.file = None;
        bench.prepare().await;
        bench
    }

    /// The node that is kept below `root`; what another process left open there is open.
    pub fn at(root: &Path, cts: Arc<dyn CtDriver>, bridge: &str) -> Self {
        let fake = |name: &str| Some(format!("fake:{}", root.join(name).display()));
        let reach = Reach {
            node: Name::new("n1").unwrap(),
            data_dir: root.join("data"),
            hypervisor: fake("vms.json"),
            containers: fake("cts.json"),
        };
        let mut world = World::open(reach);
        world.cts = cts;
        world.clock = Arc::new(TestClock::at("2026-11-22T00:00:00Z".parse().unwrap()));
        let journal = root.join("journal");
        let open = Mutex::new(Notes::recover(&journal));
        let mut bench = Self {
            world,
            catalog: Catalog::default(),
            uids: BTreeMap::new(),
            options: Options::default(),
            journal: Notes { file: Some(journal), open, ..Notes::default() },
            root: root.to_owned(),
            _dir: None,
        };
        let (storage, image) = (root.join("local"), root.join("root.tar"));
        bench.say(KindName::Storage, "local", json!({"driver": "dir", "options": {"path": storage}}));
        bench.say(KindName::Network, "lan", json!({"type": "bridge", "bridge": bridge}));
        bench.say(KindName::Image, "small", json!({"type": "rootfs", "source": {"file": image}}));
        bench
    }

    /// Makes the storage and the image.
    pub async fn prepare(&self) {
        let local = Name::new("local").unwrap();
        self.world.storage(&Scope::of(&self.catalog), &local).unwrap().activate().await.unwrap();
        self.create(&Ref::new(KindName::Image, Name::new("small").unwrap())).await;
    }

    /// Adds or replaces a manifest.
    pub fn say(&mut self, kind: KindName, name: &str, spec: Value) -> Ref {
        let name: Name = name.parse().unwrap();
        let resource =
            Resource { meta: Metadata::named(name), spec: kind.spec(spec).unwrap(), places: Places::default() };
        let reference = resource.reference();
        // The same in every process, so that nothing but the world has to be kept.
        let uid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, reference.to_string().as_bytes());
        self.uids.insert(reference.clone(), uid.into());
        self.catalog.insert(Arc::new(resource));
        reference
    }

    async fn create(&self, reference: &Ref) {
        let resource = self.catalog.get(reference).unwrap();
        resource.spec.create(&self.task(reference, &resource.meta)).await.unwrap();
    }

    fn task<'a>(&'a self, reference: &'a Ref, meta: &'a Metadata) -> Task<'a> {
        Task {
            world: &self.world,
            scope: Scope::of(&self.catalog),
            reference,
            meta,
            uid: self.uids[reference],
            options: self.options,
            journal: &self.journal,
            progress: &self.journal,
        }
    }

    /// What is there.
    pub async fn look(&self) -> LiveState {
        let mut live = observe(&self.world, &self.catalog).await;
        for (reference, uid) in &self.uids {
            live.accepted.insert(
                reference.clone(),
                Accepted { uid: *uid, source: None, protection: false, overrides: BTreeMap::new() },
            );
        }
        live
    }

    /// What would be done about these resources.
    pub async fn plan(&self, order: &[Ref], remove: &[Ref]) -> (LiveState, Plan) {
        let live = self.look().await;
        let goal = Goal { catalog: &self.catalog, order, remove, options: self.options };
        let plan = make(&goal, &live);
        (live, plan)
    }

    /// What would change of one resource, as `path: have -> want (cost)`.
    pub async fn changes(&self, reference: &Ref) -> Vec<String> {
        let (_, plan) = self.plan(std::slice::from_ref(reference), &[]).await;
        let word = |f: &reeve::plan::model::FieldChange| {
            let pending = if f.pending { ", pending" } else { "" };
            format!("{}: {} -> {} ({}{pending})", f.path, f.have, f.want, f.disruption)
        };
        plan.steps.iter().flat_map(|s| s.fields.iter().map(word)).collect()
    }

    /// Why nothing or not everything would be done about a resource.
    pub async fn readiness(&self, reference: &Ref) -> Option<Readiness> {
        let (_, plan) = self.plan(std::slice::from_ref(reference), &[]).await;
        plan.steps.into_iter().next().map(|s| s.readiness)
    }

    /// Does what a plan for one resource says.
    pub async fn apply(&self, reference: &Ref) -> Result<(), Fault> {
        self.carry_out(std::slice::from_ref(reference), &[]).await
    }

    /// Deletes one resource.
    pub async fn delete(&self, reference: &Ref) -> Result<(), Fault> {
        self.carry_out(&[], std::slice::from_ref(reference)).await
    }

    async fn carry_out(&self, order: &[Ref], remove: &[Ref]) -> Result<(), Fault> {
        let (live, plan) = self.plan(order, remove).await;
        for step in &plan.steps {
            if let Readiness::Blocked(why) = &step.readiness {
                return Err(Fault::other(format!("blocked: {why}")));
            }
            if matches!(step.readiness, Readiness::Pending(_)) {
                continue;
            }
            let resource = self.catalog.get(&step.resource).unwrap();
            let task = self.task(&step.resource, &resource.meta);
            let present = live.present(&step.resource);
            match (step.action, present) {
                (Action::Create, _) => resource.spec.create(&task).await?,
                (Action::Update, Some(live)) => resource.spec.update(&task, live, &step.fields).await?,
                (Action::Delete, Some(live)) => live.delete(&task).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// As after a crash: the same is asked for again until it is so, and what is left open is cleared away.
    pub async fn settle(&self, order: &[Ref], remove: &[Ref]) {
        *self.journal.left.lock().unwrap() = None;
        for _ in 0..4 {
            self.carry_out(order, remove).await.unwrap();
        }
        let open = std::mem::take(&mut *self.journal.open.lock().unwrap());
        for (_, reference, effect, detail) in open {
            let resource = self.catalog.get(&reference).unwrap();
            let task = self.task(&reference, &resource.meta);
            let spec = (!remove.contains(&reference)).then_some(&resource.spec);
            reference.kind.undo(&task, spec, &effect, &detail).await.unwrap();
        }
    }

    /// The volumes on the storage, each with what its mark says of it.
    pub async fn volumes(&self) -> Vec<String> {
        let name = Name::new("local").unwrap();
        let storage = self.world.storage(&Scope::of(&self.catalog), &name).unwrap();
        let mut found = Vec::new();
        for volume in storage.list().await.unwrap() {
            let state = volume.mark.and_then(|m| m.applied).and_then(|a| Some(a.get("state")?.as_str()?.to_owned()));
            found.push(format!("{} {} {}", volume.name, volume.size, state.unwrap_or_default()));
        }
        found
    }

    /// The effects begun so far, and forgets them.
    pub fn effects(&self) -> Vec<String> {
        std::mem::take(&mut *self.journal.begun.lock().unwrap())
    }

    /// Does what a person asks of a guest's power.
    pub async fn power(&self, reference: &Ref, to: reeve::kinds::PowerRequest) -> Result<(), Fault> {
        let live = self.look().await;
        let resource = self.catalog.get(reference).unwrap();
        live.present(reference).unwrap().power(&self.task(reference, &resource.meta), to).await
    }

    /// Takes over what is there.
    pub async fn adopt(&self, reference: &Ref) -> Result<(), Fault> {
        let live = self.look().await;
        let resource = self.catalog.get(reference).unwrap();
        resource.spec.adopt(&self.task(reference, &resource.meta), live.present(reference).unwrap()).await
    }
}
