//! Changes a running guest: one operation of libvirt's for each change that needs no restart.

use std::time::Duration;

use virt::domain::Domain as Handle;
use virt_sys as sys;

use super::connection::Done;
use super::error::Failure;
use super::ffi::{self, Event, Schedule, What};
use super::lifecycle::change;
use super::reconfigure::{Configured, keep_address};
use super::xml::{self, Element};
use super::{Libvirt, Meant};
use crate::base::{Fault, FaultKind, Name, Size};
use crate::drivers::guest::SecretValues;
use crate::kinds::vm::{CpuRange, Media};

const LIVE: u32 = sys::VIR_DOMAIN_AFFECT_LIVE;
const DEADLINE: Duration = Duration::from_secs(60);
/// A guest may need a moment to let go of a device, and one that still boots does not hear the first request.
const LET_GO: Duration = Duration::from_secs(8);
const LET_GO_TRIES: u32 = 3;
/// How long a balloon may take to get there before it is said that it has not.
const BALLOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(150);

/// Something that is done to a running guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Only our record knows it; the guest need not.
    Nothing,
    /// It cannot be done to a running guest, for this reason.
    Wait(Option<String>),
    /// The description.
    Describe,
    /// The number of processors.
    Processors,
    /// The limit of processor time.
    Limit,
    /// The share of processor time.
    Weight,
    /// The host's processors.
    Pin,
    /// The balloon.
    Balloon,
    /// The screen's password.
    Password,
    /// The cloud-init seed's drive.
    Seed,
    /// A device of this sort and name is plugged in.
    Plug(Sort, Name),
    /// A device of this sort and name is unplugged.
    Unplug(Sort, Name),
    /// A device is unplugged, and plugged in as it shall be.
    Replug(Sort, Name),
    /// The medium of a drive.
    Medium(Name),
    /// The throttles of a disk.
    Throttle(Name),
    /// The size of a disk.
    Grow(Name),
    /// What a network card is connected to, and whether its cable is plugged in.
    Connect(Name),
    /// How fast a network card may be.
    Rate(Name),
}

/// A sort of device that can be plugged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A disk.
    Disk,
    /// A network card.
    Nic,
    /// A USB device of the host.
    Usb,
}

impl Sort {
    /// The section of the spec.
    fn section(self) -> &'static str {
        match self {
            Self::Disk => "disks",
            Self::Nic => "nics",
            Self::Usb => "usb",
        }
    }

    fn element(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Nic => "interface",
            Self::Usb => "hostdev",
        }
    }

    fn find<'d, 'a>(self, domain: &'d Element<'a>, name: &Name) -> Option<&'d Element<'a>> {
        match self {
            Self::Disk => xml::find_disk(domain, name),
            Self::Nic => xml::find_nic(domain, name),
            Self::Usb => xml::find_hostdev(domain, "usb", name),
        }
    }

    /// The device in the running domain, which may not know the name we gave it later.
    fn find_live<'c>(self, configured: &'c Configured, name: &Name) -> Option<&'c Element<'static>> {
        let live = configured.live.as_ref()?;
        let identity = configured.names.identity(self.section(), name);
        self.find(live, name).or_else(|| self.find(live, identity?))
    }
}

/// What is to be done, each with the paths it serves, in the order of the paths.
pub fn ops(configured: &Configured, paths: &[String]) -> Vec<(Op, Vec<String>)> {
    let mut ops: Vec<(Op, Vec<String>)> = Vec::new();
    for path in paths {
        let op = op(configured, path);
        match ops.iter_mut().find(|(known, _)| *known == op) {
            Some((_, served)) => served.push(path.clone()),
            None => ops.push((op, vec![path.clone()])),
        }
    }
    // What frees something comes before what may need it.
    ops.sort_by_key(|(op, _)| !matches!(op, Op::Unplug(..)));
    ops
}

