//! Reads what is there: every domain in as few calls as it takes.
//!
//! One call lists the domains, one tells the state of all. The XML of each costs a call of its own, so it is fetched over
//! several connections at once, and not at all where events say that nothing changed since it was read last.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::connection::{Call, Done};
use super::error::Failure;
use super::xml::{self, Element, Host, mark};
use super::{Libvirt, ffi, lifecycle};
use crate::base::{Fault, Name, Size};
use crate::drivers::guest::{Domain, Machine, Power, Stop};
use crate::kinds::vm::Media;

/// From this many domains on, several connections fetch.
const SHARE_FROM: usize = 64;

/// Domains as they were read, until something says that they changed.
#[derive(Default)]
pub struct Cache {
    inner: Mutex<Inner>,
    clock: AtomicU64,
    lists: AtomicUsize,
}

#[derive(Default)]
struct Inner {
    domains: HashMap<Uuid, (Option<u32>, Seen)>,
    /// When each domain changed last, on our own clock.
    touched: HashMap<Uuid, u64>,
    all_touched: u64,
}

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something changed about this domain.
    pub fn forget(&self, uuid: Uuid) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        let mut inner = self.lock();
        inner.domains.remove(&uuid);
        inner.touched.insert(uuid, now);
    }

    /// Anything may have changed.
    pub fn forget_all(&self) {
        let now = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        *self.lock() = Inner { all_touched: now, ..Inner::default() };
    }

    fn get(&self, uuid: Uuid, id: Option<u32>) -> Option<Seen> {
        self.lock().domains.get(&uuid).filter(|(known, _)| *known == id).map(|(_, seen)| seen.clone())
    }

    /// Keeps what was read, unless it changed after `since`.
    fn put(&self, id: Option<u32>, seen: Seen, since: u64) {
        let mut inner = self.lock();
        let uuid = seen.0.uuid;
        if inner.all_touched <= since && inner.touched.get(&uuid).is_none_or(|at| *at <= since) {
            inner.domains.insert(uuid, (id, seen));
        }
    }

    fn keep_only(&self, there: &HashMap<Uuid, Found>) {
        let mut inner = self.lock();
        inner.domains.retain(|uuid, _| there.contains_key(uuid));
        inner.touched.retain(|uuid, _| there.contains_key(uuid));
    }
}

/// A domain as the list has it.
#[derive(Debug, Clone)]
struct Found {
    name: String,
    id: Option<u32>,
    state: Option<(u32, i32)>,
}

/// How long a guest that was started may take to give back the memory it was not meant to have.
const SETTLING: Duration = Duration::from_secs(180);

type Listed = BTreeMap<String, Result<Seen, Fault>>;

/// A domain with the names of its devices by what identifies them.
type Seen = (Arc<Domain>, Arc<xml::Names>);

/// Every domain.
pub async fn list(libvirt: &Libvirt) -> Result<BTreeMap<String, Result<Domain, Fault>>, Fault> {
    // One look needs no events; whoever looks again gets them.
    if libvirt.cache.lists.fetch_add(1, Ordering::Relaxed) > 0
        && let Err(fault) = libvirt.events.listen(&libvirt.pool).await
    {
        tracing::debug!(%fault, "reading every domain, without events");
    }
    let listening = libvirt.events.listening();
    let since = libvirt.cache.clock.load(Ordering::SeqCst);
    let (cache, host) = (libvirt.cache.clone(), libvirt.host);
    let call = Call::read("listing libvirt's domains");
    let (found, mut listed, missing) = libvirt
        .pool
        .call(call, move |connection| {
            let handles = connection.list_all_domains(0)?;
            let found = states(connection, &handles)?;
            let mut listed = Listed::new();
            let mut missing = Vec::new();
            for handle in handles {
                let uuid = handle.get_uuid()?;
                let Some(seen) = found.get(&uuid) else { continue };
                match cache.get(uuid, seen.id).filter(|_| listening) {
                    Some((known, names)) => {
                        let known = Arc::new(with_state(&known, seen));
                        listed.insert(seen.name.clone(), Ok((known, names)));
                    }
                    None => missing.push((uuid, handle)),
                }
            }
            if missing.len() < SHARE_FROM {
                for (_, handle) in missing.drain(..) {
                    add(&mut listed, &handle, &found, host);
                }
            }
            let missing: Vec<Uuid> = missing.into_iter().map(|(uuid, _)| uuid).collect();
            Ok((Arc::new(found), listed, Arc::new(missing)))
        })
        .await?;
    if !missing.is_empty() {
        for part in fetch_shared(libvirt, &found, &missing).await {
            listed.extend(part?);
        }
    }
    add_sizes(libvirt, &mut listed).await;
    if listening {
        libvirt.cache.keep_only(&found);
        for seen in listed.values().flatten() {
            let id = found.get(&seen.0.uuid).and_then(|f| f.id);
            libvirt.cache.put(id, seen.clone(), since);
        }
    }
    let own = |(domain, _): Seen| Arc::unwrap_or_clone(domain);
    Ok(listed.into_iter().map(|(name, seen)| (name, seen.map(own))).collect())
}

