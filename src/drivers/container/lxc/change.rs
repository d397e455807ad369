//! Changing a container: the configuration anew, and of the running guest what needs no restart.

use std::path::Path;

use super::apart::enter_mounts;
use super::cgroup::{Group, settings};
use super::graft::{Graft, mounted};
use super::host::Host;
use super::keep::{self, RunningNote};
use super::seen::{self, State};
use super::{config, device, net, power, rootfs};
use crate::base::{Attempt as _, Fault, FaultKind, Name, Size};
use crate::drivers::container::running::{can_live, note as noted, resize, stays};
use crate::drivers::container::{Changed, Place, Record, Target};
use crate::kinds::container::CtSpec;

/// Makes a container what `new` says; see [`crate::drivers::container::CtDriver::reconfigure`].
pub async fn reconfigure(
    host: &Host,
    target: &Target<'_>,
    new: &Record,
    paths: &[String],
    now: bool,
) -> Result<Changed, Fault> {
    let name = target.name;
    let (files, state) = power::held(host, target).await?;
    let mut record = new.clone();
    if let Some(old) = &files.record {
        keep_sizes(&mut record, old);
        record.intent = old.intent;
    }
    let text = config::render(name, &record, host, &files.found.foreign)?;
    let mut note = match (state.monitor, state.power.active()) {
        (Some(monitor), true) => {
            Some(RunningNote { monitor, spec: seen::started_as(host, name, &files.found.spec, state) })
        }
        _ => None,
    };
    // What runs is noted before the configuration says something else.
    if let Some(note) = &note {
        keep::put_running(&host.paths, name, note)?;
    }
    power::points(host, name, &record)?;
    // So is where new mounts come from before they are there.
    if let Some(old) = &files.record
        && record.mounts.keys().any(|mount| !old.mounts.contains_key(mount))
    {
        let mut mounts = record.mounts.clone();
        mounts.extend(old.mounts.clone());
        keep::put_record(&host.paths, name, &Record { mounts, ..old.clone() })?;
    }
    let mut changed = Changed::default();
    let mut fault = None;
    if let Some(note) = note.as_mut().filter(|_| now) {
        for path in paths {
            if !can_live(path, &note.spec, stays(path, &record.spec)) {
                changed.staged.push(path.clone());
                continue;
            }
            match live(host, name, &record, &files.record, note, state, path).await {
                Ok(()) => changed.live.push(path.clone()),
                Err(f) => {
                    fault = Some(f.context(format!("changing {path} of container {name}")));
                    break;
                }
            }
        }
        keep::put_running(&host.paths, name, note)?;
    } else {
        changed.staged = paths.to_vec();
    }
    if let Some(fault) = fault {
        return Err(fault);
    }
    keep::write(&host.paths.config(name), &text)?;
    keep::put_record(&host.paths, name, &record)?;
    Ok(changed)
}

/// Keeps the sizes that file systems were brought to: only growing changes them.
fn keep_sizes(new: &mut Record, old: &Record) {
    if new.rootfs.place == old.rootfs.place {
        new.rootfs.size = old.rootfs.size;
    }
    for (name, backing) in &mut new.mounts {
        if let Some(was) = old.mounts.get(name).filter(|was| was.place == backing.place) {
            backing.size = was.size;
        }
    }
}

/// Makes one change in the running guest, and notes it.
async fn live(
    host: &Host,
    name: &Name,
    record: &Record,
    old: &Option<Record>,
    note: &mut RunningNote,
    state: State,
    path: &str,
) -> Result<(), Fault> {
    let (Some(init), Some((monitor, _))) = (state.init, state.monitor) else {
        return Err(Fault::new(FaultKind::Busy, format!("container {name} is on its way up or down")));
    };
    let mut parts = path.splitn(3, '.');
    let (head, entry) = (parts.next().unwrap_or_default(), parts.next().and_then(|e| Name::new(e).ok()));
    match (head, entry) {
        ("cpu" | "memory", _) => limits(host, name, record, init)?,
        ("nics", Some(nic)) => interface(record, old.as_ref(), &note.spec, init, &nic).await?,
        ("hostname" | "nameservers" | "searchdomain", _) => {
            identity(host, name, record, init, head == "hostname").await?;
        }
        ("mounts", Some(mount)) if !note.spec.mounts.contains_key(&mount) => {
            add_mount(host, name, record, (monitor, init), &mount).await?;
        }
        ("devices", Some(entry)) if !note.spec.devices.contains_key(&entry) => {
            add_device(host, name, record, (monitor, init), &entry).await?;
        }
        // What the guest never sees needs nothing; sizes are grown by themselves.
        _ => {}
    }
    noted(&mut note.spec, &record.spec, path);
    Ok(())
}

