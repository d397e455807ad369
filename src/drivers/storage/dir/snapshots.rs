//! Snapshots inside qcow2 files, of guests that do not run; a running guest's are taken by its own driver.

use async_trait::async_trait;

use super::{Dir, not_in_use};
use crate::base::{Fault, FaultKind, Mark};
use crate::drivers::storage::dir::spot::Spot;
use crate::drivers::storage::{Format, Snapshots, qemu_img};

impl Dir {
    /// Fails when the volume cannot have snapshots, or not now.
    async fn can_snapshot(&self, volume: &str, spot: &Spot) -> Result<(), Fault> {
        if spot.format != Format::Qcow2 {
            let message = format!("the volume {volume:?} is {} and has no snapshots", spot.format);
            return Err(Fault::new(FaultKind::Unsupported, message).help("only qcow2 volumes of a directory have them"));
        }
        let asked = spot.clone();
        self.on(format!("look at the volume {volume:?}"), move |_| not_in_use(&asked)).await
    }
}

/// Refuses names that no snapshot can have.
pub fn check_name(snapshot: &str) -> Result<(), Fault> {
    if snapshot.is_empty() || snapshot.len() > 63 || snapshot.starts_with('-') || snapshot.chars().any(char::is_control)
    {
        let shown: String = snapshot.chars().take(80).collect();
        return Err(Fault::new(FaultKind::Invalid, format!("a snapshot cannot be named {shown:?}"))
            .help("choose a name of 1 to 63 letters, digits and '-'"));
    }
    Ok(())
}

#[async_trait]
impl Snapshots for Dir {
    async fn take(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        check_name(snapshot)?;
        let (_lock, spot, _) = self.hold_one("take a snapshot of", volume, mark).await?;
        self.can_snapshot(volume, &spot).await?;
        // qemu-img would take a second one of the same name.
        if qemu_img::snapshots(&spot.path(), spot.format).await?.iter().any(|s| s == snapshot) {
            let message = format!("the volume {volume:?} has a snapshot {snapshot:?} already");
            return Err(Fault::new(FaultKind::Exists, message));
        }
        qemu_img::snapshot(&spot.path(), "-c", snapshot).await
    }

    async fn roll_back(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        let (_lock, spot, _) = self.hold_one("roll back", volume, mark).await?;
        self.can_snapshot(volume, &spot).await?;
        if !qemu_img::snapshots(&spot.path(), spot.format).await?.iter().any(|s| s == snapshot) {
            let message = format!("the volume {volume:?} has no snapshot {snapshot:?}");
            return Err(Fault::new(FaultKind::NotFound, message));
        }
        qemu_img::snapshot(&spot.path(), "-a", snapshot).await
    }

    async fn remove(&self, volume: &str, mark: &Mark, snapshot: &str) -> Result<(), Fault> {
        let (_lock, spot, _) = self.hold_one("remove a snapshot of", volume, mark).await?;
        self.can_snapshot(volume, &spot).await?;
        if !qemu_img::snapshots(&spot.path(), spot.format).await?.iter().any(|s| s == snapshot) {
            return Ok(());
        }
        qemu_img::snapshot(&spot.path(), "-d", snapshot).await
    }

    async fn list(&self, volume: &str) -> Result<Vec<String>, Fault> {
        let (owned, missing) = (volume.to_owned(), self.missing(volume));
        let spot = self
            .on(format!("look for the volume {volume:?}"), move |tree| Ok(tree.find(&owned)?.ok_or(missing)?.0))
            .await?;
        if spot.format == Format::Qcow2 { qemu_img::snapshots(&spot.path(), spot.format).await } else { Ok(Vec::new()) }
    }
}