fn op(configured: &Configured, path: &str) -> Op {
    let keys: Vec<&str> = path.split('.').collect();
    let (running, target) = (&configured.running.spec, &configured.target.spec);
    match keys.as_slice() {
        ["tags" | "node" | "runStrategy" | "reconcile" | "startup" | "stopTimeout", ..] | ["memory", "balloonMin"] => {
            Op::Nothing
        }
        ["description"] => Op::Describe,
        ["cpu", "cores"] => {
            let (now, then) = (running.cpu(), target.cpu());
            if (now.sockets(), now.threads()) != (then.sockets(), then.threads()) {
                Op::Wait(Some("sockets and threads change too".to_owned()))
            } else if then.count() > now.most() {
                Op::Wait(Some(format!("the running guest can have at most {} processors", now.most())))
            } else {
                Op::Processors
            }
        }
        ["cpu", "limit"] => Op::Limit,
        ["cpu", "weight"] => Op::Weight,
        ["cpu", "pinning"] => Op::Pin,
        ["memory", "size"] => {
            let (now, then) = (running.memory(), target.memory());
            if !now.balloon() {
                Op::Wait(Some("the running guest has no balloon".to_owned()))
            } else if then.size() > now.most() {
                Op::Wait(Some(format!("the running guest can have at most {}", now.most())))
            } else {
                Op::Balloon
            }
        }
        ["display", "password"] => Op::Password,
        ["cloudInit", "firstBoot", ..] => Op::Nothing,
        ["cloudInit", ..] => Op::Seed,
        ["disks", name, rest @ ..] => device(configured, Sort::Disk, name, rest),
        ["nics", name, rest @ ..] => device(configured, Sort::Nic, name, rest),
        ["usb", name, rest @ ..] => device(configured, Sort::Usb, name, rest),
        _ => Op::Wait(None),
    }
}

fn device(configured: &Configured, sort: Sort, name: &str, rest: &[&str]) -> Op {
    let Ok(name) = Name::new(name) else { return Op::Wait(None) };
    let runs = sort.find_live(configured, &name).is_some();
    let wanted = sort.find(&configured.config, &name).is_some();
    match (runs, wanted, rest) {
        (false, false, _) => Op::Nothing,
        (true, false, _) => Op::Unplug(sort, name),
        (false, true, _) => Op::Plug(sort, name),
        (true, true, []) => whole(configured, sort, name),
        (true, true, rest) => part(configured, sort, name, rest),
    }
}

/// A device that is there and shall be there: as it is, or plugged anew.
fn whole(configured: &Configured, sort: Sort, name: Name) -> Op {
    let (running, target) = (&configured.running, &configured.configured);
    let same = match sort {
        Sort::Disk => {
            let has = |m: &crate::drivers::guest::Machine| {
                let disk = m.spec.disks.get(&name).cloned().map(|d| crate::kinds::vm::Disk { size: None, ..*d });
                (disk, m.disks.get(&name).cloned())
            };
            has(running) == has(target)
        }
        Sort::Nic => {
            running.spec.nics.get(&name) == target.spec.nics.get(&name)
                && running.links.get(&name) == target.links.get(&name)
        }
        Sort::Usb => running.spec.usb.get(&name) == target.spec.usb.get(&name),
    };
    match sort {
        _ if same => Op::Nothing,
        Sort::Disk => Op::Wait(Some("another disk of that name is in use".to_owned())),
        Sort::Nic | Sort::Usb => Op::Replug(sort, name),
    }
}

fn part(configured: &Configured, sort: Sort, name: Name, rest: &[&str]) -> Op {
    match (sort, rest) {
        (Sort::Disk, ["backup" | "onRemove"]) => Op::Nothing,
        (Sort::Disk, ["size"]) => Op::Grow(name),
        (Sort::Disk, ["limits", ..]) => Op::Throttle(name),
        (Sort::Disk, ["image" | "volume" | "path" | "storage"]) => {
            let drive = configured.running.spec.disks.get(&name).is_some_and(|d| d.media() == Media::Cdrom);
            if drive { Op::Medium(name) } else { Op::Wait(None) }
        }
        (Sort::Nic, ["network" | "vlan" | "linkUp"]) => Op::Connect(name),
        (Sort::Nic, ["rate"]) => Op::Rate(name),
        (Sort::Nic, ["model" | "mac" | "queues" | "mtu"]) => Op::Replug(sort, name),
        (Sort::Usb, _) => Op::Replug(sort, name),
        _ => Op::Wait(None),
    }
}

