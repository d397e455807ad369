//! What goes wrong outside: calls that fail before or after their work, take long, or happen twice; commits that fail.
//!
//! Every changing call is also held against what must never happen: two at once on one guest, an end to a guest that
//! shall run, a guest with another identity.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use reeve::base::{Clock, Fault, FaultKind};
use reeve::drivers::guest::fake::Fake;
use reeve::drivers::guest::{Balloons, Capabilities, Changed, Domain, Machine, Record, SecretValues, Target, VmDriver};
use reeve::drivers::storage::fake::Fake as FakeStorage;
use reeve::store::{ChangeStream, Entry, Error, Lease, Listing, Memory, Revision, Store, Txn};
use uuid::Uuid;

use super::clock::SimClock;

/// The source of all trouble.
pub struct Chaos {
    clock: Arc<SimClock>,
    state: Mutex<State>,
}

struct State {
    chance: fastrand::Rng,
    calm: bool,
    busy: BTreeSet<String>,
    may_end: BTreeSet<String>,
    owners: BTreeMap<String, Uuid>,
    /// By volume: how much of the storage's log there was when a machine's record first had it.
    attached: BTreeMap<String, usize>,
    violations: Vec<String>,
    listings: usize,
    trace: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Fails,
    FailsAfter,
    Slow(u64),
    Twice,
}

/// Takes the call out of the busy ones, however it ends: a dropped call has ended too.
struct Guard<'a>(&'a Chaos, String);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().busy.remove(&self.1);
    }
}

impl Chaos {
    /// Trouble that comes from `seed`.
    pub fn new(clock: Arc<SimClock>, seed: u64) -> Self {
        let state = State {
            chance: fastrand::Rng::with_seed(seed),
            calm: false,
            busy: BTreeSet::new(),
            may_end: BTreeSet::new(),
            owners: BTreeMap::new(),
            attached: BTreeMap::new(),
            violations: Vec::new(),
            listings: 0,
            trace: Vec::new(),
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// From now on everything works, or not any more.
    pub fn calm(&self, calm: bool) {
        self.state.lock().unwrap().calm = calm;
    }

    /// Whether ending this guest is what is wanted.
    pub fn may_end(&self, name: &str, may: bool) {
        let mut state = self.state.lock().unwrap();
        if may {
            state.may_end.insert(name.to_owned());
        } else {
            state.may_end.remove(name);
            state.owners.remove(name);
        }
    }

    /// Every volume that a machine's record ever had, and how long the storage's log was when it first did.
    pub fn attached(&self) -> BTreeMap<String, usize> {
        self.state.lock().unwrap().attached.clone()
    }

    fn attach(&self, record: &Record, since: usize) {
        let mut state = self.state.lock().unwrap();
        for volume in record.disks.values().filter_map(|origin| origin.volume.clone()) {
            state.attached.entry(volume).or_insert(since);
        }
    }

    /// How often all machines were listed.
    pub fn listings(&self) -> usize {
        self.state.lock().unwrap().listings
    }

    /// What must never happen and did.
    pub fn violations(&self) -> Vec<String> {
        self.state.lock().unwrap().violations.clone()
    }

    /// Every changing call, with its time and what became of it.
    pub fn trace(&self) -> Vec<String> {
        self.state.lock().unwrap().trace.clone()
    }

    /// Notes what else happened between the calls.
    pub fn note(&self, what: String) {
        let at = self.clock.elapsed().as_millis();
        self.state.lock().unwrap().trace.push(format!("{at} {what}"));
    }

    fn roll(&self) -> (Trouble, u8) {
        let mut state = self.state.lock().unwrap();
        let yields = state.chance.u8(0..3);
        if state.calm {
            return (Trouble::None, yields);
        }
        let trouble = match state.chance.u8(0..20) {
            0 | 1 => Trouble::Fails,
            2 | 3 => Trouble::FailsAfter,
            4 => Trouble::Slow(state.chance.u64(1..40)),
            5 => Trouble::Twice,
            _ => Trouble::None,
        };
        (trouble, yields)
    }

    fn enter(&self, what: &str, on: &str, owner: Option<Uuid>) -> Guard<'_> {
        let mut state = self.state.lock().unwrap();
        if !state.busy.insert(on.to_owned()) {
            state.violations.push(format!("{what} {on} while another call changes it"));
        }
        if matches!(what, "shutdown" | "destroy" | "undefine") && !state.may_end.contains(on) {
            state.violations.push(format!("{what} {on}, which shall run"));
        }
        if let Some(owner) = owner {
            let known = *state.owners.entry(on.to_owned()).or_insert(owner);
            if known != owner {
                state.violations.push(format!("{on} was {known} and is to be {owner}"));
            }
        }
        Guard(self, on.to_owned())
    }

    async fn call<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        (what, on, owner): (&str, &str, Option<Uuid>),
        work: impl Fn() -> F,
    ) -> Result<T, Fault> {
        let _busy = self.enter(what, on, owner);
        let (trouble, yields) = self.roll();
        let at = self.clock.elapsed().as_millis();
        self.state.lock().unwrap().trace.push(format!("{at} {what} {on} {trouble:?}"));
        pauses(yields).await;
        let failed = || Fault::new(FaultKind::Unavailable, format!("{what} {on} was told to fail"));
        let done = match trouble {
            Trouble::Fails => return Err(failed()),
            Trouble::FailsAfter => work().await.and_then(|_| Err(failed())),
            Trouble::Slow(seconds) => {
                self.clock.sleep(Duration::from_secs(seconds)).await;
                work().await
            }
            Trouble::Twice => {
                work().await?;
                work().await
            }
            Trouble::None => work().await,
        };
        pauses(yields).await;
        done
    }
}

