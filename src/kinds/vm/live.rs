//! What is observed of a virtual machine: the hypervisor's view, completed with what only our record and the storages
//! know, in the shape of the spec.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::spec::{Accelerator, Media, RunStrategy, VmSpec};
use crate::base::{Fault, Mark, Name};
use crate::drivers::guest::{Domain, Link, Machine, Power, Record, Stop};
use crate::drivers::storage::{Attachment, VolumeInfo};
use crate::kinds::{Catalog, KindName, Observed, Scope, World, network, storage};

/// The note that says which paths the guest refused to take while it runs.
pub(super) const STAGED: &str = "staged";
/// The note that says that the guest is down only to be started again.
pub(super) const RESTARTING: &str = "restarting";

/// What is observed of a virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VmLive {
    /// The hypervisor's identifier.
    pub uuid: Uuid,
    /// Whether it runs.
    pub power: Power,
    /// Why not, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Our mark, when it carries one; what was applied is in `applied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// The spec that was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<VmSpec>,
    /// What is configured.
    pub spec: VmSpec,
    /// What the running guest has, where that is not what is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<VmSpec>,
    /// What else was found.
    #[serde(default, skip_serializing_if = "Oddities::is_empty")]
    pub odd: Oddities,
}

/// What needs looking after besides the spec.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Oddities {
    /// Disks that are detached, and whose volumes do not say so yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftover: Vec<Name>,
    /// Paths that the guest refused to take while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// The file of the cloud-init seed is not there, or not in the running guest's drive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub seed_lost: bool,
    /// A restart was begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarting: bool,
}

impl Oddities {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every machine of the hypervisor that can have a name here.
pub(super) async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<VmLive>>, Fault> {
    let domains = world.vms.list().await?;
    let volumes = Volumes::all(world, scope, domains.values().flatten()).await;
    let networks = scope.catalog().view(Networks::find);
    let mut found = BTreeMap::new();
    for (name, domain) in domains {
        let Ok(name) = Name::new(&name) else {
            tracing::debug!(domain = name, "a domain whose name no manifest can have is left alone");
            continue;
        };
        let see = See { world, scope, volumes: &volumes, networks: &networks };
        let seen = match domain {
            Err(fault) => Observed::Unknown(fault.message),
            Ok(domain) => see.known(&domain),
        };
        found.insert(name, seen);
    }
    Ok(found)
}

/// One machine alone.
pub(super) async fn observe_one(world: &World, scope: &Scope<'_>, name: &Name) -> Result<Observed<VmLive>, Fault> {
    let Some(domain) = world.vms.find(name.as_str()).await? else { return Ok(Observed::Absent) };
    let volumes = Volumes::of(world, scope, &domain).await;
    let networks = scope.catalog().view(Networks::find);
    Ok(See { world, scope, volumes: &volumes, networks: &networks }.known(&domain))
}

/// The sizes of the volumes on each storage that guests have disks on.
struct Volumes(BTreeMap<Name, Result<HashMap<String, VolumeInfo>, String>>);

impl Volumes {
    /// All that there are, since many machines are looked at.
    async fn all(world: &World, scope: &Scope<'_>, domains: impl Iterator<Item = &Domain>) -> Self {
        let used: BTreeSet<&Name> = domains.flat_map(own_volumes).map(|(storage, _)| storage).collect();
        let mut known = Self(BTreeMap::new());
        for name in used {
            known.put(name, storage::volumes(world, scope, name).await);
        }
        known
    }

    /// Those of one machine.
    async fn of(world: &World, scope: &Scope<'_>, domain: &Domain) -> Self {
        let mut used: BTreeMap<&Name, Vec<&str>> = BTreeMap::new();
        for (storage, volume) in own_volumes(domain) {
            used.entry(storage).or_default().extend(volume);
        }
        let mut known = Self(BTreeMap::new());
        for (name, volumes) in used {
            known.put(name, storage::volumes_named(world, scope, name, &volumes).await);
        }
        known
    }