/// Does one operation to the running guest.
pub async fn apply(
    libvirt: &Libvirt,
    meant: &Meant,
    configured: &Configured,
    secrets: &SecretValues,
    op: &Op,
) -> Result<(), Fault> {
    let target = &configured.target.spec;
    match op {
        Op::Nothing => Ok(()),
        Op::Wait(why) => Err(Fault::new(FaultKind::Unsupported, why.clone().unwrap_or_default())),
        Op::Describe => {
            let text = target.description.clone();
            let kind = sys::VIR_DOMAIN_METADATA_DESCRIPTION.cast_signed();
            run(libvirt, meant, "describing", move |d| {
                Ok(d.set_metadata(kind, text.as_deref(), None, None, LIVE).map(ignored)?)
            })
            .await
        }
        Op::Processors => {
            let count = target.cpu().count();
            run(libvirt, meant, "changing the processors of", move |d| {
                if d.get_vcpus_flags(LIVE)? != count {
                    d.set_vcpus_flags(count, LIVE)?;
                }
                Ok(())
            })
            .await
        }
        Op::Limit => {
            let schedule = Schedule::Quota { quota: xml::quota(target.cpu().limit), period: xml::PERIOD };
            run(libvirt, meant, "limiting the processors of", move |d| ffi::set_schedule(d, schedule, LIVE)).await
        }
        Op::Weight => {
            let schedule = Schedule::Shares(libvirt.host.shares_of(target.cpu().weight()));
            run(libvirt, meant, "weighing the processors of", move |d| ffi::set_schedule(d, schedule, LIVE)).await
        }
        Op::Pin => {
            let (pinning, count) = (target.cpu().pinning, configured.running.spec.cpu().count());
            run(libvirt, meant, "pinning the processors of", move |d| pin(d, &pinning, count)).await
        }
        Op::Balloon => balloon(libvirt, meant, target.memory().size()).await,
        Op::Password => {
            let element = xml::graphics(&target.display(), secrets.get(xml::PASSWORD));
            let element = element.ok_or_else(|| Fault::new(FaultKind::Invalid, "there is no screen"))?;
            update(libvirt, meant, "setting the screen's password of", &element, 0).await
        }
        Op::Seed => seed(libvirt, meant, configured).await,
        Op::Plug(sort, name) => plug(libvirt, meant, configured, *sort, name).await,
        Op::Unplug(sort, name) => unplug(libvirt, meant, configured, *sort, name).await,
        Op::Replug(sort, name) => {
            unplug(libvirt, meant, configured, *sort, name).await?;
            plug(libvirt, meant, configured, *sort, name).await
        }
        Op::Medium(name) => medium(libvirt, meant, configured, name).await,
        Op::Throttle(name) => {
            let disk = there(Sort::Disk.find_live(configured, name), name)?;
            let on = xml::target_of(disk).to_owned();
            let limits = target.disks.get(name).map(|d| xml::disk_limits(&d.limits())).unwrap_or_default();
            run(libvirt, meant, "throttling a disk of", move |d| ffi::set_block_io_tune(d, &on, &limits, LIVE)).await
        }
        Op::Grow(name) => {
            let disk = there(Sort::Disk.find_live(configured, name), name)?;
            let on = xml::target_of(disk).to_owned();
            let size = target.disks.get(name).and_then(|d| d.size);
            let size =
                size.ok_or_else(|| Fault::new(FaultKind::Invalid, format!("disk {name} has no size to grow to")))?;
            run(libvirt, meant, "growing a disk of", move |d| grow(d, &on, size)).await
        }
        Op::Connect(name) => connect(libvirt, meant, configured, name, false).await,
        Op::Rate(name) => connect(libvirt, meant, configured, name, true).await,
    }
}

