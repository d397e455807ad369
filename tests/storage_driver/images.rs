//! Volumes that start as a copy of an image, and images that must not be used.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;

use reeve::base::{FaultKind, Mark, Size};
use reeve::drivers::storage::{Format, NewVolume, Source};
use reeve::kinds::storage::Content;

use super::subject::{Subject, new, owner, refused, run};

const FILES: [Format; 3] = [Format::Raw, Format::Qcow2, Format::Vmdk];

/// An image of 8 MiB with some data at its start, in its middle and at its end, in that format.
fn image(s: &Subject, format: Format) -> PathBuf {
    let raw = s.scratch.path().join("image.raw");
    let mut file = std::fs::File::create(&raw).unwrap();
    for (at, byte) in [(0, 1_u8), (3 << 20, 2), ((8 << 20) - 4096, 3)] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte; 4096]).unwrap();
    }
    if format == Format::Raw {
        return raw;
    }
    let path = s.scratch.path().join(format!("image.{format}"));
    run("qemu-img", &["convert", "-O", format.word(), text(&raw), text(&path)]);
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn from(name: &str, format: Format, size: Size, us: &Mark, path: &Path, of: Format) -> NewVolume {
    NewVolume { source: Source::Image { path: path.into(), format: of }, ..new(name, format, size, us) }
}

/// The formats in which an image can be a volume of this storage.
fn targets(s: &Subject) -> Vec<Format> {
    let targets: Vec<Format> = FILES.into_iter().filter(|f| s.formats().contains(f)).collect();
    if targets.is_empty() {
        s.not_applicable("it has no disks");
    }
    targets
}

async fn refuses(s: &Subject, path: &Path, format: Format, size: Size, kind: FaultKind) {
    for target in targets(s) {
        let made = s.storage.create(&from("v", target, size, &owner("vm/a"), path, format), &|_, _| {}).await;
        refused(made, kind);
    }
    assert_eq!(s.storage.list().await.unwrap(), []);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}

pub async fn an_image_that_is_not_there_is_refused(s: Rc<Subject>) {
    refuses(&s, &s.scratch.path().join("none"), Format::Raw, Size::mib(8), FaultKind::NotFound).await;
}

pub async fn an_image_that_is_too_large_is_refused(s: Rc<Subject>) {
    for format in FILES {
        refuses(&s, &image(&s, format), format, Size::mib(4), FaultKind::Invalid).await;
    }
}

pub async fn an_image_that_leans_on_another_file_is_refused(s: Rc<Subject>) {
    let (base, top) = (image(&s, Format::Raw), s.scratch.path().join("top.qcow2"));
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", text(&base), "-F", "raw", text(&top)]);
    refuses(&s, &top, Format::Qcow2, Size::mib(8), FaultKind::Invalid).await;
    let flat = s.scratch.path().join("flat.vmdk");
    run("qemu-img", &["create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", text(&flat), "8M"]);
    refuses(&s, &flat, Format::Vmdk, Size::mib(8), FaultKind::Invalid).await;
}

pub async fn an_image_that_is_none_is_refused(s: Rc<Subject>) {
    let path = image(&s, Format::Raw);
    refuses(&s, &path, Format::Qcow2, Size::mib(8), FaultKind::Invalid).await;
    refuses(&s, &path, Format::Vmdk, Size::mib(8), FaultKind::Invalid).await;
}

pub async fn an_image_that_is_cut_off_is_refused(s: Rc<Subject>) {
    let path = image(&s, Format::Qcow2);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(5000).unwrap();
    refuses(&s, &path, Format::Qcow2, Size::mib(8), FaultKind::Invalid).await;
}

pub async fn a_refused_create_leaves_nothing(s: Rc<Subject>) {
    if targets(&s).is_empty() {
        return;
    }
    let path = image(&s, Format::Qcow2);
    let us = owner("vm/a");
    refused(
        s.storage.create(&from("v", Format::Raw, Size::mib(4), &us, &path, Format::Qcow2), &|_, _| {}).await,
        FaultKind::Invalid,
    );
    assert_eq!(s.storage.find("v").await.unwrap(), None);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
    s.make("v", Format::Raw, Size::mib(4), &us).await.unwrap();
}

/// Every image format into every volume format, as large and larger, byte by byte.
pub async fn bytes_arrive(s: Rc<Subject>) {
    if targets(&s).is_empty() {
        return;
    }
    if !s.has_bytes() {
        return s.not_applicable("it keeps no bytes");
    }
    let raw = image(&s, Format::Raw);
    for of in FILES {
        let path = image(&s, of);
        for to in targets(&s) {
            arrives(&s, &raw, (&path, of), to, 8).await;
            if to != Format::Vmdk {
                arrives(&s, &raw, (&path, of), to, 64).await;
            }
        }
    }
}

async fn arrives(s: &Subject, raw: &Path, (path, of): (&Path, Format), to: Format, mebibytes: u64) {
    let (name, us) = (format!("{of}-{to}-{mebibytes}"), owner("vm/a"));
    let seen = Mutex::new(Vec::new());
    let note = |done, total| seen.lock().unwrap().push((done, total));
    let made = s.storage.create(&from(&name, to, Size::mib(mebibytes), &us, path, of), &note).await.unwrap();
    assert_eq!((made.size, made.format), (Size::mib(mebibytes), to), "{name}");
    let seen = seen.into_inner().unwrap();
    assert!(seen.last().is_some_and(|(done, total)| done == total && *total > 0), "{name}: {seen:?}");
    let volume = s.path(&name).await;
    // Compares as one disk; what is beyond the shorter must be zero.
    run("qemu-img", &["compare", "-f", "raw", "-F", to.word(), text(raw), text(&volume)]);
    if to != Format::Raw {
        run("qemu-img", &["check", "-q", "-f", to.word(), text(&volume)]);
    }
    if s.files().is_some() {
        // XFS holds some space behind the last byte for a while; a copy with its holes filled would take all 8 MiB.
        let taken = std::fs::metadata(&volume).unwrap().blocks() * 512;
        assert!(taken < 4 << 20, "{name} takes {taken} bytes");
    }
    s.storage.delete(&name, &us, made.size).await.unwrap();
}

/// An installation medium is copied as it is, whatever is in it.
async fn files_are_kept_as_they_are(s: Rc<Subject>) {
    let path = s.scratch.path().join("medium");
    std::fs::write(&path, b"not a multiple of 512").unwrap();
    let us = owner("image/medium");
    let new =
        NewVolume { content: Content::Iso, ..from("debian 12.iso", Format::Raw, Size(0), &us, &path, Format::Raw) };
    let made = s.storage.create(&new, &|_, _| {}).await.unwrap();
    assert_eq!(made.size, Size(21));
    assert_eq!(std::fs::read(s.path("debian 12.iso").await).unwrap(), b"not a multiple of 512");
    assert_eq!(s.storage.create(&new, &|_, _| {}).await.unwrap(), made);
    s.storage.delete("debian 12.iso", &us, Size(21)).await.unwrap();
}

#[test]
fn on_dir_files_are_kept_as_they_are() {
    super::play(Subject::dir(None), files_are_kept_as_they_are);
}
