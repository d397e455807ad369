//! The root file system and what else is mounted.

use std::collections::BTreeMap;

use super::absolute;
use crate::base::{Name, Size};
use crate::drivers::storage;
use crate::kinds::container::spec::{CtSpec, MountOption};
use crate::kinds::container::volumes::ROOT;
use crate::kinds::image::ImageType;
use crate::kinds::storage::{Content, declared};
use crate::kinds::{KindName, Report, Scope, Spec};

/// The least file system that is worth making.
const LEAST: Size = Size::mib(16);
/// What the kernel mounts itself in a container.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

pub(super) fn rootfs(spec: &CtSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(rootfs) = &spec.rootfs else {
        let help = "give it one, such as rootfs: {storage: local, size: 4Gi, image: debian-12-rootfs}";
        report.error("ct/rootfs-missing", "", "the container has no root file system", help);
        return;
    };
    match (&rootfs.storage, &rootfs.host_path) {
        (Some(storage), None) => {
            on_storage(storage, spec, "rootfs", scope, report);
            size(rootfs.size, "rootfs", report);
            whole(storage, rootfs.size, "rootfs", scope, report);
            match &rootfs.image {
                None => {
                    let help = "name an Image of type rootfs";
                    report.error("ct/rootfs-without-image", "rootfs", "the root file system has no image", help);
                }
                Some(image) => started_from(image, rootfs.size, scope, report),
            }
        }
        (None, Some(path)) => {
            // LXC's own word for what sort of place it is may stand in front, as adopted containers have it.
            absolute(path.split_once(':').map_or(path, |(_, path)| path), "rootfs.hostPath", report);
            unused("rootfs", &[("size", rootfs.size.is_some()), ("image", rootfs.image.is_some())], report);
        }
        (storage, _) => {
            let count = if storage.is_some() { "both" } else { "neither" };
            let message = format!("the root file system has {count} of storage and hostPath");
            let help = "give storage, size and image; hostPath is for a directory that is there already";
            report.error("ct/rootfs-source", "rootfs", message, help);
        }
    }
    on_host(rootfs.host_path.is_some(), &rootfs.mount_options, "rootfs", report);
}

/// The image must be one of a root file system, and fit.
fn started_from(name: &Name, size: Option<Size>, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(Spec::Image(image)) = scope.spec(KindName::Image, name) else { return };
    if image.kind != ImageType::Rootfs {
        let message = format!("image/{name} is of type {}, and a container starts from one of type rootfs", image.kind);
        report.error("ct/image-type", "rootfs.image", message, "take an image of type rootfs");
    }
    if let (Some(least), Some(size)) = (image.min_size, size)
        && size < least
    {
        let message = format!("the root file system has {size}, and image/{name} needs at least {least}");
        report.error("ct/rootfs-too-small", "rootfs.size", message, format!("set size to {least} or more"));
    }
}

/// The storage must keep file systems of containers, and be on the guest's node.
fn on_storage(name: &Name, spec: &CtSpec, at: &str, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(Spec::Storage(found)) = scope.spec(KindName::Storage, name) else { return };
    let kind = storage::find(&found.driver);
    let content = found.content.as_deref().or(kind.map(|k| k.abilities().content));
    let at = format!("{at}.storage");
    if content.is_some_and(|c| !c.contains(&Content::Rootdir)) {
        let message = format!("storage/{name} keeps no file systems of containers");
        let help = format!("add rootdir to storage/{name}'s content, or take another storage");
        report.error_from(declared(scope, name), "ct/storage-content", &at, message, help);
    }
    if let Some(node) = &spec.node
        && !found.nodes.is_empty()
        && !found.nodes.contains(node)
    {
        let message = format!("storage/{name} is not on node {node}");
        let help = format!("take a storage that {node} has, or add {node} to storage/{name}'s nodes");
        report.error("ct/storage-node", &at, message, help);
    }
}

fn size(size: Option<Size>, at: &str, report: &mut Report<'_>) {
    match size {
        None => {
            let help = "say how large it shall be, such as size: 4Gi";
            report.error("ct/without-size", at, format!("{at} has no size"), help);
        }
        Some(size) if size < LEAST || size.bytes() % 4096 != 0 => {
            let message = format!("{size} is less than {LEAST}, or not a whole number of blocks of 4Ki");
            report.error("ct/size", &format!("{at}.size"), message, "write it with Mi or Gi, such as 4Gi");
        }
        Some(_) => {}
    }
}

