//! From defined to undefined: each call looks at what is there first, so that it can be made again.

use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;
use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::connection::{Call, Done};
use super::error::Failure;
use super::xml::{self, Element, mark};
use super::{Libvirt, Meant};
use crate::base::{Fault, FaultKind};
use crate::drivers::guest::{Machine, Power, Record, SecretValues};

/// Starting may take long where a lot of memory is made ready.
pub const START_DEADLINE: Duration = Duration::from_secs(180);
/// How often is looked whether a guest went down.
const POLL: Duration = Duration::from_millis(200);
/// A guest may miss the button while it boots, so it is pressed again after this long.
const PRESS_AGAIN: Duration = Duration::from_secs(15);

const LIVE: u32 = sys::VIR_DOMAIN_AFFECT_LIVE;
const CONFIG: u32 = sys::VIR_DOMAIN_AFFECT_CONFIG;

/// Our record in a domain's metadata; `None` when it has none.
pub fn record_of(domain: &Handle) -> Done<Option<Record>> {
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT.cast_signed();
    match domain.get_metadata(kind, Some(mark::NAMESPACE), sys::VIR_DOMAIN_AFFECT_CURRENT) {
        Ok(text) => Ok(Some(mark::from_metadata(&text)?)),
        Err(error) => {
            let failure = Failure::from(error);
            if failure.not_found() { Ok(None) } else { Err(failure) }
        }
    }
}

/// Whether and how a domain runs.
pub fn power_of(state: u32) -> Power {
    match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED => Power::Running,
        sys::VIR_DOMAIN_PAUSED | sys::VIR_DOMAIN_PMSUSPENDED => Power::Paused,
        sys::VIR_DOMAIN_SHUTDOWN => Power::ShuttingDown,
        sys::VIR_DOMAIN_CRASHED => Power::Crashed,
        _ => Power::Stopped,
    }
}

/// Where changes go: to the configured domain, and to the running one where there is one.
pub fn both(domain: &Handle) -> Done<u32> {
    let active = if domain.is_active()? { LIVE } else { 0 };
    let persistent = if domain.is_persistent()? { CONFIG } else { 0 };
    Ok(active | persistent)
}

/// Defines a machine, anew when it is ours already.
pub async fn define(
    libvirt: &Libvirt,
    name: &str,
    uuid: Uuid,
    machine: &Machine,
    record: &Record,
    secrets: &SecretValues,
) -> Result<(), Fault> {
    let doing = format!("defining domain {name}");
    let domain = xml::build(name, uuid, machine, record, secrets, libvirt.host).map_err(|f| f.context(&doing))?;
    let text = domain.write().map_err(|e| Fault::from(e).context(&doing))?;
    let meant = Meant { name: name.to_owned(), uuid, owner: Some(record.mark.uid) };
    libvirt.cache.forget(uuid);
    let done = libvirt.pool.call(Call::change(doing), move |connection| {
        meant.find(connection)?;
        Handle::define_xml(connection, &text).map(|_| ()).map_err(Into::into)
    });
    let done = done.await;
    libvirt.cache.forget(uuid);
    done
}

/// Replaces the record, in the configured and the running domain.
pub async fn set_record(libvirt: &Libvirt, meant: Meant, record: &Record) -> Result<(), Fault> {
    let text = mark::to_metadata(record)?;
    let kind = sys::VIR_DOMAIN_METADATA_ELEMENT.cast_signed();
    let doing = format!("writing our record into domain {}", meant.name);
    change(libvirt, meant, doing, START_DEADLINE, move |domain| {
        let flags = both(domain)?;
        domain.set_metadata(kind, Some(&text), Some(mark::PREFIX), Some(mark::NAMESPACE), flags)?;
        Ok(())
    })
    .await
}

/// One change of one domain that must be there and ours.
pub async fn change<T: Send + 'static>(
    libvirt: &Libvirt,
    meant: Meant,
    doing: String,
    deadline: Duration,
    mut work: impl FnMut(&Handle) -> Done<T> + Send + 'static,
) -> Result<T, Fault> {
    let uuid = meant.uuid;
    libvirt.cache.forget(uuid);
    let call = Call::change(doing).within(deadline);
    let done = libvirt.pool.call(call, move |connection| work(&meant.open(connection)?)).await;
    libvirt.cache.forget(uuid);
    done
}

/// Starts a domain; a held one goes on.
pub async fn start(libvirt: &Libvirt, meant: Meant) -> Result<(), Fault> {
    let doing = format!("starting domain {}", meant.name);
    change(libvirt, meant, doing, START_DEADLINE, |domain| {
        let (state, _) = domain.get_state()?;
        match power_of(state) {
            Power::Running | Power::ShuttingDown => {}
            Power::Paused | Power::Halted => drop(domain.resume()?),
            // One that is active by now was being started on somebody else's word.
            Power::Stopped | Power::Crashed => match domain.create() {
                Err(error) if !domain.is_active()? => return Err(error.into()),
                _ => {}
            },
        }
        Ok(())
    })
    .await
}