    fn put(&mut self, storage: &Name, found: Result<Vec<VolumeInfo>, Fault>) {
        let found = found.map(|volumes| volumes.into_iter().map(|v| (v.name.clone(), v)).collect());
        let found = found.map_err(|e| format!("the disks on storage/{storage} cannot be read: {}", e.message));
        self.0.insert(storage.clone(), found);
    }

    /// Why a machine's disks are not known.
    fn unknown(&self, domain: &Domain) -> Option<String> {
        let storage = own_volumes(domain).find_map(|(s, _)| self.0.get(s)?.as_ref().err().cloned());
        let volume = || {
            let mut origins = domain.record.iter().flat_map(|r| r.disks.values()).filter(|o| o.resource.is_none());
            origins.find_map(|o| self.find(o.storage.as_ref()?, o.volume.as_deref()?)?.problem.clone())
        };
        storage.or_else(volume)
    }

    fn find(&self, storage: &Name, volume: &str) -> Option<&VolumeInfo> {
        self.0.get(storage)?.as_ref().ok()?.get(volume)
    }
}

/// Where a machine's own disks are: the storage, and the volume there.
fn own_volumes(domain: &Domain) -> impl Iterator<Item = (&Name, Option<&str>)> {
    let origins = domain.record.iter().flat_map(|r| r.disks.values()).filter(|o| o.resource.is_none());
    origins.filter_map(|o| Some((o.storage.as_ref()?, o.volume.as_deref())))
}

/// Which Network a link belongs to.
struct Networks(HashMap<Link, Name>);

impl Networks {
    fn find(catalog: &Catalog) -> Self {
        let scope = Scope::of(catalog);
        let of = |name: &Name| network::link(&scope, name).ok().map(|l| (Link::from(l), name.clone()));
        Self(catalog.of(KindName::Network).filter_map(|r| of(r.name())).collect())
    }
}

impl From<network::Link> for Link {
    fn from(link: network::Link) -> Self {
        match link {
            network::Link::Network { name, .. } => Self::Network { name },
            network::Link::Bridge { bridge } => Self::Bridge { bridge },
        }
    }
}

/// Everything one look needs.
struct See<'a, 's> {
    world: &'a World,
    scope: &'a Scope<'s>,
    volumes: &'a Volumes,
    networks: &'a Networks,
}

impl See<'_, '_> {
    /// The machine, or why it is not known.
    fn known(&self, domain: &Domain) -> Observed<VmLive> {
        match self.volumes.unknown(domain) {
            Some(why) => Observed::Unknown(why),
            None => Observed::Present(self.live(domain)),
        }
    }

    fn live(&self, domain: &Domain) -> VmLive {
        let record = domain.record.as_ref();
        let mark = record.map(|r| Mark { applied: None, ..r.mark.clone() });
        let applied = record.and_then(|r| r.mark.applied.as_ref()).map(|a| VmSpec::deserialize(a).unwrap_or_default());
        let ours = record.map(|_| applied.clone().unwrap_or_default());
        let spec = self.complete(domain, &domain.configured, ours.as_ref(), None);
        let running = domain.running.as_ref().map(|m| self.complete(domain, m, ours.as_ref(), Some(&spec)));
        VmLive {
            uuid: domain.uuid,
            power: domain.power,
            stop: domain.stop,
            mark,
            odd: odd(domain, record),
            running: running.filter(|r| *r != spec),
            applied,
            spec,
        }
    }