fn limits(host: &Host, name: &Name, record: &Record, init: u32) -> Result<(), Fault> {
    let group = Group::of(&host.layout, name, init)?;
    let all = group.all_cpus().unwrap_or_else(|| host.cpus.clone());
    let cpus = match record.spec.cpu().cores {
        None => all,
        cores => config::pick(&host.cpus, cores, record.mark.uid.uuid().as_u128())?,
    };
    group.write(&settings(&record.spec, &host.layout, &cpus, true))
}

async fn interface(
    record: &Record,
    old: Option<&Record>,
    running: &CtSpec,
    init: u32,
    name: &Name,
) -> Result<(), Fault> {
    let port = net::Port { uid: record.mark.uid, init, name };
    let Some(new) = record.spec.nics.get(name) else {
        return port.unplug().await;
    };
    let bridge = record.bridges.get(name).map(String::as_str).unwrap_or_default();
    match running.nics.get(name).filter(|_| port.present()) {
        None => port.plug(new, bridge).await,
        Some(was) => {
            let at = net::host_state(&port.host().await?).and_then(|(bridge, _)| bridge);
            let at = at.or_else(|| old?.bridges.get(name).cloned());
            port.change(was, new, (at.as_deref(), bridge)).await
        }
    }
}

async fn identity(host: &Host, name: &Name, record: &Record, init: u32, hostname: bool) -> Result<(), Fault> {
    power::write_files(host, name, record, Some(init)).await?;
    if let Some(word) = record.spec.hostname.as_ref().filter(|_| hostname) {
        let call = crate::base::exec::Command::new("nsenter").arg(format!("--uts=/proc/{init}/ns/uts"));
        call.args(["--", "hostname", word]).run().await.attempt(|| "setting the guest's host name")?;
    }
    Ok(())
}

async fn add_mount(
    host: &Host,
    name: &Name,
    record: &Record,
    (monitor, init): (u32, u32),
    mount: &Name,
) -> Result<(), Fault> {
    let missing = || Fault::new(FaultKind::Invalid, format!("mount {mount} has no place"));
    let (backing, spec) = record.mounts.get(mount).zip(record.spec.mounts.get(mount)).ok_or_else(missing)?;
    let source = host.paths.mount_point(name, mount);
    if !mounted(monitor, &source) {
        let words = config::mount_words(&backing.place, spec.read_only(), &spec.mount_options);
        let call = enter_mounts(monitor, "mount").args(words).arg(backing.place.path()).arg(&source);
        call.run().await.attempt(|| format!("mounting {}", backing.place.path().display()))?;
    }
    let target = spec.path.clone().unwrap_or_default();
    let file = matches!(backing.place, Place::File(_));
    Graft { monitor, init, ids: power::ids(host, record)?, source, target, file }.put().await
}

async fn add_device(
    host: &Host,
    name: &Name,
    record: &Record,
    (monitor, init): (u32, u32),
    entry: &Name,
) -> Result<(), Fault> {
    let missing = || Fault::new(FaultKind::Invalid, format!("there is no device {entry}"));
    let spec = record.spec.devices.get(entry).ok_or_else(missing)?;
    let ids = power::ids(host, record)?;
    let source = host.paths.device(name, entry);
    device::make(&source, spec, ids)?;
    let path = spec.path.clone().unwrap_or_default();
    if let Some(rule) = device::rule(Path::new(&path)) {
        let allow = super::program("lxc-cgroup", host, name).args(["devices.allow", &rule]).run().await;
        allow.attempt(|| format!("allowing container {name} the device {path}"))?;
    }
    Graft { monitor, init, ids, source, target: path, file: true }.put().await
}

/// Brings a file system to the size of its volume, and notes it once that is so.
pub async fn grow(host: &Host, target: &Target<'_>, mount: Option<&Name>, to: Size) -> Result<(), Fault> {
    let (files, state) = power::held(host, target).await?;
    let missing = || Fault::new(FaultKind::NotFound, format!("container {} has no such file system", target.name));
    let mut record = files.record.ok_or_else(missing)?;
    let backing = match mount {
        None => &mut record.rootfs,
        Some(mount) => record.mounts.get_mut(mount).ok_or_else(missing)?,
    };
    if backing.size.is_some_and(|size| size >= to) {
        return Ok(());
    }
    let monitor = state.monitor.filter(|_| state.power.active()).map(|(pid, _)| pid);
    rootfs::grow(&backing.place, monitor).await?;
    backing.size = Some(to);
    keep::put_record(&host.paths, target.name, &record)?;
    if let Some(monitor) = state.monitor
        && let Some(mut spec) = keep::running(&host.paths, target.name, monitor)
    {
        resize(&mut spec, mount, to);
        keep::put_running(&host.paths, target.name, &RunningNote { monitor, spec })?;
    }
    Ok(())
}
