//! What the routes need of the node they speak for: its world, its records, and how it is.

use crate::base::Disruption;
use crate::engine::records::Ledger;
use crate::kinds::{Ref, World};

/// One number for the metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Its name without the leading `reeve_`, such as `queue_waiting`.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// How much it is now.
    pub value: f64,
}

/// How the node is, as far as can be told without asking a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether it has read what is wanted.
    pub ready: bool,
    /// What is wrong, one sentence each.
    pub wrong: Vec<String>,
}

/// A node that can be asked and changed.
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
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }
    /// Manifests were accepted, changed or deleted over the API.
    fn changed(&self, what: &[Ref]);
}

/// A node without an agent: what is asked is done, and nothing happens by itself.
pub struct Plain {
    world: World,
    ledger: Ledger,
}

impl Plain {
    /// A node over this world and these records.
    pub fn new(world: World, ledger: Ledger) -> Self {
        Self { world, ledger }
    }
}

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

    fn changed(&self, _what: &[Ref]) {}
}
