//! The order in which devices are tried at boot, where a domain gives it by classes of devices.
//!
//! Reeve gives each device its own place, and libvirt allows only one of the two ways. A foreign domain's classes are
//! read as places of the first device of each class.

use super::Element;
use crate::base::Name;
use crate::kinds::vm::{Media, VmSpec};

/// Turns classes of devices into places, where the domain says more than libvirt's own default.
pub fn read(domain: &Element<'_>, spec: &mut VmSpec) {
    let Some(os) = domain.first("os") else { return };
    let classes: Vec<&str> = os.all("boot").filter_map(|b| b.get("dev")).collect();
    if classes.is_empty() || classes == ["hd"] {
        return;
    }
    let mut place = 0;
    for class in classes {
        let media = match class {
            "hd" => Some(Media::Disk),
            "cdrom" => Some(Media::Cdrom),
            "network" => None,
            _ => continue,
        };
        let slot = match media {
            Some(media) => first_disk(domain, spec, media)
                .and_then(|name| spec.disks.get_mut(&name))
                .map(|disk| &mut disk.boot_order),
            None => first_nic(domain, spec).and_then(|name| spec.nics.get_mut(&name)).map(|nic| &mut nic.boot_order),
        };
        if let Some(slot) = slot
            && slot.is_none()
        {
            place += 1;
            *slot = Some(place);
        }
    }
}

fn first_disk(domain: &Element<'_>, spec: &VmSpec, media: Media) -> Option<Name> {
    let names = super::disk::all(domain).filter_map(|e| super::disk::name_of(e)).map(|(name, _)| name);
    names.into_iter().find(|name| spec.disks.get(name).is_some_and(|d| d.media() == media))
}

fn first_nic(domain: &Element<'_>, spec: &VmSpec) -> Option<Name> {
    let mut names = super::nic::all(domain).filter_map(|e| super::nic::name_of(e)).map(|(name, _)| name);
    names.find(|name| spec.nics.contains_key(name))
}

/// Takes the classes out as soon as a device has a place of its own.
pub fn settle(domain: &mut Element<'_>) {
    let has_place = domain.first("devices").is_some_and(|d| d.children().any(|e| e.first("boot").is_some()));
    if has_place {
        domain.entry("os").remove_all("boot");
    }
}