/// libvirt's calls give a number that says nothing.
fn ignored<T>(_: T) {}

fn there<T>(found: Option<T>, name: &Name) -> Result<T, Fault> {
    found.ok_or_else(|| Fault::new(FaultKind::NotFound, format!("the running guest has no device {name}")))
}

async fn run<T: Send + 'static>(
    libvirt: &Libvirt,
    meant: &Meant,
    doing: &str,
    work: impl FnMut(&Handle) -> Done<T> + Send + 'static,
) -> Result<T, Fault> {
    let doing = format!("{doing} domain {}", meant.name);
    change(libvirt, meant.clone(), doing, DEADLINE, work).await
}

fn pin(domain: &Handle, pinning: &[CpuRange], count: u32) -> Done<()> {
    let cpus = domain.get_connect()?.get_node_info()?.cpus;
    let mut map = vec![0u8; cpus.div_ceil(8) as usize];
    let allowed = |cpu: u32| pinning.is_empty() || pinning.iter().any(|r| (r.first..=r.last).contains(&cpu));
    for cpu in (0..cpus).filter(|cpu| allowed(*cpu)) {
        map[(cpu / 8) as usize] |= 1 << (cpu % 8);
    }
    if map.iter().all(|byte| *byte == 0) {
        let said = format!("the host has only {cpus} processors");
        return Err(Fault::new(FaultKind::Invalid, said).help("pin it to processors that are there").into());
    }
    for vcpu in 0..count {
        domain.pin_vcpu_flags(vcpu, &map, LIVE)?;
    }
    domain.pin_emulator(&map, LIVE)?;
    Ok(())
}

async fn balloon(libvirt: &Libvirt, meant: &Meant, size: Size) -> Result<(), Fault> {
    let kib = size.kib();
    run(libvirt, meant, "changing the memory of", move |d| Ok(d.set_memory_flags(kib, LIVE).map(ignored)?)).await?;
    let mut waited = Duration::ZERO;
    loop {
        let now = run(libvirt, meant, "looking at the memory of", |d| Ok(d.get_info()?.memory)).await?;
        if now == kib {
            return Ok(());
        }
        if waited >= BALLOON {
            let (now, size) = (Size(now * 1024), Size(kib * 1024));
            return Err(Fault::new(
                FaultKind::Other,
                format!(
                    "the guest's balloon is at {now} on its way to {size}; it goes on, or the guest has no driver for it"
                ),
            ));
        }
        tokio::time::sleep(POLL).await;
        waited += POLL;
    }
}

fn grow(domain: &Handle, target: &str, size: Size) -> Done<()> {
    let now = domain.get_block_info(target, 0)?.capacity;
    if now == size.bytes() {
        return Ok(());
    }
    if now > size.bytes() {
        let said = format!("the disk has {} and would shrink to {size}", Size(now));
        return Err(Fault::new(FaultKind::Invalid, said).help("a disk only ever grows").into());
    }
    domain.block_resize(target, size.bytes(), sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES)?;
    Ok(())
}

async fn update(libvirt: &Libvirt, meant: &Meant, doing: &str, element: &Element<'_>, flags: u32) -> Result<(), Fault> {
    let text = element.write()?;
    run(libvirt, meant, doing, move |d| Ok(d.update_device_flags(&text, LIVE | flags).map(ignored)?)).await
}

/// Puts a medium into a drive, with force where the guest has locked it.
async fn medium(libvirt: &Libvirt, meant: &Meant, configured: &Configured, name: &Name) -> Result<(), Fault> {
    let mut drive = there(Sort::Disk.find_live(configured, name), name)?.clone();
    let attachment = configured.target.disks.get(name).and_then(Option::as_ref);
    xml::set_source(&mut drive, attachment)?;
    insert(libvirt, meant, &drive).await
}

