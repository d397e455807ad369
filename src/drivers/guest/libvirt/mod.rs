//! Virtual machines through libvirt.
//!
//! Every call goes to a [`Pool`] of connections, on threads of its own, with a deadline. A machine becomes a domain's XML
//! and comes back from it in `xml`; what is ours carries our record in the domain's metadata, and each device its name as
//! a user alias. Reading is in bulk: one list, one state call, and the XML of those domains only that are new or of
//! which an event said that they changed (`survey`). A change is always written to the configured domain as an edit
//! of what is there, and done to the running guest first where that works without a restart (`reconfigure`).
//!
//! ```text
//! list, find        survey     -> xml::read; log where libvirt forgot why a machine stopped; cache keeps what was read until events say that it changed
//! glance            survey, with no XML at all
//! define            lifecycle  -> xml::build
//! reconfigure       reconfigure-> xml::overlay, xml::patch; live: one libvirt call a change
//! start .. undefine lifecycle
//! snapshots, agent  snapshot, agent
//! capabilities      capabilities, probe
//! (the library)     library    -> loaded when the first connection is opened
//! ```

mod agent;
mod balloon;
mod cache;
mod capabilities;
pub mod connection;
mod error;
mod events;
mod ffi;
mod library;
mod lifecycle;
mod live;
mod log;
mod probe;
mod reconfigure;
mod snapshot;
mod survey;
pub mod xml;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use capabilities::{Accelerators, Finding, Kvm};
pub use connection::{Call, Done, Limits, Pool, SYSTEM};
pub use error::Failure;
pub use library::load;

use super::{
    Balloons, Capabilities, Changed, Domain, Glance, GuestAgent, GuestSnapshots, Machine, News, Record, SecretValues,
    Target, VmDriver,
};
use crate::base::{Fault, FaultKind, Uid};
use crate::kinds::vm::Accelerator;
use cache::Cache;
use events::Events;

/// The driver.
pub struct Libvirt {
    sight: Sight,
    accelerators: Accelerators,
    capabilities: OnceCell<Capabilities>,
    /// A list that was begun before it was asked for.
    ahead: Mutex<Option<JoinHandle<Listing>>>,
}

/// What is needed to look; clones look through the same connection and cache.
#[derive(Clone)]
pub struct Sight {
    pool: Pool,
    host: xml::Host,
    cache: Arc<Cache>,
    events: Arc<Events>,
    /// How often everything was listed.
    looks: Arc<AtomicUsize>,
}

type Listing = Result<BTreeMap<String, Result<Domain, Fault>>, Fault>;

impl std::ops::Deref for Libvirt {
    type Target = Sight;
    fn deref(&self) -> &Sight {
        &self.sight
    }
}

impl Libvirt {
    /// The driver over these connections; what it finds out about the host it keeps below `data_dir`.
    pub fn new(pool: Pool, data_dir: PathBuf) -> Self {
        let cache = Arc::new(Cache::default());
        let events = Arc::new(Events::new(cache.clone()));
        let sight = Sight { host: xml::Host::here(pool.uri()), cache, events, looks: Arc::default(), pool };
        Self {
            sight,
            accelerators: Accelerators::new(data_dir),
            capabilities: OnceCell::new(),
            ahead: Mutex::default(),
        }
    }

    /// The connections, for others that talk to the same libvirt.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Which accelerators work here; what `reeve doctor` tells.
    pub fn accelerators(&self) -> &Accelerators {
        &self.accelerators
    }

    /// The machine with `accelerator: auto` turned into what works here.
    async fn resolved(&self, machine: &Machine) -> Result<Machine, Fault> {
        let mut machine = machine.clone();
        if machine.spec.accelerator() == Accelerator::Auto {
            let found = if self.host.test { Accelerator::Tcg } else { self.accelerators.best().await };
            machine.spec.accelerator = Some(found);
        }
        Ok(machine)
    }
}

/// Which machine is meant, for use on another thread.
#[derive(Debug, Clone)]
struct Meant {
    name: String,
    uuid: Uuid,
    owner: Option<Uid>,
}

impl From<&Target<'_>> for Meant {
    fn from(target: &Target<'_>) -> Self {
        Self { name: target.name.to_owned(), uuid: target.uuid, owner: target.owner }
    }
}

