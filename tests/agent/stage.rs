//! A node on a virtual clock: a store, a hypervisor, a storage, a network, and an agent that can be crashed and begun anew.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use reeve::agent::queue::Limits;
use reeve::agent::{Agent, Settings};
use reeve::base::{Disruption, Fault, Uid};
use reeve::drivers::guest::fake::Fake;
use reeve::drivers::network::NetworkDrivers;
use reeve::drivers::network::fake::{FakeNetworks, host};
use reeve::drivers::storage::fake::Fake as FakeStorage;
use reeve::engine::overrides::Wish;
use reeve::engine::publish::StatusRecord;
use reeve::engine::records::{Acceptance, Ledger};
use reeve::kinds::{Metadata, Places, Reach, Ref, Resource, World};
use reeve::plan::model::Plan;
use reeve::store::{HistoryLimits, Memory};
use serde_json::{Value, json};

use super::sim::chaos::{Chaos, ChaosStore, ChaosVms};
use super::sim::clock::{Flag, SimClock};

type Running = Pin<Box<dyn Future<Output = Result<(), Fault>>>>;

/// The node.
pub struct Stage {
    pub clock: Arc<SimClock>,
    pub chaos: Arc<Chaos>,
    pub guests: Arc<Fake>,
    pub networks: Arc<FakeNetworks>,
    pub agent: Agent,
    /// The records without trouble, as another process would have them.
    pub ledger: Ledger,
    pub settings: Settings,
    store: Arc<Memory>,
    dir: tempfile::TempDir,
    seed: u64,
    running: Option<Running>,
    flag: Arc<Flag>,
    context: tokio::runtime::Runtime,
}

impl Stage {
    /// A node with a storage and a network in its manifests, calm, its agent not begun.
    pub fn new(seed: u64) -> Self {
        let clock = Arc::new(SimClock::new());
        let chaos = Arc::new(Chaos::new(clock.clone(), seed));
        chaos.calm(true);
        let store = Arc::new(Memory::new(clock.clone(), HistoryLimits::default()));
        let settings = Settings { limits: Limits::default(), allow: Disruption::Live, seed, ..Settings::default() };
        let dir = tempfile::tempdir().unwrap();
        let guests = Arc::new(Fake::new());
        let networks = Arc::new(FakeNetworks::default());
        let ledger = Ledger::new(store.clone(), clock.clone());
        let world = world(&dir, &clock, &chaos, &guests, &networks);
        let agent = Agent::new(world, ledger.clone(), settings.clone());
        let context = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let flag = Arc::new(Flag::default());
        let mut stage = Self {
            clock,
            chaos,
            guests,
            networks,
            agent,
            ledger,
            settings,
            store,
            dir,
            seed,
            running: None,
            flag,
            context,
        };
        let id = stage.storage();
        stage.say("storage/fast", json!({"driver": "fake", "options": {"id": id}}));
        stage.say("network/lan", json!({"type": "nat", "cidr": "10.40.0.1/24"}));
        stage
    }

    /// Accepts a manifest, as `apply` in another process would; its UID follows from its name.
    pub fn say(&mut self, name: &str, spec: Value) -> Ref {
        self.say_from(None, name, spec)
    }

