//! The handles a kind may use to see and change the world, and the task in which it does so.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{KindName, Metadata, Ref, Scope, Spec};
use crate::base::clock::SystemClock;
use crate::base::secret::Secrets;
use crate::base::{Clock, Disruption, Fault, FaultKind, Mark, Name, Uid};
use crate::drivers::container::{self, CtDriver};
use crate::drivers::guest::{self, VmDriver};
use crate::drivers::network::NetworkDrivers;
use crate::drivers::storage::{Storage, Storages};

/// Where the hypervisor is, when nothing else is said.
pub const HYPERVISOR: &str = "qemu:///system";

/// Where the outside of a node is.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The node's name.
    pub node: Name,
    /// Where Reeve keeps its own files.
    pub data_dir: PathBuf,
    /// The hypervisor's address; libvirt's on this host when not given.
    pub hypervisor: Option<String>,
    /// The container runtime's address; LXC's on this host when not given.
    pub containers: Option<String>,
}

/// Everything outside that kinds may reach.
pub struct World {
    /// This node's name.
    pub node: Name,
    /// Where Reeve keeps its own files.
    pub data_dir: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Secret values.
    pub secrets: Secrets,
    /// Storage drivers, opened once and kept.
    pub storages: Storages,
    /// The hypervisor of virtual machines.
    pub vms: Arc<dyn VmDriver>,
    /// Network drivers.
    pub networks: NetworkDrivers,
    /// The runtime of containers.
    pub cts: Arc<dyn CtDriver>,
}

impl World {
    /// The world of this node, as `reach` says; nothing is connected or touched yet.
    pub fn open(reach: Reach) -> Self {
        let Reach { node, data_dir, hypervisor, containers } = reach;
        let secrets = Secrets::below(&data_dir.join("secrets"));
        let hypervisor = hypervisor.as_deref().unwrap_or(HYPERVISOR);
        let vms = guest::open(hypervisor, &data_dir);
        let networks = NetworkDrivers::open(hypervisor, &data_dir);
        let cts = container::open(containers.as_deref().unwrap_or(container::CONTAINERS));
        Self {
            node,
            data_dir,
            clock: Arc::new(SystemClock),
            secrets,
            storages: Storages::default(),
            vms,
            cts,
            networks,
        }
    }

    /// The storage of that name, opened by its manifest.
    pub fn storage(&self, scope: &Scope<'_>, name: &Name) -> Result<Arc<dyn Storage>, Fault> {
        match scope.spec(KindName::Storage, name) {
            Some(Spec::Storage(spec)) => self.storages.open(name, spec, &self.secrets),
            _ => Err(Fault::new(FaultKind::NotFound, format!("storage/{name} is in no manifest"))
                .help("add a Storage manifest of that name, or give its file on the command line")),
        }
    }
}

/// What the person allows a run to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// The greatest disruption that may be done now.
    pub allow: Disruption,
    /// Whether a delete takes the data with it.
    pub destroy_data: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { allow: Disruption::Live, destroy_data: false }
    }
}

/// Writes down what is about to be done, and that it was done.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Durably notes an intent; gives its identifier.
    async fn intent(&self, resource: &Ref, uid: Uid, effect: &str, detail: &Value) -> Result<Uid, Fault>;
    /// Durably notes that the effect is done.
    async fn done(&self, id: Uid) -> Result<(), Fault>;
}

/// Shows how far a long effect is.
pub trait Progress: Send + Sync {
    /// `done` of `total` (0 when not known), in bytes or steps, for this resource.
    fn step(&self, resource: &Ref, what: &str, done: u64, total: u64);
}

/// One step of a plan while it is carried out.
pub struct Task<'a> {
    /// The world.
    pub world: &'a World,
    /// The manifests in force.
    pub scope: Scope<'a>,
    /// What is worked on.
    pub reference: &'a Ref,
    /// Its envelope.
    pub meta: &'a Metadata,
    /// Its identifier.
    pub uid: Uid,
    /// What is allowed.
    pub options: Options,
    /// The journal.
    pub journal: &'a dyn Journal,
    /// Progress for people.
    pub progress: &'a dyn Progress,
}

impl Task<'_> {
    /// Does one outside effect: its intent is durable before it starts, its result after it ends.
    ///
    /// An effect must be safe to repeat: after a crash it is found in the journal and the step is made again.
    pub async fn effect<T>(
        &self,
        name: &str,
        detail: Value,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let id = self.journal.intent(self.reference, self.uid, name, &detail).await?;
        let result = work.await;
        // A failed effect stays in the journal unless the failure proves that nothing happened.
        if result.is_ok() {
            self.journal.done(id).await?;
        }
        result
    }

    /// The mark for what this task makes; `applied` is the spec once everything is done.
    pub fn mark(&self, applied: Option<Value>) -> Mark {
        Mark { uid: self.uid, resource: self.reference.to_string(), applied }
    }
}
