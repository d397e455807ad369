//! A node in memory: every driver a fake, the store in memory or in a directory, and the spine as `apply` runs it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reeve::base::clock::{SystemClock, TestClock};
use reeve::base::{Disruption, Uid};
use reeve::drivers::container::fake::Fake as Cts;
use reeve::drivers::guest::fake::Fake as Vms;
use reeve::drivers::network::fake::{FakeNetworks, host};
use reeve::drivers::storage::fake::{Fake as Disks, FakeOptions, fake};
use reeve::engine::execute::{Run, execute};
use reeve::engine::observe::observe;
use reeve::engine::records::{Acceptance, AcceptedSet, Ledger};
use reeve::engine::recover::{self, Unfinished};
use reeve::kinds::{Catalog, Options, Progress, Reach, Ref, World};
use reeve::manifest::load_str;
use reeve::plan::desired::{Desired, order};
use reeve::plan::live::LiveState;
use reeve::plan::make::{Goal, make};
use reeve::plan::model::Plan;
use reeve::store::embedded::Options as Kept;
use reeve::store::{Embedded, HistoryLimits, Memory, Store};
use serde_json::json;

use super::fragile::{Death, Fragile};
use super::worlds::{self, SECRET};

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The node.
pub struct Node {
    pub vms: Arc<Vms>,
    pub cts: Cts,
    pub libvirt: Arc<FakeNetworks>,
    pub bridges: Arc<FakeNetworks>,
    pub disks: [Arc<Disks>; 2],
    pub store: Arc<Fragile>,
    /// Everything that was said to people or programs: plans, outcomes.
    pub said: Mutex<Vec<String>>,
    id: String,
    durable: bool,
    dir: tempfile::TempDir,
}

struct Quiet;

impl Progress for Quiet {
    fn step(&self, _resource: &Ref, _what: &str, _done: u64, _total: u64) {}
}

impl Node {
    /// A bare node; `durable` keeps its store in a directory.
    pub fn new(durable: bool) -> Self {
        let shm = std::path::Path::new("/dev/shm");
        let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        let id = format!("convergence-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let disk = |name: &str| {
            let options: FakeOptions = serde_json::from_value(json!({"id": format!("{id}-{name}")})).unwrap();
            fake(&options).unwrap()
        };
        for (name, byte) in [("disk-1.raw", 1_u8), ("disk-2.raw", 2)] {
            std::fs::write(dir.path().join(name), vec![byte; 4096]).unwrap();
        }
        let mut archive = vec![0; 1024];
        archive[257..262].copy_from_slice(b"ustar");
        std::fs::write(dir.path().join("tree.tar"), archive).unwrap();
        let mut medium = vec![0; 40 * 1024];
        medium[32769..32774].copy_from_slice(b"CD001");
        std::fs::write(dir.path().join("medium.iso"), medium).unwrap();
        let secret = dir.path().join("data/secrets/login");
        std::fs::create_dir_all(&secret).unwrap();
        std::fs::write(secret.join("password"), SECRET).unwrap();
        Self {
            vms: Arc::default(),
            cts: Cts::default(),
            libvirt: Arc::default(),
            bridges: Arc::default(),
            disks: [disk("s1"), disk("s2")],
            store: Arc::new(Fragile::new(store(durable, &dir.path().join("store")))),
            said: Mutex::default(),
            id,
            durable,
            dir,
        }
    }