/// Asks a guest to shut down and waits; says whether it did.
pub async fn shutdown(libvirt: &Libvirt, meant: Meant, within: Duration) -> Result<bool, Fault> {
    let doing = format!("shutting down domain {}", meant.name);
    let work = async {
        let mut ask_agent = true;
        loop {
            let asked =
                change(libvirt, meant.clone(), doing.clone(), START_DEADLINE, move |domain| press(domain, ask_agent));
            if !asked.await? {
                return Ok(true);
            }
            ask_agent = false;
            let mut waited = Duration::ZERO;
            while waited < PRESS_AGAIN {
                tokio::time::sleep(POLL).await;
                waited += POLL;
                if !is_active(libvirt, meant.clone(), &doing).await? {
                    return Ok(true);
                }
            }
        }
    };
    match tokio::time::timeout(within, work).await {
        Ok(done) => done,
        Err(_) => Ok(!is_active(libvirt, meant, "looking whether it went down").await?),
    }
}

/// Asks once, the agent first; false when it does not run.
fn press(domain: &Handle, ask_agent: bool) -> Done<bool> {
    if !domain.is_active()? {
        return Ok(false);
    }
    let (state, _) = domain.get_state()?;
    if power_of(state) == Power::Paused {
        // A held guest hears nothing.
        domain.resume()?;
    }
    if ask_agent && domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT).is_ok() {
        return Ok(true);
    }
    match domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) {
        Ok(_) => Ok(true),
        Err(error) if domain.is_active()? => Err(error.into()),
        Err(_) => Ok(false),
    }
}

async fn is_active(libvirt: &Libvirt, meant: Meant, doing: &str) -> Result<bool, Fault> {
    let call = Call::read(doing.to_owned());
    libvirt
        .pool
        .call(call, move |connection| match meant.find(connection)? {
            Some(domain) => Ok(domain.is_active()?),
            None => Ok(false),
        })
        .await
}

/// Switches a domain off.
pub async fn destroy(libvirt: &Libvirt, meant: Meant) -> Result<(), Fault> {
    let doing = format!("switching off domain {}", meant.name);
    change(libvirt, meant, doing, START_DEADLINE, |domain| {
        if !domain.is_active()? {
            return Ok(());
        }
        match domain.destroy() {
            Ok(()) => Ok(()),
            // It went down by itself meanwhile.
            Err(_) if !domain.is_active()? => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// Forgets a domain that does not run, with everything libvirt keeps for it.
pub async fn undefine(libvirt: &Libvirt, meant: Meant) -> Result<(), Fault> {
    let doing = format!("undefining domain {}", meant.name);
    let uuid = meant.uuid;
    libvirt.cache.forget(uuid);
    let done = libvirt.pool.call(Call::change(doing), move |connection| {
        let Some(domain) = meant.find(connection)? else { return Ok(()) };
        if domain.is_active()? {
            return Err(Fault::new(FaultKind::Busy, "it runs").help("stop it first").into());
        }
        let all = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        match domain.undefine_flags(all | sys::VIR_DOMAIN_UNDEFINE_TPM) {
            // Older versions forget the TPM's state without being told.
            Err(error) if Fault::from(Failure::from(error.clone())).kind == FaultKind::Unsupported => {
                domain.undefine_flags(all)?;
            }
            done => done?,
        }
        Ok(())
    });
    let done = done.await;
    libvirt.cache.forget(uuid);
    done
}

/// The terminal of a running domain's serial console.
pub async fn console(libvirt: &Libvirt, meant: Meant) -> Result<PathBuf, Fault> {
    let name = meant.name.clone();
    let call = Call::read(format!("looking for the console of domain {name}"));
    let text = libvirt.pool.call(call, move |connection| {
        let domain = meant.open(connection)?;
        if !domain.is_active()? {
            let said = Fault::new(FaultKind::Unavailable, format!("domain {} does not run", meant.name));
            return Err(said.help("start it first").into());
        }
        Ok(domain.get_xml_desc(0)?)
    });
    let text = text.await?;
    let domain = Element::read(&text)?;
    let devices = domain.first("devices");
    let mut ports = devices.into_iter().flat_map(|d| d.all("serial").chain(d.all("console")));
    ports.find_map(|port| port.first("source")?.get("path")).map(PathBuf::from).ok_or_else(|| {
        Fault::new(FaultKind::Unsupported, format!("domain {name} has no serial console on a terminal"))
            .help("set `serial: true` and restart it")
    })
}
