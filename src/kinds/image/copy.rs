//! An image from a file on the node: copied, so that what is done to the file later cannot reach a guest.
//!
//! Where the file system can, the copy shares the file's blocks until one of the two is changed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::shelf::{hex, modified, remove_file};
use super::work::{Meter, off_thread};
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind};
use crate::kinds::Task;

const CHUNK: usize = 1 << 20;

/// Copies `from` to `to`, durably; gives the SHA-256 of the bytes. A sum other than `expect` leaves nothing behind.
pub async fn copy(task: &Task<'_>, from: &Path, to: &Path, expect: Option<&str>) -> Result<String, Fault> {
    let (from, to): (PathBuf, PathBuf) = (from.to_owned(), to.to_owned());
    let (source, target) = (from.clone(), to.clone());
    let sum = off_thread(task, "copy", move |meter| copy_file(&source, &target, meter)).await?;
    match expect {
        Some(expect) if expect != sum => {
            remove_file(&to)?;
            Err(Fault::new(
                FaultKind::Invalid,
                format!("{} has sha256 {sum}, and the manifest says {expect}", from.display()),
            )
            .help("find out which of the two is right: put the right file there, or correct source.sha256"))
        }
        _ => Ok(sum),
    }
}

/// The SHA-256 of a file.
pub async fn digest(task: &Task<'_>, path: &Path) -> Result<String, Fault> {
    let path = path.to_owned();
    off_thread(task, "check", move |meter| {
        let mut file = File::open(&path).attempt(|| format!("open {}", path.display()))?;
        meter.expect(file.metadata().map_or(0, |m| m.len()));
        let mut sum = Sha256::new();
        pass(&mut file, meter, |chunk| {
            sum.update(chunk);
            Ok(())
        })
        .map_err(|fault| fault.context(format!("read {}", path.display())))?;
        Ok(hex(&sum.finalize()))
    })
    .await
}

fn copy_file(from: &Path, to: &Path, meter: &Meter) -> Result<String, Fault> {
    let doing = || format!("copy {} to {}", from.display(), to.display());
    let mut source = File::open(from).map_err(|error| missing(from, error))?;
    let before = source.metadata().attempt(doing)?;
    if !before.is_file() {
        return Err(Fault::new(FaultKind::Invalid, format!("{} is not a file", from.display()))
            .help("name a file in source.file"));
    }
    let mut target = File::create(to).attempt(doing)?;
    meter.expect(before.len());
    let shared = rustix::fs::ioctl_ficlone(&target, &source).is_ok();
    let mut sum = Sha256::new();
    pass(&mut source, meter, |chunk| {
        sum.update(chunk);
        if shared {
            return Ok(());
        }
        // A hole stays a hole.
        if chunk.iter().all(|b| *b == 0) {
            let length = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            target.seek(SeekFrom::Current(length)).map(|_| ())
        } else {
            target.write_all(chunk)
        }
    })
    .map_err(|fault| fault.context(doing()))?;
    let finish = || {
        target.set_len(before.len())?;
        target.sync_all()?;
        source.metadata()
    };
    let after = finish().attempt(doing)?;
    if after.len() != before.len() || modified(&after) != modified(&before) {
        remove_file(to)?;
        return Err(Fault::new(FaultKind::Busy, format!("{} was written to while it was copied", from.display()))
            .help("apply again when nothing writes to it"));
    }
    Ok(hex(&sum.finalize()))
}

fn missing(path: &Path, error: std::io::Error) -> Fault {
    Fault::from(error)
        .context(format!("open {}", path.display()))
        .help("put the file there on this node, or correct source.file")
}

/// Hands every chunk of a file to `each`.
fn pass(file: &mut File, meter: &Meter, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<(), Fault> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        each(&buffer[..length])?;
        meter.add(length as u64)?;
    }
}
