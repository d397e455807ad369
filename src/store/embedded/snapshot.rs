//! The snapshot: everything in the store at one revision, in one file that is replaced as a whole.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use super::FORMAT;
use super::codec::{Decoder, Encoder, Malformed};
use super::disk::Disk;
use super::frame::{self, Frames, Kind, Next, PREAMBLE};
use super::log::{create_private, put_in_place};
use super::recover::{corrupt, open_checked};
use crate::store::state::State;
use crate::store::{Entry, Error, Lease, Revision};

/// The first bytes of a snapshot.
pub(super) const MAGIC: [u8; 8] = *b"REEVEsnp";
/// Entries are gathered into frames of about this size.
const FRAME_BYTES: usize = 1024 * 1024;

/// What a snapshot holds.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) revision: Revision,
    pub(super) next_token: u64,
    /// The number of the first log file that is not part of it.
    pub(super) next_log: u64,
    pub(super) entries: Vec<Entry>,
    pub(super) leases: Vec<Lease>,
}

impl Image {
    /// The state as it is now; shares all keys and values with it.
    pub(super) fn of(state: &State, next_log: u64) -> Self {
        let (revision, next_token) = (state.revision, state.next_token);
        let entries = state.entries.values().cloned().collect();
        Self { revision, next_token, next_log, entries, leases: state.leases.values().cloned().collect() }
    }
}

/// Where the snapshot is.
pub(super) fn path_of(dir: &Path) -> PathBuf {
    dir.join("snapshot")
}

/// Writes a snapshot and puts it in the place of the one before; says how large it is.
pub(super) fn write(dir: &Path, disk: &dyn Disk, image: &Image) -> Result<u64, Error> {
    let fresh = dir.join("snapshot.new");
    let size = write_file(&fresh, disk, image).inspect_err(|_| {
        // Half a snapshot is worth nothing, and on a full disk its space is.
        let _ = fs::remove_file(&fresh);
    })?;
    put_in_place(dir, &fresh, &path_of(dir))?;
    Ok(size)
}

fn write_file(path: &Path, disk: &dyn Disk, image: &Image) -> Result<u64, Error> {
    let file = create_private(path).map_err(|error| Error::io("create", path, error))?;
    let mut out = Output { path, disk, file, buffer: frame::preamble(MAGIC, FORMAT).to_vec(), offset: 0 };
    out.frame(Kind::Header, |encoder| {
        encoder.number(image.revision);
        encoder.number(image.next_token);
        encoder.number(image.next_log);
        encoder.number(image.entries.len() as u64);
    })?;
    let mut left = image.entries.as_slice();
    while !left.is_empty() {
        out.frame(Kind::Entries, |encoder| {
            while let Some((entry, rest)) = left.split_first() {
                encoder.entry(entry);
                left = rest;
                if encoder.0.len() >= FRAME_BYTES {
                    break;
                }
            }
        })?;
    }
    out.frame(Kind::Leases, |encoder| image.leases.iter().for_each(|lease| encoder.lease(lease)))?;
    out.frame(Kind::End, |_| {})?;
    disk.sync(path, &out.file).map_err(|error| Error::io("sync", path, error))?;
    Ok(out.offset)
}

/// The snapshot being written.
struct Output<'a> {
    path: &'a Path,
    disk: &'a dyn Disk,
    file: File,
    buffer: Vec<u8>,
    /// How much is in the file already.
    offset: u64,
}

impl Output<'_> {
    fn frame(&mut self, kind: Kind, fill: impl FnOnce(&mut Encoder<'_>)) -> Result<(), Error> {
        let at = frame::begin(&mut self.buffer, kind);
        fill(&mut Encoder(&mut self.buffer));
        frame::finish(&mut self.buffer, at, self.offset + at as u64);
        let written = self.disk.write(self.path, &mut self.file, &self.buffer);
        written.map_err(|error| Error::io("write", self.path, error))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads the snapshot and how large it is, or nothing when there is none.
pub(super) fn read(dir: &Path) -> Result<Option<(Image, u64)>, Error> {
    let path = path_of(dir);
    let file = match open_checked(&path, MAGIC) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut frames = Frames::at(PREAMBLE as u64, BufReader::with_capacity(FRAME_BYTES, file));
    let mut image = None;
    loop {
        let offset = frames.offset;
        let wrong = |Malformed(detail)| corrupt(&path, offset, detail);
        match (frames.next().map_err(|error| Error::io("read", &path, error))?, &mut image) {
            (Next::Frame(Kind::Header, payload), None) => image = Some(read_header(&payload).map_err(wrong)?),
            (Next::Frame(Kind::Entries, payload), Some((image, _))) => read_entries(&payload, image).map_err(wrong)?,
            (Next::Frame(Kind::Leases, payload), Some((image, _))) => read_leases(&payload, image).map_err(wrong)?,
            (Next::Frame(Kind::End, _), Some((image, count))) if image.entries.len() as u64 == *count => break,
            (Next::Frame(..), _) => return Err(corrupt(&path, offset, "a frame is not where it belongs")),
            (Next::Nothing, _) => return Err(corrupt(&path, offset, "the end of the snapshot is missing")),
            (Next::Broken(detail), _) => return Err(corrupt(&path, offset, detail)),
        }
    }
    Ok(image.map(|(image, _)| (image, frames.offset)))
}

/// Reads the header, and how many entries there are to be.
fn read_header(payload: &[u8]) -> Result<(Image, u64), Malformed> {
    let mut decoder = Decoder(payload);
    let (revision, next_token, next_log) = (decoder.number()?, decoder.number()?, decoder.number()?);
    let image = Image { revision, next_token, next_log, entries: Vec::new(), leases: Vec::new() };
    Ok((image, decoder.number()?))
}

fn read_entries(payload: &[u8], image: &mut Image) -> Result<(), Malformed> {
    let mut decoder = Decoder(payload);
    while !decoder.is_empty() {
        image.entries.push(decoder.entry()?);
    }
    Ok(())
}

fn read_leases(payload: &[u8], image: &mut Image) -> Result<(), Malformed> {
    let mut decoder = Decoder(payload);
    while !decoder.is_empty() {
        image.leases.push(decoder.lease()?);
    }
    Ok(())
}
