//! Disks and optical drives.

use super::{absolute, is_q35};
use crate::base::{Place, Size};
use crate::drivers::storage::{self, Format};
use crate::kinds::image::ImageType;
use crate::kinds::storage::{Content, content, declared};
use crate::kinds::vm::spec::{Bus, Cache, Disk, Io, Media, VmSpec};
use crate::kinds::{KindName, Report, Scope, Spec};

/// The longest serial number of a virtio disk.
const VIRTIO_SERIAL: usize = 20;

pub(super) fn check(spec: &VmSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    for (disk_name, disk) in &spec.disks {
        let at = format!("disks.{disk_name}");
        let mut rule = Rule { at: &at, disk, report };
        match disk.media() {
            Media::Disk => {
                rule.source();
                rule.on_storage(spec, scope);
                rule.started_from(scope);
            }
            Media::Cdrom => rule.drive(scope),
        }
        rule.bus(&spec.machine());
        rule.settings();
        rule.limits();
    }
}

struct Rule<'a, 'r, 'p> {
    at: &'a str,
    disk: &'a Disk,
    report: &'r mut Report<'p>,
}

impl Rule<'_, '_, '_> {
    fn error(&mut self, code: &'static str, field: &str, message: String, help: &str) {
        let path = if field.is_empty() { self.at.to_owned() } else { format!("{}.{field}", self.at) };
        self.report.error(code, &path, message, help);
    }

    fn error_from(
        &mut self,
        from: (Option<Place>, String),
        code: &'static str,
        field: &str,
        message: String,
        help: &str,
    ) {
        self.report.error_from(from, code, &format!("{}.{field}", self.at), message, help);
    }

    fn unused(&mut self, fields: &[(&str, bool)], why: &str) {
        for (field, set) in fields {
            if *set {
                let message = format!("{}.{field} is not for {why}", self.at);
                self.error("vm/disk-field-unused", field, message, "leave it out");
            }
        }
    }

    /// A disk is on a storage, a Volume or a path of the host: one of them.
    fn source(&mut self) {
        let Disk { storage, volume, path, size, image, format, .. } = self.disk;
        let sources = usize::from(storage.is_some()) + usize::from(volume.is_some()) + usize::from(path.is_some());
        if sources != 1 {
            let count = if sources == 0 { "none" } else { "more than one" };
            let message = format!("{} has {count} of storage, volume and path", self.at);
            let help =
                "give storage and size for a disk of its own, volume for a Volume, or path for a file of the host";
            self.error("vm/disk-source", "", message, help);
            return;
        }
        if let Some(path) = path {
            absolute(path, &format!("{}.path", self.at), self.report);
            self.unused(&[("size", size.is_some()), ("image", image.is_some())], "a disk that is a path of the host");
        }
        if volume.is_some() {
            let fields = [("size", size.is_some()), ("image", image.is_some()), ("format", format.is_some())];
            self.unused(&fields, "a disk that is a Volume, which says it itself");
        }
        match size {
            None if storage.is_some() => {
                let help = "say how large it shall be, such as size: 20Gi";
                self.error("vm/disk-without-size", "", format!("{} has no size", self.at), help);
            }
            Some(size) if size.bytes() == 0 => {
                self.error(
                    "vm/disk-size",
                    "size",
                    "a disk cannot have the size 0".to_owned(),
                    "write one such as 20Gi",
                );
            }
            _ => {}
        }
    }

    /// The storage must allow disks, have the format, and be on the guest's node.
    fn on_storage(&mut self, spec: &VmSpec, scope: &Scope<'_>) {
        let Some(name) = &self.disk.storage else { return };
        let Some(Spec::Storage(found)) = scope.spec(KindName::Storage, name) else { return };
        let kind = storage::find(&found.driver);
        let known = kind.is_some() || found.content.is_some();
        let provisions = kind.is_none_or(|k| k.abilities().provisions);
        if known && (!provisions || !content(found).contains(&Content::Images)) {
            let message = format!("storage/{name} keeps no disks of virtual machines");
            let help = format!("add images to storage/{name}'s content, or take another storage");
            self.error_from(declared(scope, name), "vm/storage-content", "storage", message, &help);
        }
        if let Some(node) = &spec.node
            && !found.nodes.is_empty()
            && !found.nodes.contains(node)
        {
            let message = format!("storage/{name} is not on node {node}");
            let help = format!("take a storage that {node} has, or add {node} to storage/{name}'s nodes");
            self.error("vm/storage-node", "storage", message, &help);
        }
        let granule = kind.map_or(512, |k| k.granule(found));
        if let Some(size) = self.disk.size.filter(|s| !s.bytes().is_multiple_of(granule)) {
            let message = format!("{size} is no multiple of {}, which storage/{name} needs", Size(granule));
            let next = Size(size.bytes().div_ceil(granule).saturating_mul(granule));
            self.error_from(declared(scope, name), "vm/disk-size", "size", message, &format!("write {next}"));
        }
        let Some(format) = self.disk.format else { return };
        let formats = kind.map(|k| (k.abilities().formats)(Content::Images));
        if format == Format::Subvol || formats.is_some_and(|f| !f.contains(&format)) {
            let message = format!("storage/{name} has no disks of format {}", format.word());
            let help = formats.map_or("use raw or qcow2".to_owned(), |found| {
                let usable = found.iter().copied().map(Format::word);
                format!("it has {}", usable.collect::<Vec<_>>().join(", "))
            });
            self.error_from(declared(scope, name), "vm/disk-format", "format", message, &help);
        }
    }

    /// The image must be one of a disk, and fit.
    fn started_from(&mut self, scope: &Scope<'_>) {
        let Some(name) = &self.disk.image else { return };
        let Some(Spec::Image(image)) = scope.spec(KindName::Image, name) else { return };
        if image.kind != ImageType::Disk {
            let message = format!("image/{name} is of type {}, and a disk starts from one of type disk", image.kind);
            let help = "take an image of type disk; one of type iso goes into a drive with media: cdrom";
            self.error("vm/image-type", "image", message, help);
        }
        if let (Some(least), Some(size)) = (image.min_size, self.disk.size)
            && size < least
        {
            let message = format!("the disk has {size}, and image/{name} needs at least {least}");
            self.error("vm/disk-too-small", "size", message, &format!("set size to {least} or more"));
        }
    }

    fn drive(&mut self, scope: &Scope<'_>) {
        let disk = self.disk;
        let fields = [
            ("storage", disk.storage.is_some()),
            ("volume", disk.volume.is_some()),
            ("size", disk.size.is_some()),
            ("format", disk.format.is_some()),
            ("discard", disk.discard()),
            ("iothread", disk.iothread()),
            ("ssd", disk.ssd()),
        ];
        self.unused(&fields, "an optical drive");
        if let Some(path) = &disk.path {
            absolute(path, &format!("{}.path", self.at), self.report);
        }
        if disk.image.is_some() && disk.path.is_some() {
            let message = format!("{} has an image and a path", self.at);
            self.error("vm/disk-source", "", message, "give one of them, or neither for an empty drive");
        }
        let Some(name) = &disk.image else { return };
        let Some(Spec::Image(image)) = scope.spec(KindName::Image, name) else { return };
        if image.kind != ImageType::Iso {
            let message = format!("image/{name} is of type {}, and a medium is one of type iso", image.kind);
            self.error("vm/image-type", "image", message, "take an image of type iso");
        }
    }

    fn bus(&mut self, machine: &str) {
        let bus = self.disk.bus_on(machine);
        if bus == Bus::Ide && is_q35(machine) {
            let help = "use sata, or machine: pc";
            self.error("vm/bus-not-on-machine", "bus", format!("{machine} has no IDE"), help);
        }
        if bus == Bus::Virtio && self.disk.media() == Media::Cdrom {
            let help = "use sata or scsi";
            self.error("vm/bus-not-for-drive", "bus", "there is no optical drive on virtio".to_owned(), help);
        }
        if self.disk.iothread() && !matches!(bus, Bus::Virtio | Bus::Scsi) {
            let help = "use bus: virtio or scsi, or leave iothread out";
            self.error("vm/iothread-bus", "iothread", "a disk on this bus has no thread of its own".to_owned(), help);
        }
        if self.disk.ssd() && matches!(bus, Bus::Virtio | Bus::Usb) {
            let help = "use bus: scsi or sata, or leave ssd out";
            self.error("vm/ssd-bus", "ssd", "a disk on this bus cannot say that it does not rotate".to_owned(), help);
        }
        if self.disk.read_only() && self.disk.media() == Media::Disk && matches!(bus, Bus::Sata | Bus::Ide) {
            let help = "use bus: virtio or scsi";
            self.error("vm/read-only-bus", "readOnly", "a hard disk on this bus is always writable".to_owned(), help);
        }
        if bus == Bus::Virtio && self.disk.serial.as_ref().is_some_and(|s| s.len() > VIRTIO_SERIAL) {
            let message = format!("a virtio disk's serial number has at most {VIRTIO_SERIAL} characters");
            self.error("vm/serial-too-long", "serial", message, "shorten it");
        }
    }

    fn settings(&mut self) {
        if self.disk.io == Some(Io::Native) && !matches!(self.disk.cache(), Cache::None | Cache::Directsync) {
            let message = "io: native goes past the host's cache, and this cache does not".to_owned();
            self.error("vm/io-needs-direct", "io", message, "set cache: none or directsync, or io: threads");
        }
        if self.disk.cache() == Cache::Unsafe {
            let message = format!("{} loses data when the host crashes", self.at);
            let path = format!("{}.cache", self.at);
            self.report.warning("vm/cache-unsafe", &path, message, "use writeback or none for data that matters");
        }
    }

    fn limits(&mut self) {
        let limits = self.disk.limits();
        if limits.iops.is_some() && (limits.iops_read.is_some() || limits.iops_write.is_some()) {
            let message = "iops and iopsRead or iopsWrite exclude each other".to_owned();
            self.error("vm/limits-overlap", "limits.iops", message, "give the total or its parts");
        }
        let (read, write) = (limits.bandwidth_read, limits.bandwidth_write);
        if limits.bandwidth.is_some() && (read.is_some() || write.is_some()) {
            let message = "bandwidth and bandwidthRead or bandwidthWrite exclude each other".to_owned();
            self.error("vm/limits-overlap", "limits.bandwidth", message, "give the total or its parts");
        }
        if [limits.bandwidth, read, write].contains(&Some(Size(0))) {
            let message = "a bandwidth of 0 would stop the disk".to_owned();
            self.error("vm/limits-zero", "limits", message, "leave it out for no limit");
        }
    }
}
