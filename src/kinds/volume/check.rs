//! Rules for volumes that the schema cannot say.

use super::{VolumeSpec, formats};
use crate::base::Size;
use crate::drivers::storage::{self as drivers, Format};
use crate::kinds::image::{ImageKind, ImageType};
use crate::kinds::storage::{self, Content, StorageKind, StorageSpec};
use crate::kinds::{AsKind, KindName, Report, Scope};

/// Reports everything that is wrong with one volume.
pub fn check(spec: &VolumeSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    let content = spec.content();
    if !matches!(content, Content::Images | Content::Rootdir) {
        let message = format!("a volume cannot be kept as {content}");
        let help = "write images for a disk of a virtual machine, rootdir for a mount of a container";
        report.error("volume/content", "content", message, help);
    }
    if spec.size.bytes() == 0 {
        report.error("volume/size", "size", "a volume cannot have the size 0", "write a size such as 10Gi");
    }
    if let Some(storage) = scope.spec(KindName::Storage, &spec.storage).and_then(AsKind::<StorageKind>::as_kind) {
        on_storage(spec, storage, scope, report);
    }
    from_image(spec, scope, report);
}

/// The storage must allow the content and have the format.
fn on_storage(spec: &VolumeSpec, storage: &StorageSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    let (name, content) = (&spec.storage, spec.content());
    let Some(driver) = drivers::find(&storage.driver) else { return };
    let from = || storage::declared(scope, name);
    if !driver.abilities().provisions {
        let message = format!("no volume can be made on storage/{name}, of the type {}", storage.driver);
        report.error_from(from(), "volume/storage", "storage", message, "take another storage");
    }
    let granule = driver.granule(storage);
    if !spec.size.bytes().is_multiple_of(granule) {
        let message = format!("the size {} is no multiple of {}, which storage/{name} needs", spec.size, Size(granule));
        let next = Size(spec.size.bytes().div_ceil(granule).saturating_mul(granule));
        report.error_from(from(), "volume/size", "size", message, format!("write {next}"));
    }
    if !storage::content(storage).contains(&content) {
        let message = format!("storage/{name} does not keep {content}");
        let help = format!("add {content} to the content of storage/{name}, or take another storage");
        report.error_from(from(), "volume/storage-content", "storage", message, help);
    }
    let able = formats(&storage.driver, content);
    if let Some(format) = spec.format
        && !able.contains(&format)
    {
        let words: Vec<&str> = able.iter().map(|f| f.word()).collect();
        let message = format!("storage/{name} keeps no {content} of format {format}");
        report.error_from(from(), "volume/format", "format", message, format!("write one of {}", words.join(", ")));
    }
}

/// The image must be of a disk and fit.
fn from_image(spec: &VolumeSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(name) = &spec.image else { return };
    if spec.content() != Content::Images || spec.format == Some(Format::Subvol) {
        let help = "take the image out, and fill the volume from a container";
        return report.error("volume/image", "image", "only a volume of content images starts from an image", help);
    }
    let Some(image) = scope.spec(KindName::Image, name).and_then(AsKind::<ImageKind>::as_kind) else { return };
    if image.kind != ImageType::Disk {
        let message = format!("image/{name} is of type {}, and a volume starts from a disk", image.kind);
        report.error("volume/image", "image", message, "name an image of type disk");
    }
    if let Some(least) = image.min_size
        && spec.size < least
    {
        let message = format!("the volume has {}, and image/{name} needs {least}", spec.size);
        report.error("volume/size", "size", message, format!("set size to {least} or more"));
    }
}