impl Meant {
    /// The domain, when it is there and whose it must be.
    fn find(&self, connection: &virt::connect::Connect) -> Done<Option<virt::domain::Domain>> {
        let domain = match virt::domain::Domain::lookup_by_uuid(connection, self.uuid) {
            Ok(domain) => domain,
            Err(error) => {
                let failure = Failure::from(error);
                return if failure.not_found() { Ok(None) } else { Err(failure) };
            }
        };
        let record = lifecycle::record_of(&domain)?;
        Target { name: &self.name, uuid: self.uuid, owner: self.owner }.check_owner(record.as_ref())?;
        Ok(Some(domain))
    }

    /// The domain, which must be there.
    fn open(&self, connection: &virt::connect::Connect) -> Done<virt::domain::Domain> {
        self.find(connection)?.ok_or_else(|| {
            let said = format!("there is no domain {} with the UUID {}", self.name, self.uuid);
            Fault::new(FaultKind::NotFound, said).help("plan again: it was removed meanwhile").into()
        })
    }
}

#[async_trait]
impl VmDriver for Libvirt {
    fn name(&self) -> &'static str {
        "libvirt"
    }

    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        self.capabilities.get_or_try_init(|| capabilities::read(self)).await.cloned()
    }

    async fn list(&self) -> Listing {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
        let begun = match ahead {
            Some(ahead) => ahead.await.ok(),
            None => None,
        };
        let mut found = match begun {
            Some(listing) => listing?,
            None => survey::list(self).await?,
        };
        if !self.host.test {
            log::recall(&mut found).await;
        }
        Ok(found)
    }

    fn read_ahead(&self) {
        let sight = self.sight.clone();
        let begun = tokio::spawn(async move { survey::list(&sight).await });
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
    }

    fn reread(&self) {
        self.cache.drop_all();
    }

    fn news(&self) -> BoxStream<'static, News> {
        self.events.news()
    }

    async fn glance(&self) -> Result<BTreeMap<String, Glance>, Fault> {
        survey::glance(self).await
    }

    async fn find(&self, name: &str) -> Result<Option<Domain>, Fault> {
        let mut found: BTreeMap<_, _> =
            survey::find(self, name).await?.into_iter().map(|domain| (name.to_owned(), Ok(domain))).collect();
        if !self.host.test {
            log::recall(&mut found).await;
        }
        found.remove(name).transpose()
    }

    async fn define(
        &self,
        name: &str,
        uuid: Uuid,
        machine: &Machine,
        record: &Record,
        secrets: &SecretValues,
    ) -> Result<(), Fault> {
        let machine = self.resolved(machine).await?;
        lifecycle::define(self, name, uuid, &machine, record, secrets).await
    }

    async fn reconfigure(
        &self,
        target: &Target<'_>,
        _old: &Domain,
        new: &Machine,
        paths: &[String],
        secrets: &SecretValues,
        now: bool,
    ) -> Result<Changed, Fault> {
        let new = if paths.iter().any(|p| p == "accelerator") { self.resolved(new).await? } else { new.clone() };
        reconfigure::reconfigure(self, target.into(), &new, paths, secrets, now).await
    }

    async fn set_record(&self, target: &Target<'_>, record: &Record) -> Result<(), Fault> {
        lifecycle::set_record(self, target.into(), record).await
    }

    async fn start(&self, target: &Target<'_>) -> Result<(), Fault> {
        lifecycle::start(self, target.into()).await
    }

    async fn shutdown(&self, target: &Target<'_>, within: Duration) -> Result<bool, Fault> {
        lifecycle::shutdown(self, target.into(), within).await
    }

    async fn destroy(&self, target: &Target<'_>) -> Result<(), Fault> {
        lifecycle::destroy(self, target.into()).await
    }

    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault> {
        lifecycle::undefine(self, target.into()).await
    }

    async fn console(&self, target: &Target<'_>) -> Result<PathBuf, Fault> {
        lifecycle::console(self, target.into()).await
    }

    fn snapshots(&self) -> Option<&dyn GuestSnapshots> {
        Some(self)
    }

    fn agent(&self) -> Option<&dyn GuestAgent> {
        Some(self)
    }

    fn balloons(&self) -> Option<&dyn Balloons> {
        Some(self)
    }
}
