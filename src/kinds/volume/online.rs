//! Grows a volume that a running virtual machine has open: the hypervisor does it, so that the guest sees it at once.

use super::VolumeLive;
use crate::base::{Fault, Name, Size};
use crate::drivers::guest::{Domain, SecretValues, Target};
use crate::drivers::storage::Storage;
use crate::kinds::Task;

/// Grows the volume through the machine that uses it; `busy` is why the storage could not.
pub async fn grow(
    task: &Task<'_>,
    storage: &dyn Storage,
    live: &VolumeLive,
    to: Size,
    busy: Fault,
) -> Result<(), Fault> {
    let Some((domain, disk)) = user(task).await? else { return Err(busy) };
    let record = domain.record.as_ref();
    let target = Target { name: &domain.name, uuid: domain.uuid, owner: record.map(|r| r.mark.uid) };
    let mut new = domain.configured.clone();
    if let Some(spec) = new.spec.disks.get_mut(&disk) {
        spec.size = Some(to);
    }
    let paths = [format!("disks.{disk}.size")];
    let changed = task.world.vms.reconfigure(&target, &domain, &new, &paths, &SecretValues::new(), true).await?;
    if let Some((_, why)) = changed.staged.first() {
        let why = why.as_deref().unwrap_or("the hypervisor cannot do it now");
        return Err(busy.context(format!("vm/{} cannot grow its disk {disk} while it runs ({why})", domain.name)));
    }
    match storage.find(&live.volume).await? {
        Some(info) if info.size >= to => Ok(()),
        _ => Err(busy.context(format!("vm/{} said that its disk {disk} grew, and it did not", domain.name))),
    }
}

/// The running machine whose disk the volume is, and the disk's name.
async fn user(task: &Task<'_>) -> Result<Option<(Domain, Name)>, Fault> {
    let running = task.world.vms.list().await?.into_values().flatten().filter(|domain| domain.running.is_some());
    let name = &task.reference.name;
    Ok(running.into_iter().find_map(|domain| {
        let disks = &domain.record.as_ref()?.disks;
        let (disk, _) = disks.iter().find(|(_, origin)| origin.resource.as_ref() == Some(name))?;
        let disk = disk.clone();
        Some((domain, disk))
    }))
}
