//! Whether QEMU has a volume open.
//!
//! QEMU holds open-file-description locks on single bytes of its images: from 100 on for what it does, from 200 on for
//! what it does not let others do. `/proc/locks` shows them without a lock of our own being tried. A container's loop
//! device holds none; its driver knows whether it runs.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::spot::Spot;
use crate::base::{Attempt as _, Fault, FaultKind};
use crate::drivers::storage::Format;

/// Fails when a process has the volume open the way QEMU does.
pub fn not_in_use(spot: &Spot) -> Result<(), Fault> {
    if spot.format == Format::Subvol {
        return Ok(());
    }
    let seen = std::fs::metadata(spot.path()).attempt(|| format!("cannot look at {}", spot.path().display()))?;
    let locks = std::fs::read_to_string("/proc/locks").attempt(|| "cannot read /proc/locks")?;
    if locks.lines().any(|line| is_lock_on(line, &seen)) {
        return Err(Fault::new(FaultKind::Busy, format!("{} is in use", spot.path().display()))
            .help("a running guest has it open; the guest's own driver must do this, or the guest must be stopped"));
    }
    Ok(())
}

/// Whether a line such as `4: OFDLCK ADVISORY  READ -1 fe:00:10010755 100 101` is QEMU's lock on that file.
fn is_lock_on(line: &str, file: &Metadata) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let (kind, place, first) = (words.next(), words.nth(3), words.next());
    let is_image_lock = first.and_then(|n| n.parse::<u64>().ok()).is_some_and(|n| (100..300).contains(&n));
    let Some((device, inode)) = place.and_then(|p| p.rsplit_once(':')) else { return false };
    kind == Some("OFDLCK") && is_image_lock && inode.parse() == Ok(file.ino()) && same_device(device, file.dev())
}

/// Whether `fe:00` may be that device; file systems without one of their own, such as btrfs, show another number here.
fn same_device(shown: &str, device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    match shown.split_once(':').map(|(a, b)| (number(a), number(b))) {
        Some((Some(0), Some(_))) => major == 0,
        Some((a, b)) => (a, b) == (Some(major), Some(minor)),
        None => false,
    }
}
