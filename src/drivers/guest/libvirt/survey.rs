//! Reads what is there: every domain in as few calls as it takes.
//!
//! One call lists the domains and tells the state of all. The XML of each costs a call of its own, so several are fetched
//! at once, and none where events say that nothing changed since it was read last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::connection::{Call, Done};
use super::error::Failure;
use super::ffi::Brief;
use super::xml::{self, Element, Host, mark};
use super::{Sight, ffi, lifecycle};
use crate::base::{Fault, Name, Size};
use crate::drivers::guest::{Domain, Glance, Machine, Power, Stop};
use crate::kinds::vm::Media;

/// A thread more for each so many domains; one connection serves several requests at a time.
const SHARE: usize = 8;
/// libvirt serves no more than five requests of one client at a time; the next one waits at its door.
const MOST_THREADS: usize = 6;

/// How long a guest that was started may take to give back the memory it was not meant to have.
const SETTLING: Duration = Duration::from_secs(180);

type Listed = BTreeMap<String, Result<Seen, Fault>>;

/// A domain with the names of its devices by what identifies them.
pub type Seen = (Arc<Domain>, Arc<xml::Names>);

/// Every domain.
pub async fn list(sight: &Sight) -> Result<BTreeMap<String, Result<Domain, Fault>>, Fault> {
    // One look needs no events; whoever looks again gets them.
    if sight.looks.fetch_add(1, Ordering::Relaxed) > 0 {
        listen(sight).await;
    }
    let listening = sight.events.listening();
    let since = sight.cache.now();
    let (cache, host) = (sight.cache.clone(), sight.host);
    let call = Call::read("listing libvirt's domains");
    let (states, mut listed) = sight
        .pool
        .call(call, move |connection| {
            let mut states = HashMap::new();
            let mut listed = Listed::new();
            let mut missing = Vec::new();
            for brief in briefs(connection)? {
                states.insert(brief.uuid, (brief.id, power_of(&brief)));
                match cache.get(brief.uuid, brief.id).filter(|_| listening) {
                    Some(known) => drop(listed.insert(brief.name, Ok(known))),
                    None => missing.push(brief),
                }
            }
            fetch(&missing, host, &mut listed);
            Ok((states, listed))
        })
        .await?;
    add_sizes(sight, &mut listed).await;
    if listening {
        sight.cache.keep_only(&states.keys().copied().collect(), since);
        for seen in listed.values().flatten() {
            let id = states.get(&seen.0.uuid).and_then(|(id, _)| *id);
            sight.cache.put(id, seen.clone(), since);
        }
    }
    // What is kept may be from before a machine was held or ended.
    let own = |(domain, _): Seen| {
        let mut domain = Arc::unwrap_or_clone(domain);
        if let Some((_, (power, stop))) = states.get(&domain.uuid) {
            (domain.power, domain.stop) = (*power, *stop);
        }
        domain
    };
    Ok(listed.into_iter().map(|(name, seen)| (name, seen.map(own))).collect())
}

/// Every domain at a glance: one call, and no XML.
pub async fn glance(sight: &Sight) -> Result<BTreeMap<String, Glance>, Fault> {
    listen(sight).await;
    if !sight.events.listening() {
        sight.cache.forget_all();
    }
    let cache = sight.cache.clone();
    let call = Call::read("looking at libvirt's domains");
    let all = sight.pool.call(call, move |connection| {
        let briefs = briefs(connection)?;
        // Taken after the look: what changed meanwhile is read after it changed.
        let versions = cache.versions(briefs.iter().map(|b| b.uuid));
        let seen = briefs.into_iter().zip(versions).map(|(brief, version)| {
            let (power, stop) = power_of(&brief);
            (brief.name, Glance { uuid: brief.uuid, power, stop, version })
        });
        Ok(seen.collect())
    });
    all.await
}

/// Listens for events; without them every look reads everything.
async fn listen(sight: &Sight) {
    if let Err(fault) = sight.events.listen(&sight.pool).await {
        tracing::debug!(%fault, "reading every domain, without events");
    }
}

/// Every domain with its state.
fn briefs(connection: &Connect) -> Done<Vec<Brief>> {
    if let Ok(briefs) = ffi::briefs(connection) {
        return Ok(briefs);
    }
    // libvirt's test driver has no such call in older versions.
    let handles = connection.list_all_domains(0)?;
    let brief = |handle: Handle| {
        let (uuid, name, id, state) =
            (handle.get_uuid()?, handle.get_name()?, handle.get_id(), handle.get_state().ok());
        Ok(Brief { handle, uuid, name, id, state })
    };
    handles.into_iter().map(brief).collect()
}

