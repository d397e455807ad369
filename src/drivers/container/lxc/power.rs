//! Starting and stopping containers.

use std::time::Duration;

use super::host::{Host, Ids};
use super::seen::{self, Files, State};
use super::{Root, apart::Apart, config, device, keep, net, rootfs};
use crate::base::{Attempt as _, Fault, FaultKind, Name, Size};
use crate::drivers::container::{Backing, Intent, Place, Power, Record, Target};

/// Starts a container that is ours, and gives it what LXC has no settings for.
pub async fn start(host: &Host, name: &Name, mut record: Record) -> Result<(), Fault> {
    let state = seen::state(host, name).await?;
    record.intent = Intent::Run;
    if state.power == Power::Frozen {
        super::program("lxc-unfreeze", host, name).run().await.attempt(|| format!("resuming container {name}"))?;
    }
    if state.power.active() {
        return keep::put_record(&host.paths, name, &record);
    }
    prepare(host, name, &mut record).await?;
    keep::put_record(&host.paths, name, &record)?;
    keep::remove(&host.paths.running(name))?;
    let log = host.paths.log(name);
    keep::remove(&log)?;
    let start = super::program("lxc-start", host, name).arg("-o").arg(&log).args(["-l", "DEBUG"]);
    start.deadline(Duration::from_secs(120)).run().await.map_err(|error| {
        let said = seen::complaints(host, name);
        let fault = Fault::from(error).context(format!("starting container {name}"));
        if said.is_empty() { fault } else { Fault { message: format!("{}; LXC says: {said}", fault.message), ..fault } }
    })?;
    settle(host, name, &record).await
}

/// Brings everything a start needs into order.
async fn prepare(host: &Host, name: &Name, record: &mut Record) -> Result<(), Fault> {
    let ids = ids(host, record)?;
    host.layout.sweep(name);
    points(host, name, record)?;
    for (device, spec) in &record.spec.devices {
        device::make(&host.paths.device(name, device), spec, ids)?;
    }
    grow_first(&mut record.rootfs).await?;
    for backing in record.mounts.values_mut() {
        grow_first(backing).await?;
    }
    write_files(host, name, record, None).await
}

/// The ids of a container without privileges.
pub fn ids(host: &Host, record: &Record) -> Result<Option<Ids>, Fault> {
    if record.spec.unprivileged() { host.ids.clone().map(Some) } else { Ok(None) }
}

/// Makes the places where the hooks mount things, and the file the configuration refers to.
pub fn points(host: &Host, name: &Name, record: &Record) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = host.paths.dir(name);
    let make = |path: &std::path::Path| {
        std::fs::create_dir_all(path).attempt(|| format!("making the directory {}", path.display()))
    };
    make(&host.paths.root_point(name))?;
    // The guest's root must be able to pass, and to see nothing.
    let _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711));
    for (mount, backing) in &record.mounts {
        let point = host.paths.mount_point(name, mount);
        if matches!(backing.place, Place::File(_)) {
            make(point.parent().unwrap_or(&dir))?;
            let file = std::fs::OpenOptions::new().create(true).append(true).open(&point);
            file.attempt(|| format!("making {}", point.display()))?;
        } else {
            make(&point)?;
        }
    }
    if keep::read(&host.paths.seccomp(name))?.as_deref() != Some(config::SECCOMP) {
        keep::write(&host.paths.seccomp(name), config::SECCOMP)?;
    }
    Ok(())
}

/// Lets a file system that is smaller than its file grow before it is mounted.
async fn grow_first(backing: &mut Backing) -> Result<(), Fault> {
    let Place::Image(path) = &backing.place else { return Ok(()) };
    let real = Size(std::fs::metadata(path).attempt(|| format!("looking at {}", path.display()))?.len());
    if backing.size.is_some_and(|size| size < real) {
        rootfs::grow(&backing.place, None).await?;
        backing.size = Some(real);
    }
    Ok(())
}