/// The size must be a whole number of what the storage gives out.
fn whole(name: &Name, size: Option<Size>, at: &str, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(Spec::Storage(found)) = scope.spec(KindName::Storage, name) else { return };
    let granule = storage::find(&found.driver).map_or(512, |kind| kind.granule(found));
    if let Some(size) = size.filter(|s| s.bytes().is_multiple_of(4096) && !s.bytes().is_multiple_of(granule)) {
        let message = format!("{size} is no multiple of {}, which storage/{name} needs", Size(granule));
        let next = Size(size.bytes().div_ceil(granule).saturating_mul(granule));
        let at = format!("{at}.size");
        report.error_from(declared(scope, name), "ct/size", &at, message, format!("write {next}"));
    }
}

fn unused(at: &str, fields: &[(&str, bool)], report: &mut Report<'_>) {
    for (field, _) in fields.iter().filter(|(_, set)| *set) {
        let message = format!("{at}.{field} is for what is made on a storage");
        report.error("ct/field-unused", &format!("{at}.{field}"), message, "leave it out");
    }
}

/// Options that concern a whole file system are not for a place of the host's.
fn on_host(host: bool, options: &[MountOption], at: &str, report: &mut Report<'_>) {
    let whole = |o: &&MountOption| matches!(o, MountOption::Discard | MountOption::Lazytime);
    if let Some(option) = options.iter().find(whole).filter(|_| host) {
        let message = format!("{} concerns a whole file system, and this is a place in the host's", option.word());
        report.error("ct/mount-option", &format!("{at}.mountOptions"), message, "leave it out");
    }
}

pub(super) fn mounts(spec: &CtSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    let mut paths: BTreeMap<String, &Name> = BTreeMap::new();
    for (name, mount) in &spec.mounts {
        let at = format!("mounts.{name}");
        if name.as_str() == ROOT {
            report.error("ct/mount-name", &at, "rootfs is the name of the root file system", "take another name");
        }
        source(spec, name, &at, scope, report);
        on_host(mount.host_path.is_some(), &mount.mount_options, &at, report);
        let Some(path) = &mount.path else {
            let help = "say where in the guest, such as path: /srv";
            report.error("ct/mount-without-path", &at, format!("{at} has no path"), help);
            continue;
        };
        let path_at = format!("{at}.path");
        if !absolute(path, &path_at, report) {
            continue;
        }
        let plain = path.trim_end_matches('/');
        if plain.is_empty() || KERNELS.contains(&plain) {
            let message = format!("{path} cannot be mounted over");
            report.error("ct/mount-path", &path_at, message, "mount it at a directory of its own, such as /srv");
        } else if plain != path || path.contains("//") {
            let message = format!("{path:?} has a slash too many");
            report.error("ct/mount-path", &path_at, message, "write it without doubled and trailing slashes");
        }
        if let Some(other) = paths.insert(plain.to_owned(), name) {
            let message = format!("mounts.{other} is at {path} too");
            report.error("ct/mount-path-taken", &path_at, message, "give each mount a path of its own");
        }
    }
}

fn source(spec: &CtSpec, name: &Name, at: &str, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(mount) = spec.mounts.get(name) else { return };
    let given = [mount.storage.is_some(), mount.volume.is_some(), mount.host_path.is_some()];
    if given.iter().filter(|g| **g).count() != 1 {
        let count = if given.contains(&true) { "more than one" } else { "none" };
        let message = format!("{at} has {count} of storage, volume and hostPath");
        let help =
            "give storage and size for a volume of its own, volume for a Volume, or hostPath for a place of the host";
        report.error("ct/mount-source", at, message, help);
        return;
    }
    if let Some(storage) = &mount.storage {
        on_storage(storage, spec, at, scope, report);
        size(mount.size, at, report);
        whole(storage, mount.size, at, scope, report);
    } else {
        unused(at, &[("size", mount.size.is_some())], report);
    }
    if let Some(volume) = &mount.volume
        && let Some(Spec::Volume(found)) = scope.spec(KindName::Volume, volume)
        && found.content() != Content::Rootdir
    {
        let message = format!("volume/{volume} is a disk for virtual machines, without a file system");
        let help = format!("say content: rootdir in volume/{volume}, or take another");
        report.error("ct/volume-content", &format!("{at}.volume"), message, help);
    }
    if let Some(path) = &mount.host_path {
        absolute(path, &format!("{at}.hostPath"), report);
    }
}