/// Reads domains into the list, several at a time where they are many; each thread takes the next nobody has taken.
fn fetch(missing: &[Brief], host: Host, listed: &mut Listed) {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut listed = Listed::new();
        while let Some(brief) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            add(&mut listed, brief, host);
        }
        listed
    };
    let threads = missing.len().div_ceil(SHARE).min(MOST_THREADS);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        listed.extend(take());
        for other in others {
            match other.join() {
                Ok(part) => listed.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
}

/// Reads one domain into the list; one that is gone is left out.
fn add(listed: &mut Listed, brief: &Brief, host: Host) {
    match read(brief, host) {
        Ok(domain) => drop(listed.insert(brief.name.clone(), Ok(domain))),
        Err(failure) if failure.not_found() => {}
        Err(failure) => {
            let fault = Fault::from(failure).context(format!("reading domain {}", brief.name));
            listed.insert(brief.name.clone(), Err(fault));
        }
    }
}

/// Reads one domain, both as it is configured and as it runs.
fn read(brief: &Brief, host: Host) -> Done<Seen> {
    let inactive = brief.handle.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?;
    let live = if brief.id.is_some() { Some(brief.handle.get_xml_desc(0)?) } else { None };
    Ok(parse(&inactive, live.as_deref(), brief, host)?)
}

fn parse(inactive: &str, live: Option<&str>, brief: &Brief, host: Host) -> Result<Seen, Fault> {
    let domain = Element::read(inactive)?;
    let (configured, names) = xml::read(&domain, host, None)?;
    let running = match live {
        Some(text) => {
            let live = Element::read(text)?;
            let (mut running, _) = xml::read(&live, host, Some(&names))?;
            xml::settle(&mut running, &configured, has_just_started(&brief.name));
            Some(running)
        }
        None => None,
    };
    let (power, stop) = power_of(brief);
    let domain = Domain {
        name: brief.name.clone(),
        uuid: brief.uuid,
        record: mark::find(&domain)?,
        power,
        stop,
        configured,
        running,
        unnamed: names.unnamed.clone(),
    };
    Ok((Arc::new(domain), Arc::new(names)))
}

/// Whether QEMU was started within the last minutes, which the age of its file says.
pub fn has_just_started(name: &str) -> bool {
    let file = std::path::Path::new("/run/libvirt/qemu").join(name).with_added_extension("pid");
    let started = std::fs::metadata(file).and_then(|m| m.modified()).ok();
    started.and_then(|at| at.elapsed().ok()).is_some_and(|age| age < SETTLING)
}

fn power_of(brief: &Brief) -> (Power, Option<Stop>) {
    let (state, reason) = brief.state.unwrap_or((sys::VIR_DOMAIN_NOSTATE, 0));
    let power = match lifecycle::power_of(state) {
        Power::Paused if reason.cast_unsigned() == sys::VIR_DOMAIN_PAUSED_IOERROR => Power::Halted,
        power => power,
    };
    (power, (!power.active()).then(|| stop_of(state, reason)))
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
async fn add_sizes(sight: &Sight, listed: &mut Listed) {
    let unsized_disk = |m: &Machine| m.spec.disks.values().any(|d| d.media() == Media::Disk && d.size.is_none());
    let unknown = |seen: &Seen| seen.0.running.as_ref().is_some_and(unsized_disk);
    if sight.host.test || !listed.values().flatten().any(unknown) {
        return;
    }
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
    let call = Call::read("reading the sizes of running guests' disks");
    let stats = sight.pool.call(call, move |c| Ok(ffi::all_stats(c, sys::VIR_DOMAIN_STATS_BLOCK, flags)?));
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
pub async fn find(sight: &Sight, name: &str) -> Result<Option<Domain>, Fault> {
    let (wanted, host) = (name.to_owned(), sight.host);
    let call = Call::read(format!("reading domain {name}"));
    sight
        .pool
        .call(call, move |connection| {
            let handle = match Handle::lookup_by_name(connection, &wanted).map_err(Failure::from) {
                Ok(handle) => handle,
                Err(failure) if failure.not_found() => return Ok(None),
                Err(failure) => return Err(failure),
            };
            let (uuid, id, state) = (handle.get_uuid()?, handle.get_id(), Some(handle.get_state()?));
            let brief = Brief { handle, uuid, name: wanted.clone(), id, state };
            match read(&brief, host) {
                Ok((domain, names)) => {
                    let mut domain = Arc::unwrap_or_clone(domain);
                    if let Some(running) = &mut domain.running {
                        for (target, name) in names.disks() {
                            if let Ok(info) = brief.handle.get_block_info(&target, 0) {
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
