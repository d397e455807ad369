//! Keeps the node as the manifests say, without anyone asking.
//!
//! ```text
//! triggers   files, store, guests, timer  -> only say "look at this key"
//! queue      when, how often, how much at once
//! work       key -> state -> plan -> execute -> conditions: the spine, for one resource
//! boot       the turns in which guests start when the node has booted
//! run        the loops that turn it all, until told to stop; overrides: what is for a while other than declared
//! ```
//!
//! Nothing is carried from a trigger to the work but a key: the work reads what is wanted and what is there, every time,
//! and makes the same plan with the same code as `reeve plan`. A trigger that comes twice, late or not at all costs time,
//! never correctness; the timer asks for everything now and then.
//!
//! [`Agent`] is a handle that can be cloned; whoever serves requests (a socket, a test) holds one.

mod balloons;
pub mod boot;
pub mod counters;
mod guests;
pub mod hold;
pub mod looks;
mod overrides;
pub mod queue;
pub mod run;
pub mod source;
pub mod wanted;
pub mod windows;
pub mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use self::boot::Turns;
use self::counters::Counters;
use self::looks::Looks;
use self::queue::{Limits, Queue};
use self::source::sync::Sources;
use self::wanted::Wanted;
use self::windows::Windows;
use crate::base::{Disruption, Fault};
use crate::engine::events::Retention;
use crate::engine::observe::observe;
use crate::engine::publish::StatusRecord;
use crate::engine::records::Ledger;
use crate::kinds::vm::Reconcile;
use crate::kinds::{Options, Ref, World};
use crate::plan::make::{Goal, make};
use crate::plan::model::Plan;
use crate::store::{ChangeStream, keys};

/// What an agent is told when it is made.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How much runs at once, and how long failures wait.
    pub limits: Limits,
    /// How often everything is looked at.
    pub resync: Duration,
    /// The greatest disruption that may be done at any time.
    pub allow: Disruption,
    /// When more may be done.
    pub windows: Windows,
    /// By source: what is done about differences of the resources that came from it; elsewhere they are removed.
    pub policies: BTreeMap<String, Reconcile>,
    /// The boot of the node, when guests shall start in their turns after a new one.
    pub boot: Option<String>,
    /// How much of what happened is kept.
    pub retention: Retention,
    /// Where chance comes from.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let resync = Duration::from_secs(300);
        let windows = Windows::default();
        let policies = BTreeMap::new();
        Self {
            limits: Limits::default(),
            resync,
            allow: Disruption::Live,
            windows,
            policies,
            boot: None,
            retention: Retention::default(),
            seed: fastrand::u64(..),
        }
    }
}

/// A running agent, or one that is about to run; a clone is the same agent.
#[derive(Clone)]
pub struct Agent(Arc<Core>);

/// What all clones share.
struct Core {
    world: World,
    ledger: Ledger,
    settings: Settings,
    queue: Mutex<Queue<Ref>>,
    /// Something was asked for, or it is time to stop.
    news: Notify,
    /// What is known of the sources.
    sources: Sources,
    wanted: RwLock<Arc<Wanted>>,
    looks: Looks,
    notes: Mutex<Notes>,
    /// The turns in which guests start, and that one of them may have ended.
    turns: Mutex<Turns>,
    turned: Notify,
    stop: AtomicBool,
    counters: Counters,
}

/// What the agent remembers of resources between two looks; all of it can be lost.
#[derive(Debug, Default)]
struct Notes {
    /// What was told to have changed by itself, alone.
    told: BTreeSet<Ref>,
    /// Deletes that were begun and not finished.
    deleting: BTreeSet<Ref>,
    /// By source: resources that it, read whole, has no longer, and that shall go.
    pruned: BTreeMap<String, BTreeSet<Ref>>,
    /// Resources with effects in the journal whose end is not known.
    leftovers: BTreeSet<Ref>,
    /// The plan that was last carried out for a resource and not yet seen to be in force.
    tried: BTreeMap<Ref, String>,
    /// By source: what is wrong with manifests that it has now.
    invalid: BTreeMap<String, BTreeMap<Ref, String>>,
}

impl Notes {
    /// What is wrong with the manifest that a source has of a resource.
    fn invalid(&self, reference: &Ref) -> Option<String> {
        self.invalid.values().find_map(|all| all.get(reference).cloned())
    }

    /// Everything that shall go.
    fn pruned(&self) -> BTreeSet<Ref> {
        self.pruned.values().flatten().cloned().collect()
    }

