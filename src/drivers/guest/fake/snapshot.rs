//! Snapshots of machines in memory, with the rules of the real ones.

use async_trait::async_trait;

use super::Fake;
use super::state::Entry;
use crate::base::{Fault, FaultKind, Name};
use crate::drivers::guest::{GuestSnapshots, Machine, Snapshot, Target};
use crate::drivers::storage::{Attachment, Format};
use crate::kinds::vm::{FirmwareType, Media};

#[async_trait]
impl GuestSnapshots for Fake {
    async fn take(&self, target: &Target<'_>, name: &Name, memory: bool) -> Result<(), Fault> {
        self.call(format!("snapshot {} {name}", target.name), |inner| take(inner.entry(target)?, name, memory)).await
    }

    async fn list(&self, target: &Target<'_>) -> Result<Vec<Snapshot>, Fault> {
        Ok(self.open().entry(target)?.moments.iter().map(|m| m.snapshot.clone()).collect())
    }

    async fn revert(&self, target: &Target<'_>, name: &Name) -> Result<(), Fault> {
        self.call(format!("revert {} {name}", target.name), |inner| match inner.entry(target)?.take_back(name) {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::NotFound, format!("there is no snapshot {name}"))),
        })
        .await
    }

    async fn delete(&self, target: &Target<'_>, name: &Name) -> Result<(), Fault> {
        self.call(format!("forget {} {name}", target.name), |inner| {
            inner.entry(target)?.forget(name);
            Ok(())
        })
        .await
    }
}

fn take(entry: &mut Entry, name: &Name, memory: bool) -> Result<(), Fault> {
    refuse(&entry.configured)?;
    if let Some(there) = entry.moments.iter().find(|m| m.snapshot.name == *name) {
        return match there.snapshot.memory == memory {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::Exists, format!("there is another snapshot {name}"))),
        };
    }
    if memory && !entry.power.active() {
        return Err(Fault::new(FaultKind::Invalid, "a machine that does not run has no memory to keep"));
    }
    let order = i64::try_from(entry.moments.len()).unwrap_or_default();
    entry.keep(name, order, memory);
    Ok(())
}

/// What no snapshot can be taken of.
fn refuse(machine: &Machine) -> Result<(), Fault> {
    let uefi = machine.spec.firmware.as_ref().is_some_and(|f| f.r#type() == FirmwareType::Uefi);
    let written = machine.spec.disks.iter().filter(|(_, d)| d.media() == Media::Disk && d.read_only != Some(true));
    let mut raw = written.filter(|(name, _)| {
        let attachment = machine.disks.get(*name).and_then(Option::as_ref);
        !matches!(attachment, Some(Attachment::File { format: Format::Qcow2, .. }))
    });
    match (uefi, raw.next()) {
        (true, _) => Err(Fault::new(FaultKind::Unsupported, "the variables of UEFI firmware cannot be taken back")),
        (_, Some((name, _))) => {
            Err(Fault::new(FaultKind::Unsupported, format!("disk {name} has no place for snapshots")))
        }
        _ => Ok(()),
    }
}