    /// The spec that says what a machine is; `ours` is what was applied, when the machine is ours.
    fn complete(
        &self,
        domain: &Domain,
        machine: &Machine,
        ours: Option<&VmSpec>,
        configured: Option<&VmSpec>,
    ) -> VmSpec {
        let mut spec = machine.spec.clone();
        spec.node = Some(self.world.node.clone());
        if let Some(ours) = ours {
            drop_foreign(&mut spec, domain, ours);
            resolve_aliases(&mut spec, ours);
            remember(&mut spec, ours);
            if configured.is_some() {
                forgive_loan(&mut spec, ours);
            }
        } else if !domain.power.active() {
            spec.run_strategy = Some(RunStrategy::Manual);
        }
        let told = ours.and_then(|o| o.cloud_init.clone());
        spec.cloud_init = match (ours, &machine.seed) {
            (Some(_), Some(_)) => Some(told.unwrap_or_default()),
            _ => None,
        };
        self.complete_disks(&mut spec, domain, machine, ours, configured);
        self.complete_nics(&mut spec, domain, machine);
        super::form::settle(&mut spec);
        spec.prune();
        spec
    }

    fn complete_disks(
        &self,
        spec: &mut VmSpec,
        domain: &Domain,
        machine: &Machine,
        ours: Option<&VmSpec>,
        configured: Option<&VmSpec>,
    ) {
        let none = BTreeMap::new();
        let origins = domain.record.as_ref().map_or(&none, |r| &r.disks);
        for (name, disk) in &mut spec.disks {
            let hard = disk.media() == Media::Disk;
            let attachment = machine.disks.get(name).and_then(Option::as_ref);
            if let Some(before) = ours.and_then(|o| o.disks.get(name)) {
                (disk.backup, disk.on_remove) = (before.backup, before.on_remove);
            }
            disk.format = attachment.and_then(format_of).filter(|_| hard);
            let origin = origins.get(name).filter(|o| o.attachment.as_ref() == attachment);
            match origin {
                Some(origin) if origin.storage.is_some() || origin.resource.is_some() || origin.image.is_some() => {
                    disk.volume.clone_from(&origin.resource);
                    disk.storage = origin.storage.clone().filter(|_| origin.resource.is_none());
                    disk.image = origin.image.clone().filter(|_| !hard);
                    disk.format = origin.format.or(disk.format).filter(|_| hard && origin.resource.is_none());
                    let own = disk.storage.as_ref().zip(origin.volume.as_deref());
                    let volume = own.and_then(|(s, v)| self.volumes.find(s, v)).map(|v| v.size);
                    let before = configured.and_then(|c| c.disks.get(name)).and_then(|d| d.size);
                    disk.size = if configured.is_some() { disk.size.or(before) } else { volume };
                    disk.size = disk.size.filter(|_| disk.storage.is_some());
                }
                _ => {
                    disk.path = attachment.map(place_of);
                    disk.size = None;
                }
            }
        }
    }