/// Name, number and state of each, in one more call.
fn states(connection: &Connect, handles: &[Handle]) -> Done<HashMap<Uuid, Found>> {
    let mut found = HashMap::with_capacity(handles.len());
    for handle in handles {
        found.insert(handle.get_uuid()?, Found { name: handle.get_name()?, id: handle.get_id(), state: None });
    }
    // libvirt's test driver has no such call in older versions; then no state is known here.
    let stats = ffi::all_stats(connection, sys::VIR_DOMAIN_STATS_STATE, 0).unwrap_or_default();
    for stat in stats {
        let number = |name| stat.number(name).and_then(|n| i32::try_from(n).ok());
        if let (Some(found), Some(state)) = (found.get_mut(&stat.uuid), number("state.state")) {
            found.state = Some((state.cast_unsigned(), number("state.reason").unwrap_or(0)));
        }
    }
    for handle in handles {
        if let Some(found) = found.get_mut(&handle.get_uuid()?)
            && found.state.is_none()
        {
            found.state = handle.get_state().ok();
        }
    }
    Ok(found)
}

/// Fetches over all connections at once; each takes the next domain that nobody has taken.
async fn fetch_shared(
    libvirt: &Libvirt,
    found: &Arc<HashMap<Uuid, Found>>,
    missing: &Arc<Vec<Uuid>>,
) -> Vec<Result<Listed, Fault>> {
    let next = Arc::new(AtomicUsize::new(0));
    let host = libvirt.host;
    let calls = (0..libvirt.pool.width()).map(|_| {
        let (found, missing, next) = (found.clone(), missing.clone(), next.clone());
        libvirt.pool.call(Call::read("reading libvirt's domains"), move |connection| {
            // A handle belongs to its connection, and one list is cheaper than a look-up each.
            let handles: HashMap<Uuid, Handle> = connection
                .list_all_domains(0)?
                .into_iter()
                .filter_map(|handle| Some((handle.get_uuid().ok()?, handle)))
                .collect();
            let mut listed = Listed::new();
            while let Some(uuid) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(handle) = handles.get(uuid) {
                    add(&mut listed, handle, &found, host);
                }
            }
            Ok(listed)
        })
    });
    futures::future::join_all(calls).await
}

/// Reads one domain into the list; one that is gone is left out.
fn add(listed: &mut Listed, handle: &Handle, found: &HashMap<Uuid, Found>, host: Host) {
    let Ok(uuid) = handle.get_uuid() else { return };
    let Some(seen) = found.get(&uuid) else { return };
    match read(handle, seen, uuid, host) {
        Ok(domain) => drop(listed.insert(seen.name.clone(), Ok(domain))),
        Err(failure) if failure.not_found() => {}
        Err(failure) => {
            let fault = Fault::from(failure).context(format!("reading domain {}", seen.name));
            listed.insert(seen.name.clone(), Err(fault));
        }
    }
}

/// Reads one domain, both as it is configured and as it runs.
fn read(handle: &Handle, seen: &Found, uuid: Uuid, host: Host) -> Done<Seen> {
    let inactive = handle.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?;
    let live = if seen.id.is_some() { Some(handle.get_xml_desc(0)?) } else { None };
    Ok(parse(&inactive, live.as_deref(), seen, uuid, host)?)
}

fn parse(inactive: &str, live: Option<&str>, seen: &Found, uuid: Uuid, host: Host) -> Result<Seen, Fault> {
    let domain = Element::read(inactive)?;
    let (configured, names) = xml::read(&domain, host, None)?;
    let running = match live {
        Some(text) => {
            let live = Element::read(text)?;
            let (mut running, _) = xml::read(&live, host, Some(&names))?;
            xml::settle(&mut running, &configured, has_just_started(&seen.name));
            Some(running)
        }
        None => None,
    };
    let domain = Domain {
        name: seen.name.clone(),
        uuid,
        record: mark::find(&domain)?,
        power: Power::Stopped,
        stop: None,
        configured,
        running,
        unnamed: names.unnamed.clone(),
    };
    Ok((Arc::new(with_state(&domain, seen)), Arc::new(names)))
}

/// Whether QEMU was started within the last minutes, which the age of its file says.
pub fn has_just_started(name: &str) -> bool {
    let file = std::path::Path::new("/run/libvirt/qemu").join(name).with_added_extension("pid");
    let started = std::fs::metadata(file).and_then(|m| m.modified()).ok();
    started.and_then(|at| at.elapsed().ok()).is_some_and(|age| age < SETTLING)
}

