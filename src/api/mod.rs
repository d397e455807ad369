//! The local API: HTTP and JSON on a Unix socket, for root and the group `reeve`.
//!
//! ```text
//! serve     the socket: who is there, how many, how long they may take
//! routes    the one list of routes: it makes the router and the OpenAPI document
//! resources plans asked overrides tasks events records health    what each route does
//! client    the other end: how a command asks the agent
//! node      what the routes need of the node; whoever serves them hands one in
//! problem   one place that turns what went wrong into an answer (RFC 9457)
//! ```
//!
//! Reading looks at the node as `reeve get` does; changing takes the spine of `reeve apply` and is a task that goes on when
//! its client leaves. Health, metrics, tasks and events touch no driver, so that they answer while one hangs.

pub mod asked;
pub mod client;
pub mod events;
pub mod health;
pub mod metrics;
pub mod node;
pub mod openapi;
pub mod overrides;
pub mod peer;
pub mod plans;
pub mod problem;
pub mod records;
pub mod resources;
pub mod routes;
pub mod run;
pub mod serve;
mod sources;
pub mod take;
pub mod tasks;
pub mod types;
pub mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::metrics::Metrics;
use self::node::Node;
use self::tasks::Tasks;
use self::view::Views;

/// The socket when nothing else is said.
pub const SOCKET: &str = "/run/reeve/reeve.sock";

/// All that the routes share; a clone is the same.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    node: Arc<dyn Node>,
    tasks: Tasks,
    views: Views,
    metrics: Metrics,
    /// Held between what is read of the store and what is accepted, and never while a driver works.
    accepting: tokio::sync::Mutex<()>,
    closing: AtomicBool,
}

impl Api {
    /// An API over a node.
    pub fn new(node: Arc<dyn Node>) -> Self {
        Self(Arc::new(Shared {
            node,
            tasks: Tasks::default(),
            views: Views::default(),
            metrics: Metrics::default(),
            accepting: tokio::sync::Mutex::default(),
            closing: AtomicBool::new(false),
        }))
    }

    /// The node.
    pub fn node(&self) -> &dyn Node {
        &*self.0.node
    }

    /// What was started.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Takes no new task, and asks those that run to begin no further step.
    pub fn close(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.tasks.cancel_all();
    }

    /// Whether it takes no new task.
    pub fn closing(&self) -> bool {
        self.0.closing.load(Ordering::SeqCst)
    }
}
