//! Copies a file's bytes: by sharing its blocks where the file system can, otherwise piece by piece without its holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::drivers::storage::offload::Meter;

const PIECE: u64 = 16 << 20;

/// Makes the fresh file `to` the same as `from`; says whether the blocks are shared.
pub fn copy(from: &File, to: &File, meter: &Meter) -> io::Result<bool> {
    let length = from.metadata()?.len();
    if ioctl_ficlone(to, from).is_ok() {
        meter.set(length, length);
        return Ok(true);
    }
    to.set_len(length)?;
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, length)? {
        let mut here = start;
        while here < end {
            let moved = piece(from, to, here, (end - here).min(PIECE))?;
            if moved == 0 {
                return Err(io::Error::other("the image became shorter while it was copied"));
            }
            here += moved;
            meter.set(here, length);
        }
        at = end;
    }
    meter.set(length, length);
    Ok(false)
}

/// The next stretch of data at or after `at`; where holes cannot be told, all of it.
fn next_data(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, length))),
        Err(e) => return Err(e.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?;
    Ok((start < length).then_some((start, end.min(length))))
}

/// Copies up to `length` bytes at `at`, inside the kernel where it can.
fn piece(from: &File, to: &File, at: u64, length: u64) -> io::Result<u64> {
    let (mut source, mut target) = (at, at);
    let wanted = usize::try_from(length).unwrap_or(usize::MAX);
    match copy_file_range(from, Some(&mut source), to, Some(&mut target), wanted) {
        Ok(moved) => return Ok(moved as u64),
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    let mut buffer = vec![0; wanted.min(1 << 20)];
    let read = from.read_at(&mut buffer, at)?;
    to.write_all_at(&buffer[..read], at)?;
    Ok(read as u64)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn bytes_are_kept_and_holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let from = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        from.set_len(64 << 20).unwrap();
        for at in [0, 20 << 20, (64 << 20) - 3] {
            from.write_all_at(b"abc", at).unwrap();
        }
        let copied = dir.path().join("b");
        let to = File::create(&copied).unwrap();
        copy(&from, &to, &Meter::default()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&copied).unwrap());
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn an_empty_file_and_one_of_holes_only_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, 1 << 20] {
            let (from, to) = (dir.path().join("a"), dir.path().join("b"));
            File::create(&from).unwrap().set_len(length).unwrap();
            copy(&File::open(&from).unwrap(), &File::create(&to).unwrap(), &Meter::default()).unwrap();
            assert_eq!(std::fs::metadata(&to).unwrap().len(), length);
        }
    }
}
