//! The log: what was done since the snapshot, one frame a batch, in files that follow each other.
//!
//! A file is only ever appended to, and only after everything before is durable. When an append fails, what it left behind is
//! given up: the next file begins, and its header says how much of this one counts. So an unacknowledged batch never comes
//! back under the revisions of a later one, and a torn end is never written over.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::FORMAT;
use super::codec::{Decoder, Encoder, Malformed};
use super::disk::Disk;
use super::frame::{self, Kind, PREAMBLE};
use crate::store::state::Step;
use crate::store::{Error, Revision};

/// The first bytes of a log file.
pub(super) const MAGIC: [u8; 8] = *b"REEVElog";
/// A buffer that grew beyond this for one large batch is given back.
const BUFFER_KEPT: usize = 1024 * 1024;

/// What the first frame of a log file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The file's number, from 1.
    pub(super) number: u64,
    /// The store's revision when the file began.
    pub(super) revision: Revision,
    /// How many bytes of the file before count; 0 for the first file.
    pub(super) previous: u64,
}

impl Header {
    fn encode(self, buffer: &mut Vec<u8>) {
        let mut encoder = Encoder(buffer);
        encoder.number(self.number);
        encoder.number(self.revision);
        encoder.number(self.previous);
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder(payload);
        Ok(Self { number: decoder.number()?, revision: decoder.number()?, previous: decoder.number()? })
    }
}

/// The file of this number.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("log-{number:08}"))
}

/// The number of the log file of this name, if it is one.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("log-").filter(|digits| digits.len() >= 8)?.parse().ok()
}

/// The log's last file, open for appending.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    number: u64,
    path: PathBuf,
    file: File,
    /// How many bytes count.
    length: u64,
    /// Whether there may be more bytes than count, so that the next file must begin before the next batch.
    spoilt: bool,
    buffer: Vec<u8>,
}

impl Log {
    /// Begins a file.
    pub(super) fn create(dir: &Path, disk: Arc<dyn Disk>, header: Header) -> Result<Self, Error> {
        let path = path_of(dir, header.number);
        let mut buffer = frame::preamble(MAGIC, FORMAT).to_vec();
        let at = frame::begin(&mut buffer, Kind::Header);
        header.encode(&mut buffer);
        frame::finish(&mut buffer, at, PREAMBLE as u64);
        let fresh = path.with_extension("new");
        let file = write_whole(&*disk, &fresh, &buffer).map_err(|error| Error::io("write", &fresh, error))?;
        put_in_place(dir, &fresh, &path)?;
        let (dir, number, length) = (dir.to_owned(), header.number, buffer.len() as u64);
        Ok(Self { dir, disk, number, path, file, length, spoilt: false, buffer: Vec::new() })
    }

    /// Goes on with a file of which so many bytes count, and makes sure that what was read of it is durable.
    pub(super) fn resume(
        dir: &Path,
        disk: Arc<dyn Disk>,
        number: u64,
        length: u64,
        spoilt: bool,
    ) -> Result<Self, Error> {
        let path = path_of(dir, number);
        let file = OpenOptions::new().append(true).open(&path).map_err(|error| Error::io("open", &path, error))?;
        disk.sync(&path, &file).map_err(|error| Error::io("sync", &path, error))?;
        sync_dir(dir)?;
        Ok(Self { dir: dir.to_owned(), disk, number, path, file, length, spoilt, buffer: Vec::new() })
    }

    /// The number of the file.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Makes a batch durable, and says how many bytes it took; `revision` is the store's before it.
    pub(super) fn append(&mut self, steps: &[Step], revision: Revision) -> Result<u64, Error> {
        if self.spoilt {
            self.begin_next(revision)?;
        }
        self.append_frame(Kind::Batch, |encoder| steps.iter().for_each(|step| encoder.step(step)))
    }

    /// Marks the file as finished in good order.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if !self.spoilt {
            self.append_frame(Kind::End, |_| {})?;
        }
        Ok(())
    }

    fn append_frame(&mut self, kind: Kind, fill: impl FnOnce(&mut Encoder<'_>)) -> Result<u64, Error> {
        self.buffer.clear();
        let at = frame::begin(&mut self.buffer, kind);
        fill(&mut Encoder(&mut self.buffer));
        frame::finish(&mut self.buffer, at, self.length);
        let written = self.disk.write(&self.path, &mut self.file, &self.buffer);
        let durable = written.map_err(|error| Error::io("write", &self.path, error)).and_then(|()| {
            self.disk.sync(&self.path, &self.file).map_err(|error| Error::io("sync", &self.path, error))
        });
        let bytes = self.buffer.len() as u64;
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        match durable {
            Ok(()) => {
                self.length += bytes;
                Ok(bytes)
            }
            Err(error) => {
                self.give_up_tail();
                Err(error)
            }
        }
    }

    /// Leaves the bytes of a failed append behind; cutting them off is only tidiness, for the next file says what counts.
    fn give_up_tail(&mut self) {
        self.spoilt = true;
        if let Err(error) = self.file.set_len(self.length) {
            tracing::debug!(%error, path = %self.path.display(), "the failed batch stays at the end of the file");
        }
    }

    /// Begins the next file; when that fails this one takes no more either, since the next may be half there.
    pub(super) fn begin_next(&mut self, revision: Revision) -> Result<(), Error> {
        self.spoilt = true;
        let header = Header { number: self.number + 1, revision, previous: self.length };
        *self = Self::create(&self.dir, self.disk.clone(), header)?;
        Ok(())
    }
}

/// Writes a file from its beginning and makes it durable.
fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = create_private(path)?;
    disk.write(path, &mut file, bytes)?;
    disk.sync(path, &file)?;
    Ok(file)
}

/// An empty file that only its owner can read, in place of any leftover.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

/// Gives a finished file its name, durably.
pub(super) fn put_in_place(dir: &Path, from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| Error::io("put in place", to, error))?;
    sync_dir(dir)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::io("sync", dir, error))
}
