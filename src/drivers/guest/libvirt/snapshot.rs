//! Snapshots inside the qcow2 files of a machine's disks, which libvirt calls internal.
//!
//! With the memory, libvirt takes all of it while the guest is held for a moment. Without the memory and while the guest
//! runs, libvirt has only snapshots that move the disks into new files, which no manifest would name; so QEMU is asked
//! to take all disks at one moment, and libvirt is told of it. Going back to such a snapshot gives a machine that does
//! not run, as after a power cut at that moment. Disks without a place for snapshots (raw files, block devices) and firmware
//! variables, which are raw, are refused before anything is done.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use virt::domain::Domain as Handle;
use virt::domain_snapshot::DomainSnapshot;
use virt_sys as sys;

use super::connection::{Call, Done};
use super::error::Failure;
use super::lifecycle::{change, power_of};
use super::xml::Element;
use super::{Libvirt, Meant};
use crate::base::{Fault, FaultKind, Name};
use crate::drivers::guest::{GuestSnapshots, Power, Snapshot, Target};

/// Writing or reading a large guest's memory takes its time.
const DEADLINE: Duration = Duration::from_secs(1800);

#[async_trait]
impl GuestSnapshots for Libvirt {
    async fn take(&self, target: &Target<'_>, name: &Name, memory: bool) -> Result<(), Fault> {
        let doing = format!("taking snapshot {name} of domain {}", target.name);
        let name = name.clone();
        change(self, target.into(), doing, DEADLINE, move |domain| take(domain, &name, memory)).await
    }

    async fn list(&self, target: &Target<'_>) -> Result<Vec<Snapshot>, Fault> {
        let meant = Meant::from(target);
        let call = Call::read(format!("listing the snapshots of domain {}", meant.name));
        let texts = self.pool().call(call, move |connection| {
            let found = meant.open(connection)?.list_all_snapshots(0)?;
            found.iter().map(|s| Ok(s.get_xml_desc(0)?)).collect::<Done<Vec<String>>>()
        });
        let mut found = texts.await?.iter().map(|text| read(text)).collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|a, b| (a.taken, &a.name).cmp(&(b.taken, &b.name)));
        Ok(in_order(found))
    }

    async fn revert(&self, target: &Target<'_>, name: &Name) -> Result<(), Fault> {
        let doing = format!("taking domain {} back to snapshot {name}", target.name);
        let name = name.clone();
        change(self, target.into(), doing, DEADLINE, move |domain| {
            let snapshot = find(domain, &name)?.ok_or_else(|| missing(&name))?;
            // Where the guest's present form differs from that of then, QEMU has to be started anew.
            Ok(snapshot.revert(sys::VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)?)
        })
        .await
    }

    async fn delete(&self, target: &Target<'_>, name: &Name) -> Result<(), Fault> {
        let doing = format!("deleting snapshot {name} of domain {}", target.name);
        let name = name.clone();
        change(self, target.into(), doing, DEADLINE, move |domain| match find(domain, &name)? {
            Some(snapshot) => Ok(snapshot.delete(0)?),
            None => Ok(()),
        })
        .await
    }
}

fn missing(name: &Name) -> Failure {
    let said = Fault::new(FaultKind::NotFound, format!("there is no snapshot {name}"));
    said.help("list the snapshots to see which there are").into()
}

fn find(domain: &Handle, name: &Name) -> Done<Option<DomainSnapshot>> {
    match DomainSnapshot::lookup_by_name(domain, name.as_str(), 0) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(error) => {
            let failure = Failure::from(error);
            if failure.not_found() { Ok(None) } else { Err(failure) }
        }
    }
}

/// What libvirt says of one snapshot.
fn read(text: &str) -> Result<Snapshot, Fault> {
    let element = Element::read(text)?;
    let word = |path: &[&str]| element.text_at(path).map(|t| t.into_owned());
    let named = |text: String| Name::new(&text).map_err(|e| Fault::new(FaultKind::Invalid, e.to_string()));
    Ok(Snapshot {
        name: named(word(&["name"]).unwrap_or_default())?,
        taken: word(&["creationTime"]).and_then(|t| t.parse().ok()).unwrap_or_default(),
        memory: element.attribute(&["memory"], "snapshot").is_some_and(|how| how != "no"),
        parent: word(&["parent", "name"]).map(named).transpose()?,
    })
}

