//! A world in a temporary directory, and tasks in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reeve::base::clock::TestClock;
use reeve::base::{Fault, Name, Uid};
use reeve::kinds::{
    Catalog, Journal, KindName, Live, Metadata, Observed, Options, Places, Progress, Reach, Ref, Resource, Scope, Spec,
    Task, World,
};
use reeve::plan::model::FieldChange;
use serde_json::Value;

/// A world with manifests in it, whose effects are noted.
pub struct Scene {
    /// Everything it keeps on disk.
    pub dir: tempfile::TempDir,
    /// The world.
    pub world: World,
    /// The manifests.
    pub catalog: Catalog,
    /// The resources' identifiers.
    pub uids: BTreeMap<Ref, Uid>,
    notes: Notes,
}

#[derive(Default)]
struct Notes {
    open: Mutex<BTreeMap<Uid, String>>,
    steps: Mutex<Vec<(String, u64, u64)>>,
}

#[async_trait]
impl Journal for Notes {
    async fn intent(&self, resource: &Ref, _uid: Uid, effect: &str, _detail: &Value) -> Result<Uid, Fault> {
        let number = Uid::fresh();
        self.open.lock().unwrap().insert(number, format!("{resource} {effect}"));
        Ok(number)
    }

    async fn done(&self, id: Uid) -> Result<(), Fault> {
        self.open.lock().unwrap().remove(&id);
        Ok(())
    }
}

impl Progress for Notes {
    fn step(&self, _resource: &Ref, what: &str, done: u64, total: u64) {
        self.steps.lock().unwrap().push((what.to_owned(), done, total));
    }
}

impl Scene {
    /// An empty world.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::open(Reach {
            node: "n1".parse().unwrap(),
            data_dir: dir.path().to_owned(),
            hypervisor: Some(format!("fake:{}", dir.path().join("fake.json").display())),
            containers: Some(format!("fake:{}", dir.path().join("cts.json").display())),
        });
        world.clock = Arc::new(TestClock::at("2026-11-22T00:00:00Z".parse().unwrap()));
        Self { dir, world, catalog: Catalog::default(), uids: BTreeMap::new(), notes: Notes::default() }
    }

    /// Adds or replaces a manifest; a new one gets an identifier.
    pub fn say(&mut self, kind: KindName, name: &str, spec: Value) -> Ref {
        let name: Name = name.parse().unwrap();
        let spec = kind.spec(spec).unwrap();
        let resource = Resource { meta: Metadata::named(name), spec, places: Places::default() };
        let reference = resource.reference();
        self.uids.entry(reference.clone()).or_insert_with(Uid::fresh);
        self.catalog.insert(Arc::new(resource));
        reference
    }

    /// The manifests alone.
    pub fn scope(&self) -> Scope<'_> {
        Scope::of(&self.catalog)
    }

    /// What is observed of a resource.
    pub async fn look(&self, reference: &Ref) -> Observed<Live> {
        let mut all = reference.kind.observe(&self.world, &self.scope()).await.unwrap();
        all.remove(&reference.name).unwrap_or(Observed::Absent)
    }

    /// The same of one that must be there.
    pub async fn live(&self, reference: &Ref) -> Live {
        match self.look(reference).await {
            Observed::Present(live) => live,
            other => panic!("{reference} is {other:?}"),
        }
    }

    /// What a plan would change.
    pub async fn changes(&self, reference: &Ref) -> Vec<FieldChange> {
        let live = self.live(reference).await;
        let have = live.have();
        let spec = self.spec(reference);
        let applied = have.mark.as_ref().and_then(|m| m.applied.as_ref());
        let want = spec.want(&reference.name, &self.scope());
        let mut found = reeve::plan::diff::diff(&want, &have.configured, applied, reference.kind.shape());
        found.extend(spec.extra(&live, &self.scope()));
        found
    }

    /// Creates or updates a resource as a plan would.
    pub async fn apply(&self, reference: &Ref) -> Result<(), Fault> {
        let resource = self.catalog.get(reference).unwrap();
        let task = self.task(reference, &resource.meta);
        match self.look(reference).await {
            Observed::Absent => resource.spec.create(&task).await,
            Observed::Present(live) => {
                let changes = self.changes(reference).await;
                if changes.is_empty() {
                    return Ok(());
                }
                resource.spec.update(&task, &live, &changes).await
            }
            Observed::Unknown(why) => panic!("{reference}: {why}"),
        }
    }

    /// Deletes a resource.
    pub async fn delete(&self, reference: &Ref) -> Result<(), Fault> {
        let resource = self.catalog.get(reference).unwrap();
        self.live(reference).await.delete(&self.task(reference, &resource.meta)).await
    }

    /// The effects that were begun and not finished.
    pub fn open_effects(&self) -> Vec<String> {
        self.notes.open.lock().unwrap().values().cloned().collect()
    }

    /// The progress shown last.
    pub fn last_step(&self) -> Option<(String, u64, u64)> {
        self.notes.steps.lock().unwrap().last().cloned()
    }

    /// The names of the files below `below`, sorted, locks left out.
    pub fn files(&self, below: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(below)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn spec(&self, reference: &Ref) -> &Spec {
        &self.catalog.get(reference).unwrap().spec
    }

    fn task<'a>(&'a self, reference: &'a Ref, meta: &'a Metadata) -> Task<'a> {
        Task {
            world: &self.world,
            scope: self.scope(),
            reference,
            meta,
            uid: self.uids[reference],
            options: Options::default(),
            journal: &self.notes,
            progress: &self.notes,
        }
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