/// Writes the guest's files: through the running guest's own root, else with its file system mounted apart.
pub async fn write_files(host: &Host, name: &Name, record: &Record, init: Option<u32>) -> Result<(), Fault> {
    let ids = ids(host, record)?;
    let settle = |path: &std::path::Path| Root::open(path, ids)?.settle(&record.spec);
    let read_only = record.spec.rootfs.as_ref().is_some_and(|r| r.read_only());
    let result = match (init, &record.rootfs.place) {
        _ if read_only => Ok(()),
        (Some(init), _) => settle(std::path::Path::new(&format!("/proc/{init}/root"))),
        (None, Place::Directory(path)) if path.is_absolute() => settle(path),
        (None, Place::Directory(_) | Place::File(_)) => Ok(()),
        (None, place) => {
            let apart = Apart::mount(place).await?;
            let settled = settle(&apart.root());
            settled.and(apart.end().await)
        }
    };
    result.map_err(|f| f.context(format!("writing the files of container {name}")))
}

/// Gives the interfaces of a container that just started what LXC has no settings for.
async fn settle(host: &Host, name: &Name, record: &Record) -> Result<(), Fault> {
    let special = |nic: &crate::kinds::container::CtNic| nic.rate.is_some() || !nic.link_up();
    if !record.spec.nics.values().any(|nic| special(nic)) {
        return Ok(());
    }
    let Some(init) = seen::state(host, name).await?.init else { return Ok(()) };
    for (nic, spec) in record.spec.nics.iter().filter(|(_, spec)| special(spec)) {
        net::Port { uid: record.mark.uid, init, name: nic }.settle(spec).await?;
    }
    Ok(())
}

/// Notes what is wanted of a container's power.
pub async fn intend(host: &Host, target: &Target<'_>, intent: Intent) -> Result<(), Fault> {
    let (files, _) = held(host, target).await?;
    match files.record.filter(|r| r.intent != intent) {
        Some(record) => keep::put_record(&host.paths, target.name, &Record { intent, ..record }),
        None => Ok(()),
    }
}

/// Asks the guest to shut down; says whether it went down within the time.
pub async fn shutdown(host: &Host, name: &Name, within: Duration) -> Result<bool, Fault> {
    let doing = || format!("shutting container {name} down");
    match seen::state(host, name).await?.power {
        Power::Stopped => return Ok(true),
        Power::Frozen => drop(super::program("lxc-unfreeze", host, name).run().await.attempt(doing)?),
        Power::Running | Power::Changing => {}
    }
    // It ends with 1 when the time is over and with 2 when the container stopped by itself; what counts is the state.
    let call = super::program("lxc-stop", host, name).args(["--nokill", "-t", &within.as_secs().max(1).to_string()]);
    call.ok(&[0, 1, 2]).deadline(within + Duration::from_secs(60)).run().await.attempt(doing)?;
    Ok(!seen::state(host, name).await?.power.active())
}

/// Switches a container off.
pub async fn kill(host: &Host, name: &Name) -> Result<(), Fault> {
    if !seen::state(host, name).await?.power.active() {
        return Ok(());
    }
    let call = super::program("lxc-stop", host, name).arg("--kill").ok(&[0, 2]);
    call.run().await.attempt(|| format!("switching container {name} off"))?;
    for _ in 0..100 {
        if !seen::state(host, name).await?.power.active() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Fault::new(FaultKind::Deadline, format!("container {name} was switched off and still runs")))
}

/// A container's files and state, which must be there and be its owner's.
pub async fn held(host: &Host, target: &Target<'_>) -> Result<(Files, State), Fault> {
    let name = target.name;
    let files = seen::files(host, name)?
        .ok_or_else(|| Fault::new(FaultKind::NotFound, format!("there is no container {name}")))?;
    target.check(files.record.as_ref())?;
    Ok((files, seen::state(host, name).await?))
}