    /// A resource that shall go is gone.
    fn is_gone(&mut self, reference: &Ref) {
        for all in self.pruned.values_mut() {
            all.remove(reference);
        }
    }
}

/// How the agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Whether it has read what is wanted and works.
    pub ready: bool,
    /// Whether it was told to stop.
    pub stopping: bool,
    /// How many resources are wanted.
    pub resources: usize,
    /// How many wait in the queue.
    pub waiting: usize,
    /// How many are worked on.
    pub running: usize,
}

impl Agent {
    /// An agent over a world and its records; nothing happens until it runs.
    pub fn new(world: World, ledger: Ledger, settings: Settings) -> Self {
        Self(Arc::new(Core {
            world,
            ledger,
            queue: Mutex::new(Queue::new(settings.limits, settings.seed)),
            settings,
            news: Notify::new(),
            sources: Sources::default(),
            wanted: RwLock::default(),
            looks: Looks::default(),
            notes: Mutex::default(),
            turns: Mutex::default(),
            turned: Notify::new(),
            stop: AtomicBool::new(false),
            counters: Counters::default(),
        }))
    }

    /// The manifests in force.
    pub fn wanted(&self) -> Arc<Wanted> {
        self.0.wanted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Asks for a look at a resource, because something may have happened to it.
    pub fn hint(&self, reference: &Ref) {
        let (now, lanes) = (self.0.world.clock.elapsed(), self.wanted().lanes(reference));
        self.queue().enqueue(reference.clone(), lanes, now, now);
        self.0.news.notify_one();
    }

    /// Asks for a look at a resource because someone wants it done: earlier failures no longer delay it.
    pub fn urge(&self, reference: &Ref) {
        let (now, lanes) = (self.0.world.clock.elapsed(), self.wanted().lanes(reference));
        self.queue().urge(reference.clone(), lanes, now);
        self.0.news.notify_one();
    }

    /// Says that a resource was changed by someone else.
    pub fn touch(&self, reference: &Ref) {
        self.0.looks.touch(reference, self.0.world.clock.elapsed());
    }

    /// Asks for a look at everything, and for what sources have now; gives the number of the asking.
    pub fn sync(&self) -> u64 {
        let number = self.0.sources.ask();
        self.look_at_all();
        number
    }

    /// Asks for a look at everything.
    fn look_at_all(&self) {
        // What nobody told of is found now or never.
        self.world().vms.reread();
        let wanted = self.wanted();
        self.0.looks.touch_all(self.0.world.clock.elapsed());
        wanted.all().for_each(|reference| self.hint(&reference));
    }

    /// Asks it to stop: steps that have begun are finished, no other begins.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::SeqCst);
        self.0.news.notify_one();
    }

    /// Whether its loop turns once when it is asked to, within a time.
    pub async fn turns_within(&self, time: Duration) -> bool {
        let before = self.0.counters.turns();
        self.0.news.notify_one();
        let parts = 20;
        for _ in 0..parts {
            if self.0.counters.turns() != before {
                return true;
            }
            self.0.world.clock.sleep(time / parts).await;
        }
        self.0.counters.turns() != before
    }

    /// How it is.
    pub fn health(&self) -> Health {
        let (waiting, running) = self.queue().counts();
        Health {
            ready: self.0.counters.ready(),
            stopping: self.stopping(),
            resources: self.wanted().set.catalog.len(),
            waiting,
            running,
        }
    }

    /// The conditions of every resource.
    pub async fn statuses(&self) -> Result<Vec<(Ref, StatusRecord)>, Fault> {
        self.0.ledger.statuses().await
    }

    /// The whole plan for this node, looked at now.
    pub async fn plan(&self) -> Plan {
        let wanted = self.wanted();
        let catalog = &wanted.set.catalog;
        let live = observe(&self.0.world, catalog).await.knowing(&wanted.set.facts);
        let order = crate::plan::desired::order(catalog);
        let options = self.options();
        make(&Goal { catalog, order: &order, remove: &[], options }, &live)
    }

    /// Every event from now on.
    pub async fn events(&self) -> Result<ChangeStream, Fault> {
        let store = self.0.ledger.store();
        let now = store.list(&keys::events()).await?.revision;
        Ok(store.watch(&keys::events(), now).await?)
    }

    /// What may be done now.
    fn options(&self) -> Options {
        let Settings { allow, windows, .. } = &self.0.settings;
        Options { allow: windows.allowed(*allow, self.0.world.clock.now()), destroy_data: false }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Ref>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.0.stop.load(Ordering::SeqCst)
    }

    fn put_wanted(&self, wanted: Wanted) {
        *self.0.wanted.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(wanted);
    }
}