/// Oldest first, and each after the one it builds on, also where two were taken within one second.
fn in_order(mut rest: Vec<Snapshot>) -> Vec<Snapshot> {
    let mut sorted: Vec<Snapshot> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let ready = |s: &Snapshot| !rest.iter().any(|other| s.parent.as_ref() == Some(&other.name));
        let next = rest.iter().position(ready).unwrap_or(0);
        sorted.push(rest.remove(next));
    }
    sorted
}

fn take(domain: &Handle, name: &Name, memory: bool) -> Done<()> {
    let power = power_of(domain.get_state()?.0);
    let text = domain.get_xml_desc(0)?;
    let described = Element::read(&text).map_err(Fault::from)?;
    let disks = disks(&described)?;
    if let Some(there) = find(domain, name)? {
        return same(&read(&there.get_xml_desc(0)?)?, memory);
    }
    if memory && !power.active() {
        let said = Fault::new(FaultKind::Invalid, "a machine that does not run has no memory to keep");
        return Err(said.help("start it, or take the snapshot without the memory").into());
    }
    if power.active() && !memory {
        return take_disks(domain, name, &described, &disks);
    }
    let how = if memory { "internal" } else { "no" };
    let wanted = form(name, how, &disks).write().map_err(Fault::from)?;
    let flags = if memory && power == Power::Paused { 0 } else { sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC };
    DomainSnapshot::create_xml(domain, &wanted, flags)?;
    Ok(())
}

/// One of that name counts as taken when it is of the same sort.
fn same(there: &Snapshot, memory: bool) -> Done<()> {
    if there.memory == memory {
        return Ok(());
    }
    let with = if there.memory { "with" } else { "without" };
    let said = Fault::new(FaultKind::Exists, format!("there is a snapshot {} {with} the memory already", there.name));
    Err(said.help("choose another name, or delete that one").into())
}

/// The targets of the disks by whether they are in a snapshot, and the node QEMU has each of them under.
struct Disks {
    taken: BTreeMap<String, Option<String>>,
    left_out: Vec<String>,
}

/// Sorts a domain's disks, or refuses it because of what cannot be taken back.
fn disks(domain: &Element<'_>) -> Done<Disks> {
    if domain.at(&["os", "loader"]).is_some_and(|l| l.get("type") == Some("pflash"))
        || domain.at(&["os"]).is_some_and(|os| os.get("firmware") == Some("efi"))
    {
        let said = "the variables of UEFI firmware cannot be taken back together with the disks";
        let help = "use firmware bios, or the snapshots of the storage while the guest is stopped";
        return Err(Fault::new(FaultKind::Unsupported, said).help(help).into());
    }
    let mut found = Disks { taken: BTreeMap::new(), left_out: Vec::new() };
    for disk in domain.first("devices").into_iter().flat_map(|d| d.all("disk")) {
        let target = disk.attribute(&["target"], "dev").unwrap_or_default().to_owned();
        let medium = disk.get("device").is_some_and(|d| d != "disk");
        if medium || disk.first("readonly").is_some() {
            found.left_out.push(target);
            continue;
        }
        let format = disk.attribute(&["driver"], "type").unwrap_or("raw");
        if format != "qcow2" {
            let said = format!("disk {target} is of format {format}, which has no place for snapshots");
            let help = "keep its volume as qcow2, or use the snapshots of its storage while the guest is stopped";
            return Err(Fault::new(FaultKind::Unsupported, said).help(help).into());
        }
        found.taken.insert(target, disk.attribute(&["alias"], "name").map(str::to_owned));
    }
    if found.taken.is_empty() {
        return Err(Fault::new(FaultKind::Unsupported, "it has no disk that a snapshot could be of").into());
    }
    Ok(found)
}