async fn insert(libvirt: &Libvirt, meant: &Meant, drive: &Element<'_>) -> Result<(), Fault> {
    let doing = "changing the medium of";
    match update(libvirt, meant, doing, drive, 0).await {
        Err(fault) if !fault.retryable() => {
            update(libvirt, meant, doing, drive, sys::VIR_DOMAIN_DEVICE_MODIFY_FORCE).await
        }
        done => done,
    }
}

/// Shows the guest the seed as it is now. A file of the same name may be another, so it is taken out first.
async fn seed(libvirt: &Libvirt, meant: &Meant, configured: &Configured) -> Result<(), Fault> {
    let live = configured.live.as_ref().and_then(xml::seed_drive);
    let (Some(drive), Some(seed)) = (live, &configured.target.seed) else {
        return if live.is_none() && configured.target.seed.is_none() {
            Ok(())
        } else {
            Err(Fault::new(
                FaultKind::Unsupported,
                "the drive for the cloud-init seed comes and goes only with a restart",
            ))
        };
    };
    let mut drive = drive.clone();
    xml::set_source(&mut drive, None)?;
    insert(libvirt, meant, &drive).await?;
    xml::set_source(&mut drive, Some(&xml::seed_attachment(seed)))?;
    insert(libvirt, meant, &drive).await
}

/// Changes a network card in place, its rate or the rest; where libvirt cannot, it is plugged anew.
async fn connect(
    libvirt: &Libvirt,
    meant: &Meant,
    configured: &Configured,
    name: &Name,
    rate: bool,
) -> Result<(), Fault> {
    let alias = alias_of(there(Sort::Nic.find_live(configured, name), name)?);
    let (nic, link) = {
        let target = &configured.target;
        (there(target.spec.nics.get(name), name)?.clone(), target.links.get(name).cloned().flatten())
    };
    let done = run(libvirt, meant, "changing a network card of", move |domain| {
        // As it is now: another change of the same card may have come just before.
        let text = domain.get_xml_desc(0)?;
        let live = Element::read(&text).map_err(Fault::from)?;
        let cards = live.first("devices").into_iter().flat_map(|d| d.all("interface"));
        let Some(card) = cards.into_iter().find(|c| alias_of(c) == alias) else {
            return Err(Fault::new(FaultKind::NotFound, "the card is gone").into());
        };
        let (mut wanted, now) = xml::read_nic(card);
        let mut card = card.clone();
        if rate {
            wanted.rate = nic.rate;
            xml::set_nic(&mut card, &wanted, now.as_ref(), Some(now.as_ref()));
        } else {
            (wanted.vlan, wanted.link_up) = (nic.vlan, nic.link_up);
            xml::set_nic(&mut card, &wanted, link.as_ref(), Some(now.as_ref()));
        }
        domain.update_device_flags(&card.write().map_err(Fault::from)?, LIVE)?;
        Ok(())
    });
    match done.await {
        Err(fault) if matches!(fault.kind, FaultKind::Unsupported | FaultKind::Invalid) => {
            tracing::debug!(%fault, "plugging the card anew");
            unplug(libvirt, meant, configured, Sort::Nic, name).await?;
            plug(libvirt, meant, configured, Sort::Nic, name).await
        }
        done => done,
    }
}

fn alias_of(device: &Element<'_>) -> String {
    device.attribute(&["alias"], "name").unwrap_or_default().to_owned()
}

/// Plugs a device in as it is configured, at the configured address where that is free.
async fn plug(libvirt: &Libvirt, meant: &Meant, configured: &Configured, sort: Sort, name: &Name) -> Result<(), Fault> {
    let device = there(sort.find(&configured.config, name), name)?;
    if sort == Sort::Disk {
        prepare_disk(libvirt, meant, configured, device).await?;
    }
    let placed = device.write()?;
    let mut anywhere = device.clone();
    let keeps_place = anywhere.attribute(&["address"], "type") == Some("drive");
    anywhere.remove_all("address");
    let anywhere = anywhere.write()?;
    let alias = alias_of(device);
    let element = sort.element();
    run(libvirt, meant, "plugging a device into", move |domain| {
        match domain.attach_device_flags(&placed, LIVE) {
            Ok(_) => return Ok(()),
            Err(error) if keeps_place => return Err(error.into()),
            // Something that is unplugged only in the configuration may still be there.
            Err(error) if domain.attach_device_flags(&anywhere, LIVE).is_err() => return Err(error.into()),
            Err(_) => {}
        }
        keep_address(domain, element, &alias)
    })
    .await
}