    /// The same, as it comes from a source.
    pub fn say_from(&mut self, source: Option<&str>, name: &str, spec: Value) -> Ref {
        let reference: Ref = name.parse().unwrap();
        let spec = reference.kind.spec(spec).unwrap();
        let meta = Metadata::named(reference.name.clone());
        let resource = Arc::new(Resource { meta, spec, places: Places::default() });
        let uid = Some(Uid::from(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())));
        block_on(self.ledger.accept(&[Acceptance { resource, source: source.map(str::to_owned), uid, commit: None }]))
            .unwrap();
        reference
    }

    /// Begins an agent; one that runs is killed at once.
    pub fn begin(&mut self) {
        self.running = None;
        let store = ChaosStore { inner: self.store.clone(), chaos: self.chaos.clone() };
        let ledger = Ledger::new(Arc::new(store), self.clock.clone());
        let world = world(&self.dir, &self.clock, &self.chaos, &self.guests, &self.networks);
        self.agent = Agent::new(world, ledger, Settings { seed: self.seed, ..self.settings.clone() });
        let agent = self.agent.clone();
        self.running = Some(Box::pin(async move { agent.run().await }));
        self.flag.set();
    }

    /// Kills the agent.
    pub fn halt(&mut self) {
        self.running = None;
    }

    /// Lets time pass up to `until`; true when the agent ended by itself.
    pub fn pass(&mut self, until: Duration) -> bool {
        self.steps(until, u64::MAX)
    }

    /// The same, with at most so many turns of the agent.
    pub fn steps(&mut self, until: Duration, mut turns: u64) -> bool {
        let _context = self.context.enter();
        let waker = Waker::from(self.flag.clone());
        while turns > 0 {
            if self.flag.take() {
                let Some(running) = &mut self.running else { return true };
                turns -= 1;
                if let Poll::Ready(ended) = running.as_mut().poll(&mut Context::from_waker(&waker)) {
                    self.running = None;
                    // A begin that the store's trouble broke off is begun again, as systemd would.
                    if ended.is_err() {
                        drop(_context);
                        self.begin();
                        return self.steps(until, turns);
                    }
                    return true;
                }
                assert_eq!(self.chaos.violations(), Vec::<String>::new(), "seed {}", self.seed);
                continue;
            }
            match self.clock.next() {
                Some(next) if next <= until => self.clock.go(next),
                _ => break,
            }
        }
        if turns > 0 {
            self.clock.go(until);
        }
        false
    }

    /// Whether an agent runs.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// Lets so many seconds pass.
    pub fn seconds(&mut self, seconds: u64) {
        use reeve::base::Clock as _;
        let until = self.clock.elapsed() + Duration::from_secs(seconds);
        self.pass(until);
    }

    /// The whole plan, looked at now without trouble.
    pub fn plan(&self) -> Plan {
        let _context = self.context.enter();
        let wanted = block_on(self.ledger.accepted()).unwrap();
        let world = world(&self.dir, &self.clock, &self.chaos, &self.guests, &self.networks);
        let mut live = block_on(reeve::engine::observe::observe(&world, &wanted.catalog));
        live.accepted = wanted.facts;
        let order = reeve::plan::desired::order(&wanted.catalog);
        let options = reeve::kinds::Options::default();
        let goal = reeve::plan::make::Goal { catalog: &wanted.catalog, order: &order, remove: &[], options };
        reeve::plan::make::make(&goal, &live)
    }

    /// What is told of a resource.
    pub fn status(&self, reference: &Ref) -> Option<StatusRecord> {
        block_on(self.ledger.status(reference)).unwrap()
    }

    /// The conditions of a resource that are not as they are when all is well, as `Ready=False:Blocked`.
    pub fn odd(&self, reference: &Ref) -> Vec<String> {
        use reeve::engine::publish::{Aspect, Truth};
        let well = |aspect| if aspect == Aspect::Ready { Truth::True } else { Truth::False };
        let Some(status) = self.status(reference) else { return vec!["nothing told".into()] };
        let odd = status.conditions.iter().filter(|c| c.status != well(c.aspect));
        odd.map(|c| format!("{:?}={:?}:{}", c.aspect, c.status, c.reason)).collect()
    }

    /// What was noted of a resource: who and what.
    pub fn events(&self, reference: &Ref) -> Vec<String> {
        let name = reference.to_string();
        let events = block_on(self.ledger.events()).unwrap();
        events.into_iter().filter(|e| e.resource == name).map(|e| e.what).collect()
    }
}