    /// The process starts anew: nothing is left but what the fakes and the store keep.
    pub fn restart(&mut self) {
        self.store = Arc::new(self.store.anew());
        if self.durable {
            let nothing: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(SystemClock), HistoryLimits::default()));
            // The directory is given free before it is opened again.
            self.store = Arc::new(Fragile::new(nothing));
            self.store = Arc::new(Fragile::new(store(true, &self.dir.path().join("store"))));
        }
    }

    /// The node's own files.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The world of a process that has just started.
    pub fn world(&self) -> World {
        let mut world = World::open(Reach {
            node: "n1".parse().unwrap(),
            data_dir: self.data(),
            hypervisor: Some("fake:/nowhere".into()),
            containers: Some("fake:/nowhere".into()),
        });
        world.vms = self.vms.clone();
        world.cts = Arc::new(self.cts.clone());
        world.networks.libvirt = Some(self.libvirt.clone());
        world.networks.bridge = self.bridges.clone();
        world.networks.host = host;
        world.clock = Arc::new(TestClock::at("2026-11-22T12:00:00Z".parse().unwrap()));
        world
    }

    /// The engine's records.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.store.clone(), Arc::new(TestClock::at("2026-11-22T12:00:00Z".parse().unwrap())))
    }

    /// The manifests of a world as this node reads them, over what it accepted.
    fn desired(&self, world: &worlds::World, base: &Catalog) -> Desired {
        let text: String = world.0.iter().map(|m| format!("---\n{m}\n")).collect();
        let text = text.replace("[DIR]", self.dir.path().to_str().unwrap()).replace("[ID]", &self.id);
        let loaded = load_str("world.yaml", &text);
        let (desired, found) = Desired::build(&loaded, base);
        let all = loaded.diagnostics.0.iter().chain(&found.0);
        // The fake storage is for tests, and says so.
        let wrong: Vec<_> = all.filter(|d| d.is_error() && !d.message.contains("is for tests only")).collect();
        assert!(wrong.is_empty(), "the generated world is not valid: {wrong:#?}");
        desired
    }

    /// What is there, and what was accepted.
    pub async fn look(&self, catalog: &Catalog, accepted: &AcceptedSet) -> LiveState {
        let mut live = observe(&self.world(), catalog).await;
        live.accepted = accepted.facts.clone();
        live
    }

    /// The plan for everything accepted.
    pub async fn plan(&self) -> Plan {
        let accepted = self.ledger().accepted().await.unwrap();
        let live = self.look(&accepted.catalog, &accepted).await;
        let goal =
            Goal { catalog: &accepted.catalog, order: &order(&accepted.catalog), remove: &[], options: options() };
        let plan = make(&goal, &live);
        self.say(&plan);
        plan
    }

    /// Applies a world, or all that was accepted, and dies where it is told to.
    pub async fn apply(&mut self, world: Option<&worlds::World>, prune: bool, death: Option<Death>) {
        self.store.die(death);
        let store = self.store.clone();
        tokio::select! {
            biased;
            () = store.dead.notified() => {}
            () = self.run(world, prune) => {}
        }
        drop(store);
        self.restart();
    }

    async fn run(&self, world: Option<&worlds::World>, prune: bool) {
        let ledger = self.ledger();
        let accepted = ledger.accepted().await.unwrap();
        let unfinished = Unfinished::read(&ledger).await.unwrap();
        let (mut catalog, mut wanted) = match world {
            Some(world) => {
                let desired = self.desired(world, &accepted.catalog);
                (desired.catalog, desired.order)
            }
            None => (accepted.catalog.clone(), order(&accepted.catalog)),
        };
        wanted.extend(
            unfinished
                .resources()
                .into_iter()
                .filter(|r| catalog.get(r).is_some())
                .filter(|r| !wanted.contains(r))
                .collect::<Vec<_>>(),
        );
        let live = self.look(&catalog, &accepted).await;
        let remove: Vec<Ref> = match world {
            Some(_) if prune => live.accepted.keys().filter(|r| !wanted.contains(r)).cloned().collect(),
            _ => Vec::new(),
        };
        for reference in &remove {
            catalog.insert(accepted.catalog.get(reference).unwrap().clone());
        }
        let goal = Goal { catalog: &catalog, order: &wanted, remove: &remove, options: options() };
        let plan = make(&goal, &live);
        self.say(&plan);
        let uids = accept(&ledger, &catalog, &wanted, &live).await;
        let world = self.world();
        let run = Run {
            world: &world,
            ledger: &ledger,
            catalog: &catalog,
            live: &live,
            uids: &uids,
            who: "tester",
            parallel: 4,
            stop: &AtomicBool::new(false),
            progress: &Quiet,
        };
        let failed = recover::finish_deletes(&run, &unfinished).await;
        let outcomes = execute(&run, &plan, &|outcome| self.note(format!("{outcome:?}"))).await;
        let left = recover::clear(&run, &unfinished, &outcomes).await;
        self.note(format!("{failed:?} {left:?}"));
    }

    fn say(&self, plan: &Plan) {
        self.note(serde_json::to_string(plan).unwrap());
    }

    fn note(&self, text: String) {
        self.said.lock().unwrap().push(text);
    }

    /// Every call so far that changed something, or tried to.
    pub fn calls(&self) -> Vec<String> {
        let looks = ["active", "usage", "list", "find", "mark", "snapshots"];
        let disks = self.disks.iter().flat_map(|d| d.log());
        let disks = disks.filter(|call| !looks.contains(&call.split(' ').next().unwrap_or_default()));
        let all = [self.vms.calls(), self.cts.calls(), self.libvirt.calls(), self.bridges.calls(), disks.collect()];
        all.concat()
    }

    /// The files below the data directory, with their length.
    pub fn files(&self) -> BTreeMap<String, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.data()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                    Ok(meta) => drop(found.insert(entry.path().display().to_string(), meta.len())),
                    Err(_) => {}
                }
            }
        }
        found
    }
}

/// Everything may be done, and no data goes.
fn options() -> Options {
    Options { allow: Disruption::Restart, destroy_data: false }
}

fn store(durable: bool, dir: &std::path::Path) -> Arc<dyn Store> {
    let clock = Arc::new(SystemClock);
    if !durable {
        return Arc::new(Memory::new(clock, HistoryLimits::default()));
    }
    Arc::new(Embedded::open(dir, Kept { snapshot_after_bytes: 16 * 1024, ..Kept::default() }, clock).unwrap())
}

async fn accept(ledger: &Ledger, catalog: &Catalog, wanted: &[Ref], live: &LiveState) -> BTreeMap<Ref, Uid> {
    let all = wanted.iter().filter_map(|r| catalog.get(r)).map(|resource| Acceptance {
        source: Some("world".into()),
        uid: live.present(&resource.reference()).and_then(|l| l.have().mark).map(|m| m.uid),
        resource: Arc::clone(resource),
        commit: None,
    });
    ledger.accept(&all.collect::<Vec<_>>()).await.unwrap()
}
