//! Makes one machine of another, touching only what the paths name.
//!
//! The configured domain is changed first, as an edit of what is there: what libvirt does not accept is refused before
//! the guest notices anything. Then, where the guest runs and may be changed, each path becomes an [`Op`] that libvirt
//! can do without a restart; what it cannot do, or what the guest refuses, waits for the next start and is said to.

use std::collections::BTreeSet;
use std::time::Duration;

use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::connection::Done;
use super::lifecycle::change;
use super::live::{self, Op};
use super::xml::{self, Element, Names};
use super::{Libvirt, Meant};
use crate::base::{Fault, FaultKind};
use crate::drivers::guest::{Changed, Machine, SecretValues};

const DEADLINE: Duration = Duration::from_secs(120);

/// What a domain was and what it is configured as now.
pub struct Configured {
    /// The configured machine, as it shall be.
    pub target: Machine,
    /// The configured domain, as libvirt has it.
    pub config: Element<'static>,
    /// The same as a machine.
    pub configured: Machine,
    /// The running domain, where there is one that may be changed.
    pub live: Option<Element<'static>>,
    /// The machine that runs.
    pub running: Machine,
    /// The names of devices before anything was changed.
    pub names: Names,
}

/// Changes a machine; see [`VmDriver::reconfigure`](crate::drivers::guest::VmDriver::reconfigure).
pub async fn reconfigure(
    libvirt: &Libvirt,
    meant: Meant,
    new: &Machine,
    paths: &[String],
    secrets: &SecretValues,
    now: bool,
) -> Result<Changed, Fault> {
    let doing = format!("changing domain {}", meant.name);
    let (new, wanted, secrets) = (new.clone(), paths.to_vec(), secrets.clone());
    let (host, secrets_kept) = (libvirt.host, secrets.clone());
    let configured =
        change(libvirt, meant.clone(), doing, DEADLINE, move |domain| configure(domain, &new, &wanted, &secrets, host))
            .await?;
    let mut changed = Changed::default();
    if configured.live.is_none() {
        changed.live = paths.to_vec();
        return Ok(changed);
    }
    if !now {
        changed.staged = paths.iter().map(|p| (p.clone(), None)).collect();
        return Ok(changed);
    }
    for (op, paths) in live::ops(&configured, paths) {
        match live::apply(libvirt, &meant, &configured, &secrets_kept, &op).await {
            Ok(()) => changed.live.extend(paths),
            Err(fault) if fault.retryable() && fault.kind != FaultKind::Busy => return Err(fault),
            Err(fault) => {
                let why = Some(fault.message).filter(|_| !matches!(op, Op::Wait(None)));
                changed.staged.extend(paths.into_iter().map(|path| (path, why.clone())));
            }
        }
    }
    Ok(changed)
}

/// Edits the configured domain and gives both back as they are then.
fn configure(
    domain: &Handle,
    new: &Machine,
    paths: &[String],
    secrets: &SecretValues,
    host: xml::Host,
) -> Done<Configured> {
    // With secrets, or defining it again would take them away. This text is never logged.
    let flags = sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE;
    let before = domain.get_xml_desc(flags)?;
    let before = Element::read(&before).map_err(Fault::from)?;
    let live = if domain.is_active()? { Some(domain.get_xml_desc(0)?) } else { None };
    let live = match &live {
        Some(text) => Some(Element::read(text).map_err(Fault::from)?.into_owned()),
        None => None,
    };
    let (current, names) = xml::read(&before, host, None)?;
    let target = xml::overlay(&current, new, paths)?;
    let mut after = before.clone();
    xml::give_names(&mut after, new);
    let taken = live.as_ref().map(xml::disk_targets).unwrap_or_default();
    xml::patch(&mut after, &current, &target, secrets, host, &taken)?;
    if after != before {
        if !domain.is_persistent()? {
            let said = "it is gone when it stops, so that nothing can be configured";
            return Err(Fault::new(FaultKind::Unsupported, said).into());
        }
        let text = after.write().map_err(Fault::from)?;
        drop(Handle::define_xml(&domain.get_connect()?, &text)?);
    }
    let config = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)?;
    let config = Element::read(&config).map_err(Fault::from)?.into_owned();
    let running = match &live {
        Some(live) => {
            let (mut running, _) = xml::read(live, host, Some(&names))?;
            xml::settle(&mut running, &current, false);
            running
        }
        None => Machine::default(),
    };
    let (configured, _) = xml::read(&config, host, None)?;
    Ok(Configured { target, config, configured, live, running, names })
}

/// Writes where a device was plugged in into the configured domain, so that it is found there after a restart too.
pub fn keep_address(domain: &Handle, sort: &str, alias: &str) -> Done<()> {
    let text = domain.get_xml_desc(0)?;
    let live = Element::read(&text).map_err(Fault::from)?;
    let text = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE)?;
    let mut config = Element::read(&text).map_err(Fault::from)?;
    let is_it = |e: &Element<'_>| e.name == sort && e.attribute(&["alias"], "name") == Some(alias);
    let address = |e: &Element<'_>| e.first("address").map(|a| a.clone().into_owned());
    let plugged = live.first("devices").and_then(|d| d.children().find(|e| is_it(e))).and_then(address);
    let Some(devices) = config.first_mut("devices") else { return Ok(()) };
    let others: BTreeSet<_> =
        devices.children().filter(|e| !is_it(e)).filter_map(|e| place(e.first("address")?)).collect();
    let Some(device) = devices.children_mut().find(|e| is_it(e)) else { return Ok(()) };
    let (Some(plugged), configured) = (plugged, address(device)) else { return Ok(()) };
    if Some(&plugged) == configured.as_ref() || place(&plugged).is_some_and(|p| others.contains(&p)) {
        return Ok(());
    }
    device.replace_all("address", [plugged]);
    let text = config.write().map_err(Fault::from)?;
    drop(Handle::define_xml(&domain.get_connect()?, &text)?);
    Ok(())
}

/// An address as something to compare.
fn place(address: &Element<'_>) -> Option<Vec<String>> {
    let parts = ["type", "domain", "bus", "slot", "function", "controller", "target", "unit", "port"];
    Some(parts.iter().map(|name| address.get(name).unwrap_or_default().to_owned()).collect())
}
