//! What every storage type asks before it changes a volume: can it be kept, and is it the one that is meant.

use std::fs::File;
use std::path::Path;

use super::{Format, NewVolume, VolumeInfo, dir, header};
use crate::base::{Attempt as _, Fault, FaultKind, Mark, Name, Size};
use crate::kinds::storage::Content;

const SECTOR: u64 = 512;

/// Refuses a volume that a storage cannot keep: by its name, content, format or size.
pub fn possible(
    storage: &Name,
    allowed: &[Content],
    formats: fn(Content) -> &'static [Format],
    new: &NewVolume,
) -> Result<(), Fault> {
    dir::check_name(&new.name)?;
    let NewVolume { content, format, .. } = new;
    if !allowed.contains(content) {
        return Err(invalid(storage, &new.name, &format!("its manifest does not allow the content {content}"))
            .help(format!("add `{content}` to its `content`, or choose another storage")));
    }
    let able = formats(*content);
    if !able.contains(format) {
        let known: Vec<&str> = able.iter().map(|f| f.word()).collect();
        return Err(invalid(storage, &new.name, &format!("{content} cannot be {format}"))
            .help(format!("choose one of {}", known.join(", "))));
    }
    if matches!(content, Content::Images | Content::Rootdir) { check_size(new.size) } else { Ok(()) }
}

/// Says that a storage cannot keep a volume.
pub fn invalid(storage: &Name, volume: &str, why: &str) -> Fault {
    Fault::new(FaultKind::Invalid, format!("storage/{storage} cannot keep the volume {volume:?}: {why}"))
}

/// Says that a directory tree does not start as an image.
pub fn no_tree_from_an_image(storage: &Name, volume: &str) -> Fault {
    invalid(storage, volume, "a directory starts empty and is filled by whoever asked for it")
}

/// Refuses sizes that no disk has.
pub fn check_size(size: Size) -> Result<(), Fault> {
    if size.bytes() == 0 || !size.bytes().is_multiple_of(SECTOR) || size.bytes() > i64::MAX as u64 {
        return Err(Fault::new(FaultKind::Invalid, format!("a volume cannot have the size {size}"))
            .help("choose a multiple of 512 bytes, such as 10Gi"));
    }
    Ok(())
}

/// Refuses to shrink, and sizes that no disk has.
pub fn may_grow(info: &VolumeInfo, to: Size) -> Result<(), Fault> {
    check_size(to)?;
    if to < info.size {
        let message = format!("the volume {:?} has {} and cannot shrink to {to}", info.name, info.size);
        return Err(Fault::new(FaultKind::Invalid, message).help("a volume never shrinks; make a smaller one and copy"));
    }
    Ok(())
}

/// Refuses a volume whose size is not the one that was seen before.
pub fn same_size(storage: &Name, info: &VolumeInfo, expect: Size) -> Result<(), Fault> {
    if info.size == expect {
        return Ok(());
    }
    let message = format!("the volume {:?} of storage/{storage} has {}, not {expect}", info.name, info.size);
    Err(Fault::new(FaultKind::Identity, message).help("it changed since it was looked at; plan again"))
}

/// Fails unless the volume carries exactly the mark `expect` and can be read.
pub fn same_mark(storage: &Name, info: &VolumeInfo, expect: Option<&Mark>) -> Result<(), Fault> {
    if let Some(problem) = &info.problem {
        return Err(Fault::new(FaultKind::Identity, problem.clone()));
    }
    if info.mark.as_ref().map(|m| m.uid) == expect.map(|m| m.uid) {
        return Ok(());
    }
    let whose = match &info.mark {
        Some(mark) => format!("belongs to {} with the UID {}", mark.resource, mark.uid),
        None => "does not carry our mark".to_owned(),
    };
    let message = format!("the volume {:?} of storage/{storage} {whose}", info.name);
    let asked = expect
        .map_or("a volume without a mark".to_owned(), |m| format!("that of {} with the UID {}", m.resource, m.uid));
    Err(Fault::new(FaultKind::Identity, message).help(format!("it is not {asked}, so it is not touched")))
}

/// What an existing volume must be to count as the one asked for.
#[derive(Debug)]
pub struct Wanted {
    mark: Mark,
    content: Content,
    format: Format,
    size: Size,
}

impl Wanted {
    /// What `new` asks for.
    pub fn of(new: &NewVolume) -> Self {
        Self { mark: new.mark.clone(), content: new.content, format: new.format, size: new.size }
    }

    /// Fails unless the volume is the one asked for.
    pub fn is(&self, storage: &Name, info: &VolumeInfo) -> Result<(), Fault> {
        same_mark(storage, info, Some(&self.mark)).map_err(|fault| match info.mark {
            None => Fault { kind: FaultKind::Exists, ..fault },
            Some(_) => fault,
        })?;
        let sized = info.size == self.size || self.content != Content::Images && self.content != Content::Rootdir;
        if (info.content, info.format) == (self.content, self.format) && sized {
            return Ok(());
        }
        let have = format!("{} {} of {}", info.content, info.format, info.size);
        let want = format!("{} {} of {}", self.content, self.format, self.size);
        let message = format!("the volume {:?} of storage/{storage} exists as {have}, not as {want}", info.name);
        Err(Fault::new(FaultKind::Exists, message).help("grow it, or delete it first"))
    }
}

/// Opens an image that stands alone and fits, and says how large it is; a `plain` one is any file, kept as it is.
pub fn open_image(path: &Path, format: Format, size: Size, plain: bool) -> Result<(File, Size), Fault> {
    let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("{} cannot be used: {why}", path.display()));
    let file = File::open(path).attempt(|| format!("cannot open the image {}", path.display()))?;
    if !file.metadata()?.is_file() {
        return Err(invalid("it is not a file".into()));
    }
    let format = if plain { Format::Raw } else { format };
    let header = header::read(&file, format).map_err(invalid)?;
    if let Some(broken) = header.broken {
        return Err(invalid(broken.into()));
    }
    if let Some(other) = header.leans_on {
        return Err(invalid(format!("it needs {other}")).help("flatten it first: `qemu-img convert -O qcow2 OLD NEW`"));
    }
    if plain && size.bytes() != 0 && size != header.size {
        return Err(invalid(format!("it has {}, not {size}", header.size)));
    }
    if !plain && header.size > size {
        return Err(invalid(format!("it has {}, and the volume only {size}", header.size))
            .help(format!("give the volume at least {}", header.size)));
    }
    Ok((file, header.size))
}