    fn complete_nics(&self, spec: &mut VmSpec, domain: &Domain, machine: &Machine) {
        for (name, nic) in &mut spec.nics {
            let Some(link) = machine.links.get(name).and_then(Option::as_ref) else { continue };
            let known = self.networks.0.get(link).cloned();
            nic.network = match domain.record.as_ref().map(|r| r.plugs.get(name)) {
                // The Network it was plugged into, unless that is now something else.
                Some(Some(plug)) if plug.link == *link => match network::link(self.scope, &plug.network) {
                    Ok(now) if Link::from(now.clone()) != *link => known,
                    _ => Some(plug.network.clone()),
                },
                Some(_) => known,
                None => known.or_else(|| word(link)),
            };
        }
    }
}

/// A name for a link that no manifest describes.
fn word(link: &Link) -> Option<Name> {
    let (Link::Network { name } | Link::Bridge { bridge: name }) = link;
    let plain: String = name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Name::new(plain.trim_matches('-')).ok()
}

/// Takes out devices that someone attached by hand: they are not ours, unless they were there when we took over.
fn drop_foreign(spec: &mut VmSpec, domain: &Domain, ours: &VmSpec) {
    let foreign = |section: &str, name: &Name| domain.unnamed.get(section).is_some_and(|names| names.contains(name));
    spec.disks.retain(|name, _| ours.disks.contains_key(name) || !foreign("disks", name));
    spec.nics.retain(|name, _| ours.nics.contains_key(name) || !foreign("nics", name));
    spec.usb.retain(|name, _| ours.usb.contains_key(name) || !foreign("usb", name));
    spec.pci.retain(|name, _| ours.pci.contains_key(name) || !foreign("pci", name));
}

/// Says `q35` and `auto` again where that is what was asked for, and what is there is what it was resolved to.
fn resolve_aliases(spec: &mut VmSpec, ours: &VmSpec) {
    let (found, asked) = (spec.machine(), ours.machine());
    let family = match asked.as_str() {
        "q35" => "pc-q35-",
        "pc" => "pc-i440fx-",
        _ => "",
    };
    if !family.is_empty() && found.starts_with(family) {
        spec.machine = Some(asked);
    }
    if ours.accelerator() == Accelerator::Auto {
        spec.accelerator = None;
    }
}

/// Fills in what no hypervisor keeps.
fn remember(spec: &mut VmSpec, ours: &VmSpec) {
    spec.tags.clone_from(&ours.tags);
    spec.run_strategy = ours.run_strategy;
    spec.reconcile = ours.reconcile;
    spec.startup.clone_from(&ours.startup);
    spec.stop_timeout = ours.stop_timeout;
    spec.memory.get_or_insert_default().balloon_min = ours.memory.as_ref().and_then(|m| m.balloon_min);
    spec.display.get_or_insert_default().password = ours.display.as_ref().and_then(|d| d.password.clone());
}

/// Counts what a running guest lends its host as memory that it has; more than it may lend is a difference.
fn forgive_loan(spec: &mut VmSpec, ours: &VmSpec) {
    let (meant, Some(now)) = (ours.memory(), &mut spec.memory) else { return };
    let Some(least) = meant.balloon_min else { return };
    if now.balloon() && (least..meant.size()).contains(&now.size()) {
        now.size = Some(meant.size());
        now.max = now.max.filter(|max| *max != meant.size());
    }
}

fn odd(domain: &Domain, record: Option<&Record>) -> Oddities {
    let Some(record) = record else { return Oddities::default() };
    let detached = record.disks.iter().filter(|(name, origin)| {
        origin.storage.is_some() && origin.resource.is_none() && !domain.configured.spec.disks.contains_key(*name)
    });
    let refused = record.notes.get(STAGED).map(|paths| paths.split(' ').map(str::to_owned).collect());
    Oddities {
        leftover: detached.map(|(name, _)| name.clone()).collect(),
        refused: refused.filter(|_| domain.power.active()).unwrap_or_default(),
        seed_lost: domain.configured.seed.as_ref().is_some_and(|path| !path.exists()) || out_of_drive(domain),
        restarting: record.notes.contains_key(RESTARTING),
    }
}

/// Whether the running guest's drive for the seed has nothing in it.
fn out_of_drive(domain: &Domain) -> bool {
    let running = domain.running.as_ref().filter(|_| domain.power.active());
    running.and_then(|m| m.seed.as_ref()).is_some_and(|path| path.as_os_str().is_empty())
}

fn format_of(attachment: &Attachment) -> Option<crate::drivers::storage::Format> {
    match attachment {
        Attachment::File { format, .. } | Attachment::Gluster { format, .. } => Some(*format),
        Attachment::Block { .. } | Attachment::Rbd { .. } | Attachment::Iscsi { .. } => {
            Some(crate::drivers::storage::Format::Raw)
        }
        Attachment::Directory { .. } => None,
    }
}

/// Where an attachment leads, in words that `path` can hold for files and devices.
fn place_of(attachment: &Attachment) -> String {
    match attachment {
        Attachment::File { path, .. } | Attachment::Block { path } | Attachment::Directory { path } => {
            path.display().to_string()
        }
        Attachment::Rbd { name, .. } => format!("rbd:{name}"),
        Attachment::Iscsi { portal, target, lun } => format!("iscsi://{portal}/{target}/{lun}"),
        Attachment::Gluster { name, .. } => format!("gluster:{name}"),
    }
}