/// Gives the running guest the thread and the controller that a disk needs.
async fn prepare_disk(
    libvirt: &Libvirt,
    meant: &Meant,
    configured: &Configured,
    disk: &Element<'_>,
) -> Result<(), Fault> {
    let Some(live) = configured.live.as_ref() else { return Ok(()) };
    let slot = xml::disk_slot(&configured.config, disk);
    if let Some(thread) = slot.iothread.filter(|thread| !xml::threads(live).contains(thread)) {
        run(libvirt, meant, "adding a thread to", move |d| Ok(ffi::iothread(d, thread, true, LIVE)?)).await?;
    }
    if disk.attribute(&["target"], "bus") != Some("scsi") {
        return Ok(());
    }
    let controller = slot.unit.map_or(0, |(controller, _)| controller);
    if xml::find_scsi(live, controller).is_none() {
        let element = xml::scsi_element(controller, slot.iothread).write()?;
        run(libvirt, meant, "adding a controller to", move |d| {
            Ok(d.attach_device_flags(&element, LIVE).map(ignored)?)
        })
        .await?;
    }
    Ok(())
}

/// Unplugs a device and waits until the guest has let go of it.
async fn unplug(
    libvirt: &Libvirt,
    meant: &Meant,
    configured: &Configured,
    sort: Sort,
    name: &Name,
) -> Result<(), Fault> {
    let Some(device) = sort.find_live(configured, name) else { return Ok(()) };
    let alias = alias_of(device);
    // Events make it quick; without them it is looked for.
    let _ = libvirt.events.listen(&libvirt.pool).await;
    let mut events = libvirt.events.subscribe();
    let text = device.write()?;
    for _ in 0..LET_GO_TRIES {
        let (text, wanted, kind) = (text.clone(), alias.clone(), sort.element());
        let asked = run(libvirt, meant, "unplugging a device from", move |domain| {
            match domain.detach_device_flags(&text, LIVE) {
                Ok(_) => Ok(is_plugged(domain, kind, &wanted)?),
                Err(error) => {
                    let failure = Failure::from(error);
                    // The last request is still under way, or it is gone.
                    if failure.not_found() || failure.says("already in the process of unplug") {
                        return is_plugged(domain, kind, &wanted);
                    }
                    Err(failure)
                }
            }
        });
        if !asked.await? {
            return Ok(());
        }
        let meant_uuid = meant.uuid;
        let gone = async {
            loop {
                match events.recv().await {
                    Ok(Event { uuid, what: What::DeviceRemoved(a) }) if uuid == meant_uuid && a == alias => {
                        return true;
                    }
                    Ok(Event { uuid, what: What::DeviceKept(a) }) if uuid == meant_uuid && a == alias => return false,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(LET_GO, gone).await == Ok(true) {
            return Ok(());
        }
    }
    let (kind, wanted) = (sort.element(), alias.clone());
    if run(libvirt, meant, "looking at the devices of", move |d| is_plugged(d, kind, &wanted)).await? {
        return Err(Fault::new(
            FaultKind::Other,
            format!("the guest has not let go of {name} within {} s", LET_GO.as_secs() * u64::from(LET_GO_TRIES)),
        ));
    }
    Ok(())
}

fn is_plugged(domain: &Handle, kind: &str, alias: &str) -> Done<bool> {
    let text = domain.get_xml_desc(0)?;
    let live = Element::read(&text).map_err(Fault::from)?;
    let devices = live.first("devices");
    Ok(devices.is_some_and(|d| d.all(kind).any(|e| e.attribute(&["alias"], "name") == Some(alias))))
}