fn world(
    dir: &tempfile::TempDir,
    clock: &Arc<SimClock>,
    chaos: &Arc<Chaos>,
    guests: &Arc<Fake>,
    networks: &Arc<FakeNetworks>,
) -> World {
    let mut world = World::open(Reach {
        node: "n1".parse().unwrap(),
        data_dir: dir.path().to_owned(),
        hypervisor: Some("fake:".into()),
        containers: Some("fake:".into()),
    });
    world.clock = clock.clone();
    world.vms = Arc::new(ChaosVms { inner: guests.clone(), chaos: chaos.clone(), storage: storage(dir) });
    let bridge = Arc::new(FakeNetworks::default());
    world.networks = NetworkDrivers { libvirt: Some(networks.clone()), bridge, host };
    world
}

fn storage_id(dir: &tempfile::TempDir) -> String {
    format!("agent-{}", dir.path().display())
}

fn storage(dir: &tempfile::TempDir) -> Arc<FakeStorage> {
    reeve::drivers::storage::fake::fake(&serde_json::from_value(json!({"id": storage_id(dir)})).unwrap()).unwrap()
}

/// The result of what needs no time to pass.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// A guest's manifest with this weight and these disks.
pub fn guest(weight: u32, disks: &[&str]) -> Value {
    let disk = |name: &&str| ((*name).to_owned(), json!({"storage": "fast", "size": "1Gi"}));
    let disks: serde_json::Map<String, Value> = disks.iter().map(disk).collect();
    json!({
        "runStrategy": "Always",
        "cpu": {"weight": weight},
        "memory": {"size": "128Mi"},
        "disks": disks,
        "nics": {"eth0": {"network": "lan"}},
    })
}

impl Stage {
    fn storage(&self) -> String {
        storage_id(&self.dir)
    }

    /// The calls that the storage got.
    pub fn storage_log(&self) -> Vec<String> {
        storage(&self.dir).log()
    }

    /// The store's revision: it moves with every write.
    pub fn revision(&self) -> u64 {
        use reeve::store::Store as _;
        block_on(self.store.list("")).unwrap().revision
    }

    /// Overrides a field for so many seconds, as a command would that knows what is there.
    pub fn over(&self, resource: &Ref, field: &str, value: Value, seconds: u64) -> Result<(), Fault> {
        let _context = self.context.enter();
        let accepted = block_on(self.ledger.accepted()).unwrap();
        let world = world(&self.dir, &self.clock, &self.chaos, &self.guests, &self.networks);
        let live = block_on(reeve::engine::observe::observe(&world, &accepted.catalog));
        let (resource, field, ttl) = (resource.clone(), field.to_owned(), Duration::from_secs(seconds));
        let wish = Wish { resource, field, value, ttl, reason: "a test".into() };
        block_on(self.ledger.set_override(&wish, &live, "tester")).map(drop)
    }

    /// The weight that a running guest has.
    pub fn weight(&self, name: &str) -> u64 {
        use reeve::drivers::guest::VmDriver as _;
        let found = block_on(self.guests.find(name)).unwrap().unwrap();
        serde_json::to_value(found.running.unwrap().spec).unwrap()["cpu"]["weight"].as_u64().unwrap()
    }

    /// Whether no effect is open and no delete is half done.
    pub fn ledger_is_clean(&self) -> bool {
        let open = block_on(self.ledger.journal()).unwrap();
        open.is_empty() && block_on(self.ledger.begun_deletes()).unwrap().is_empty()
    }

    /// Begins a delete as a command would that is killed right after.
    pub fn begin_delete(&self, reference: &Ref) {
        let accepted = block_on(self.ledger.accepted()).unwrap();
        let uid = accepted.facts[reference].uid;
        let manifest = accepted.catalog.get(reference).cloned();
        self.chaos.may_end(reference.name.as_str(), true);
        let begun =
            reeve::engine::records::BegunDelete { reference: reference.clone(), uid, destroy_data: false, manifest };
        block_on(self.ledger.begin_delete(&begun, "test")).unwrap();
    }

    /// Whether the hypervisor has a guest of that name.
    pub fn there(&self, name: &str) -> bool {
        use reeve::drivers::guest::VmDriver as _;
        block_on(self.guests.find(name)).unwrap().is_some()
    }
}