/// Points at which everything may be broken off.
async fn pauses(count: u8) {
    for _ in 0..count {
        pending_once().await;
    }
}

/// Lets go once, and is ready the next time.
async fn pending_once() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A hypervisor that does not always do as it is told.
pub struct ChaosVms {
    /// The hypervisor.
    pub inner: Arc<Fake>,
    /// The trouble.
    pub chaos: Arc<Chaos>,
    /// Where the volumes are.
    pub storage: Arc<FakeStorage>,
}

#[async_trait]
impl VmDriver for ChaosVms {
    fn name(&self) -> &'static str {
        "chaos"
    }

    async fn capabilities(&self) -> Result<Capabilities, Fault> {
        self.inner.capabilities().await
    }

    async fn list(&self) -> Result<BTreeMap<String, Result<Domain, Fault>>, Fault> {
        self.chaos.state.lock().unwrap().listings += 1;
        let (trouble, yields) = self.chaos.roll();
        pauses(yields).await;
        match trouble {
            Trouble::Fails => Err(Fault::new(FaultKind::Unavailable, "the hypervisor does not answer")),
            Trouble::Slow(seconds) => {
                let seen = self.inner.list().await;
                self.chaos.clock.sleep(Duration::from_secs(seconds)).await;
                seen
            }
            _ => self.inner.list().await,
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Domain>, Fault> {
        pauses(1).await;
        self.inner.find(name).await
    }

    async fn define(
        &self,
        name: &str,
        uuid: Uuid,
        machine: &Machine,
        record: &Record,
        secrets: &SecretValues,
    ) -> Result<(), Fault> {
        let owner = Some(record.mark.uid.uuid());
        let call = ("define", name, owner);
        let define = || async {
            self.inner.define(name, uuid, machine, record, secrets).await?;
            self.chaos.attach(record, self.storage.log().len());
            Ok(())
        };
        self.chaos.call(call, define).await
    }

    async fn reconfigure(
        &self,
        target: &Target<'_>,
        old: &Domain,
        new: &Machine,
        paths: &[String],
        secrets: &SecretValues,
        now: bool,
    ) -> Result<Changed, Fault> {
        let call = ("reconfigure", target.name, None);
        let change = || self.inner.reconfigure(target, old, new, paths, secrets, now);
        self.chaos.call(call, change).await
    }

    async fn set_record(&self, target: &Target<'_>, record: &Record) -> Result<(), Fault> {
        let set = || async {
            self.inner.set_record(target, record).await?;
            self.chaos.attach(record, self.storage.log().len());
            Ok(())
        };
        self.chaos.call(("set_record", target.name, None), set).await
    }

    async fn start(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.chaos.call(("start", target.name, None), || self.inner.start(target)).await
    }

    async fn shutdown(&self, target: &Target<'_>, within: Duration) -> Result<bool, Fault> {
        self.chaos.call(("shutdown", target.name, None), || self.inner.shutdown(target, within)).await
    }

    async fn destroy(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.chaos.call(("destroy", target.name, None), || self.inner.destroy(target)).await
    }

    async fn undefine(&self, target: &Target<'_>) -> Result<(), Fault> {
        self.chaos.call(("undefine", target.name, None), || self.inner.undefine(target)).await
    }

    async fn console(&self, target: &Target<'_>) -> Result<PathBuf, Fault> {
        self.inner.console(target).await
    }

    fn balloons(&self) -> Option<&dyn Balloons> {
        self.inner.balloons()
    }
}

/// A store whose commits may fail, and whose user may crash before or after one is done.
pub struct ChaosStore {
    /// The store.
    pub inner: Arc<Memory>,
    /// The trouble.
    pub chaos: Arc<Chaos>,
}

#[async_trait]
impl Store for ChaosStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.inner.list(prefix).await
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, Error> {
        let (trouble, yields) = self.chaos.roll();
        pauses(yields).await;
        let full = || Error::Io {
            action: "write",
            path: "store".into(),
            source: Arc::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
        };
        match trouble {
            Trouble::Fails => return Err(full()),
            Trouble::Slow(seconds) => self.chaos.clock.sleep(Duration::from_secs(seconds)).await,
            _ => {}
        }
        let done = self.inner.commit(txn).await;
        pauses(yields).await;
        done
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<ChangeStream, Error> {
        self.inner.watch(prefix, after).await
    }

    async fn lease_grant(&self, name: &str, owner: &str, ttl: Duration) -> Result<Lease, Error> {
        self.inner.lease_grant(name, owner, ttl).await
    }

    async fn lease_renew(&self, lease: &Lease) -> Result<Lease, Error> {
        self.inner.lease_renew(lease).await
    }

    async fn lease_release(&self, lease: &Lease) -> Result<(), Error> {
        self.inner.lease_release(lease).await
    }

    async fn lease_get(&self, name: &str) -> Result<Option<Lease>, Error> {
        self.inner.lease_get(name).await
    }
}
