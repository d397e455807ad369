//! What the routes need of the node they speak for: its world, its records, and how it is.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::types::SyncedSource;
use crate::agent::Agent;
use crate::agent::source::sync::Told;
use crate::base::{Disruption, Fault, FaultKind};
use crate::engine::publish::Aspect;
use crate::engine::records::Ledger;
use crate::kinds::{Ref, World};

/// How long sources are waited for; an answer must have begun before its own time is over.
const SYNC: Duration = Duration::from_secs(100);

/// One number for the metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name without the leading `reeve_`, such as `queue_waiting`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How much it is now.
    pub value: f64,
    /// Whether it only ever grows.
    pub total: bool,
}

impl Measure {
    fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, value, total: false }
    }

    fn total(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, value, total: true }
    }
}

/// Keeps others away from resources for as long as it lives.
pub type Held = Box<dyn Any + Send>;

/// How the node is, as far as can be told without asking a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether it has read what is wanted.
    pub ready: bool,
    /// What is wrong, one sentence each.
    pub wrong: Vec<String>,
}

/// A node that can be asked and changed.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// The world.
    fn world(&self) -> &World;
    /// The records.
    fn ledger(&self) -> &Ledger;
    /// How it is; answers at once, whatever hangs.
    fn condition(&self) -> Condition;
    /// How many steps of a task run at once.
    fn parallel(&self) -> usize {
        8
    }
    /// What manifests may cost when a request says nothing.
    fn allow(&self) -> Disruption {
        Disruption::Live
    }
    /// Numbers for the metrics.
    async fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
    /// Waits until nobody works on these resources, and keeps it so.
    async fn hold(&self, what: BTreeSet<Ref>) -> Held;
    /// Manifests were accepted, changed or deleted over the API.
    fn changed(&self, what: &[Ref]);
    /// Reads every source now, and says what became of it.
    async fn sync(&self) -> Vec<SyncedSource> {
        Vec::new()
    }
    /// What became of every source when it was read last.
    async fn sources(&self) -> Vec<SyncedSource> {
        Vec::new()
    }
    /// Suspends a source, or has it followed again, and says what became of it.
    async fn suspend(&self, source: &str, _suspended: bool, _who: &str) -> Result<SyncedSource, Fault> {
        Err(Fault::new(FaultKind::NotFound, format!("no source {source} is followed")))
    }
}

/// A node without an agent: what is asked is done, and nothing happens by itself.
pub struct Plain {
    world: World,
    ledger: Ledger,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Plain {
    /// A node over this world and these records.
    pub fn new(world: World, ledger: Ledger) -> Self {
        Self { world, ledger, turn: Arc::default() }
    }
}

#[async_trait]
impl Node for Plain {
    fn world(&self) -> &World {
        &self.world
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn condition(&self) -> Condition {
        Condition { ready: true, wrong: Vec::new() }
    }

    async fn hold(&self, _what: BTreeSet<Ref>) -> Held {
        Box::new(Arc::clone(&self.turn).lock_owned().await)
    }

    fn changed(&self, _what: &[Ref]) {}
}

#[async_trait]
impl Node for Agent {
    fn world(&self) -> &World {
        self.world()
    }

    fn ledger(&self) -> &Ledger {
        self.ledger()
    }

    fn condition(&self) -> Condition {
        let health = self.health();
        let mut wrong = Vec::new();
        if !health.ready {
            wrong.push("it has not read what is wanted yet".to_owned());
        }
        if health.stopping {
            wrong.push("it was told to stop".to_owned());
        }
        Condition { ready: health.ready && !health.stopping, wrong }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    async fn measures(&self) -> Vec<Measure> {
        let (health, counted) = (self.health(), self.counters().read());
        let mut all = vec![
            Measure::total("reconciles", "How often a resource was looked at", counted.looked as f64),
            Measure::total("reconcile_seconds", "How long all looks took together", counted.micros as f64 / 1e6),
            Measure::total("changes", "How often a resource was changed", counted.changed as f64),
            Measure::total("failures", "How often the work on a resource failed", counted.failed as f64),
            Measure::total("source_readings", "How often a source was read", counted.readings as f64),
            Measure::gauge("resources", "Resources that are wanted", health.resources as f64),
            Measure::gauge("queue_waiting", "Resources that wait in the queue", health.waiting as f64),
            Measure::gauge("queue_running", "Resources that are worked on", health.running as f64),
        ];
        if let Ok(told) = self.statuses().await {
            let drifted = told.iter().filter(|(_, record)| record.holds(Aspect::Drifted)).count();
            all.push(Measure::gauge("drifted", "Resources that have drifted", drifted as f64));
        }
        if let Ok(listing) = self.ledger().store().list("none").await {
            all.push(Measure::gauge("store_revision", "The store's revision", listing.revision as f64));
        }
        all
    }

    async fn hold(&self, what: BTreeSet<Ref>) -> Held {
        Box::new(Agent::hold(self, what).await)
    }

    async fn sync(&self) -> Vec<SyncedSource> {
        self.sync_sources(SYNC).await.into_iter().map(|(name, told)| synced(name, told)).collect()
    }

    async fn sources(&self) -> Vec<SyncedSource> {
        self.told_sources().into_iter().map(|(name, told)| synced(name, told)).collect()
    }

    async fn suspend(&self, source: &str, suspended: bool, who: &str) -> Result<SyncedSource, Fault> {
        let (name, told) = self.suspend_source(source, suspended, who, SYNC).await?;
        Ok(synced(name, told))
    }

    fn changed(&self, what: &[Ref]) {
        for reference in what {
            self.touch(reference);
            self.hint(reference);
        }
    }
}

fn synced(name: String, told: Told) -> SyncedSource {
    let Told { done, commit, reading, fault, suspended } = told;
    let reading = reading.unwrap_or_default();
    let named =
        |all: std::collections::BTreeMap<Ref, String>| all.into_iter().map(|(r, why)| (r.to_string(), why)).collect();
    SyncedSource {
        name,
        done,
        commit,
        suspended: suspended.map(|suspension| suspension.words()),
        fault: fault.map(|fault| fault.to_string()),
        valid: reading.valid,
        refused: named(reading.refused),
        waits: named(reading.waits),
        problems: reading.problems,
        gone: reading.gone.iter().map(ToString::to_string).collect(),
        kept: reading.kept,
    }
}