fn with_state(domain: &Domain, seen: &Found) -> Domain {
    let mut domain = domain.clone();
    let (state, reason) = seen.state.unwrap_or((sys::VIR_DOMAIN_NOSTATE, 0));
    domain.power = lifecycle::power_of(state);
    if domain.power == Power::Paused && reason.cast_unsigned() == sys::VIR_DOMAIN_PAUSED_IOERROR {
        domain.power = Power::Halted;
    }
    domain.stop = (!domain.power.active()).then(|| stop_of(state, reason));
    domain
}

fn stop_of(state: u32, reason: i32) -> Stop {
    if state == sys::VIR_DOMAIN_CRASHED {
        return Stop::Crashed;
    }
    match reason.cast_unsigned() {
        sys::VIR_DOMAIN_SHUTOFF_UNKNOWN => Stop::Never,
        sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => Stop::Shutdown,
        sys::VIR_DOMAIN_SHUTOFF_DESTROYED => Stop::Destroyed,
        sys::VIR_DOMAIN_SHUTOFF_CRASHED | sys::VIR_DOMAIN_SHUTOFF_FAILED | sys::VIR_DOMAIN_SHUTOFF_DAEMON => {
            Stop::Crashed
        }
        sys::VIR_DOMAIN_SHUTOFF_MIGRATED => Stop::Migrated,
        sys::VIR_DOMAIN_SHUTOFF_SAVED | sys::VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT => Stop::Saved,
        _ => Stop::Unknown,
    }
}

/// The sizes that running guests see, by disk target: one call for all of them.
async fn add_sizes(libvirt: &Libvirt, listed: &mut Listed) {
    let unsized_disk = |m: &Machine| m.spec.disks.values().any(|d| d.media() == Media::Disk && d.size.is_none());
    let unknown = |seen: &Seen| seen.0.running.as_ref().is_some_and(unsized_disk);
    if libvirt.host.test || !listed.values().flatten().any(unknown) {
        return;
    }
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let call = Call::read("reading the sizes of running guests' disks");
    let stats = libvirt.pool.call(call, move |c| Ok(ffi::all_stats(c, sys::VIR_DOMAIN_STATS_BLOCK, flags)?));
    let stats = match stats.await {
        Ok(stats) => stats,
        Err(fault) => {
            tracing::debug!(%fault, "the sizes of running guests' disks are not known");
            return;
        }
    };
    let by_uuid: HashMap<Uuid, ffi::Stats> = stats.into_iter().map(|s| (s.uuid, s)).collect();
    for (domain, names) in listed.values_mut().flatten() {
        if let Some(stats) = by_uuid.get(&domain.uuid) {
            set_sizes(Arc::make_mut(domain), names, stats);
        }
    }
}

fn set_sizes(domain: &mut Domain, names: &xml::Names, stats: &ffi::Stats) {
    let count = stats.number("block.count").unwrap_or(0);
    let Some(running) = &mut domain.running else { return };
    for i in 0..count {
        let value = |what: &str| ["block", &i.to_string(), what].join(".");
        let (Some(target), Some(bytes)) = (stats.text(&value("name")), stats.number(&value("capacity"))) else {
            continue;
        };
        if let (Some(name), Ok(bytes)) = (names.disk(target), u64::try_from(bytes)) {
            set_size(running, &name, bytes);
        }
    }
}

/// A medium has the size it has, so that only disks have one.
fn set_size(running: &mut Machine, name: &Name, bytes: u64) {
    if let Some(disk) = running.spec.disks.get_mut(name).filter(|d| d.media() == Media::Disk) {
        disk.size = Some(Size(bytes));
    }
}

/// One domain by name, read now.
pub async fn find(libvirt: &Libvirt, name: &str) -> Result<Option<Domain>, Fault> {
    let (wanted, host) = (name.to_owned(), libvirt.host);
    let call = Call::read(format!("reading domain {name}"));
    libvirt
        .pool
        .call(call, move |connection| {
            let handle = match Handle::lookup_by_name(connection, &wanted).map_err(Failure::from) {
                Ok(handle) => handle,
                Err(failure) if failure.not_found() => return Ok(None),
                Err(failure) => return Err(failure),
            };
            let uuid = handle.get_uuid()?;
            let seen = Found { name: wanted.clone(), id: handle.get_id(), state: Some(handle.get_state()?) };
            match read(&handle, &seen, uuid, host) {
                Ok((domain, names)) => {
                    let mut domain = Arc::unwrap_or_clone(domain);
                    if let Some(running) = &mut domain.running {
                        for (target, name) in names.disks() {
                            if let Ok(info) = handle.get_block_info(&target, 0) {
                                set_size(running, &name, info.capacity);
                            }
                        }
                    }
                    Ok(Some(domain))
                }
                Err(failure) if failure.not_found() => Ok(None),
                Err(failure) => Err(failure),
            }
        })
        .await
}