/// What libvirt is asked for.
fn form(name: &Name, memory: &'static str, disks: &Disks) -> Element<'static> {
    let each =
        |target: &String, how: &'static str| Element::new("disk").with("name", target.clone()).with("snapshot", how);
    let taken = disks.taken.keys().map(|target| each(target, "internal"));
    let left_out = disks.left_out.iter().map(|target| each(target, "no"));
    Element::new("domainsnapshot")
        .child(Element::new("name").text_inside(name.as_str()))
        .child(Element::new("memory").with("snapshot", memory))
        .child(Element::new("disks").children_from(taken.chain(left_out)))
}

/// All disks of a running guest at one moment, and then libvirt's knowledge of it.
fn take_disks(domain: &Handle, name: &Name, described: &Element<'_>, disks: &Disks) -> Done<()> {
    let nodes = nodes(domain, disks)?;
    // One that libvirt does not know of was broken off, and is not what is asked for now.
    let remove = |node: &String| {
        json!({"execute": "blockdev-snapshot-delete-internal-sync",
                                        "arguments": {"device": node, "name": name.as_str()}})
    };
    for node in &nodes {
        let _ = domain.qemu_monitor_command(&remove(node).to_string(), 0)?;
    }
    let action = |node: &String| {
        json!({"type": "blockdev-snapshot-internal-sync",
                                        "data": {"device": node, "name": name.as_str()}})
    };
    let actions: Vec<Value> = nodes.iter().map(action).collect();
    ask(domain, &json!({"execute": "transaction", "arguments": {"actions": actions}}))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let inactive = domain.get_xml_desc(sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE)?;
    let mut known = form(name, "no", disks)
        .child(Element::new("creationTime").text_inside(now))
        .child(Element::new("state").text_inside("shutoff"));
    if let Some(parent) = current(domain)? {
        known = known.child(Element::new("parent").child(Element::new("name").text_inside(parent)));
    }
    debug_assert_eq!(described.name, "domain");
    let known = known.child(Element::read(&inactive).map_err(Fault::from)?.into_owned());
    let flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE | sys::VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
    let told = known
        .write()
        .map_err(|e| Failure::from(Fault::from(e)))
        .and_then(|text| DomainSnapshot::create_xml(domain, &text, flags).map(|_| ()).map_err(Failure::from));
    if told.is_err() {
        for node in &nodes {
            let _ = domain.qemu_monitor_command(&remove(node).to_string(), 0);
        }
    }
    told
}

/// The name of the snapshot that the machine's present state builds on.
fn current(domain: &Handle) -> Done<Option<String>> {
    let found = domain.list_all_snapshots(0)?;
    for snapshot in found {
        if snapshot.is_current(0)? {
            return Ok(Some(snapshot.get_name()?));
        }
    }
    Ok(None)
}

/// The device or node that QEMU has each disk under, asked of QEMU itself.
fn nodes(domain: &Handle, disks: &Disks) -> Done<Vec<String>> {
    let answer = ask(domain, &json!({"execute": "query-block"}))?;
    let devices = answer.as_array().cloned().unwrap_or_default();
    let of = |alias: &str| {
        let device = devices.iter().find(|d| {
            let path = d["qdev"].as_str().unwrap_or_default();
            path.split('/').any(|part| part == alias)
        })?;
        device["inserted"]["node-name"].as_str().map(str::to_owned)
    };
    let each = disks.taken.iter().map(|(target, alias)| {
        alias.as_deref().and_then(of).ok_or_else(|| {
            Failure::from(Fault::new(FaultKind::Unavailable, format!("QEMU does not say where disk {target} is")))
        })
    });
    each.collect()
}

/// One command to QEMU, and what it returned.
fn ask(domain: &Handle, command: &Value) -> Done<Value> {
    let text = domain.qemu_monitor_command(&command.to_string(), 0)?;
    let answer: Value = serde_json::from_str(&text).map_err(|e| Fault::other(format!("QEMU answered oddly: {e}")))?;
    match &answer["error"]["desc"] {
        Value::String(said) => Err(Fault::other(format!("QEMU: {said}")).into()),
        _ => Ok(answer["return"].clone()),
    }
}
