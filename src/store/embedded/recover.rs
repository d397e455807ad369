//! Reads a store's directory back: the snapshot, then the log files after it, frame by frame. It writes nothing.
//!
//! Only one kind of damage is expected: the last file may end in a batch that a crash tore, which nobody was told is done.
//! It is left out. A broken frame with a whole one after it is not that, nor is a missing file; both are refused, for they
//! would lose what was acknowledged.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::FORMAT;
use super::codec::{Decoder, Malformed};
use super::frame::{self, Frames, Kind, Next, PREAMBLE};
use super::log::{self, Header};
use super::snapshot::{self, Image};
use crate::store::history::History;
use crate::store::state::{State, Step};
use crate::store::{Error, HistoryLimits};

/// What was in the directory.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) state: State,
    /// Nothing in a new directory.
    pub(super) tail: Option<Tail>,
    pub(super) snapshot_bytes: u64,
    /// How many bytes of log were read.
    pub(super) log_bytes: u64,
    /// Files that no longer count: older logs and unfinished writes.
    pub(super) leftovers: Vec<PathBuf>,
}

/// Where the log ends.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) number: u64,
    pub(super) length: u64,
    /// Whether a torn batch follows.
    pub(super) torn: bool,
}

/// Reads the directory.
pub(super) fn recover(dir: &Path, limits: HistoryLimits) -> Result<Recovered, Error> {
    let (numbers, mut leftovers) = look(dir)?;
    let (state, first, snapshot_bytes) = match snapshot::read(dir)? {
        Some((image, size)) => {
            let first = image.next_log;
            (state_of(image, limits), Some(first), size)
        }
        None => (State::empty(limits), None, 0),
    };
    let (old, numbers): (Vec<u64>, Vec<u64>) =
        numbers.into_iter().partition(|number| first.is_some_and(|first| *number < first));
    leftovers.extend(old.into_iter().map(|number| log::path_of(dir, number)));
    refuse_gaps(dir, &numbers, first)?;
    let mut replay = Replay { state, bytes: 0 };
    let mut tail = None;
    for (index, number) in numbers.iter().copied().enumerate() {
        let next = numbers.get(index + 1).map(|next| read_header(dir, *next)).transpose()?;
        tail = Some(replay.file(dir, number, next.map(|header| header.previous))?);
    }
    Ok(Recovered { state: replay.state, tail, snapshot_bytes, log_bytes: replay.bytes, leftovers })
}

/// Refuses a directory that lacks a log file which must have been there; `first` is the one after the snapshot.
fn refuse_gaps(dir: &Path, numbers: &[u64], first: Option<u64>) -> Result<(), Error> {
    let expected = first.unwrap_or(1)..;
    let gap =
        expected.clone().zip(numbers).find(|(expected, number)| expected != *number).map(|(expected, _)| expected);
    match gap.or(first.filter(|_| numbers.is_empty())) {
        None => Ok(()),
        Some(number) => Err(corrupt(&log::path_of(dir, number), 0, "it is missing, and no snapshot covers it")),
    }
}

/// The numbers of the log files in order, and unfinished writes.
fn look(dir: &Path) -> Result<(Vec<u64>, Vec<PathBuf>), Error> {
    let (mut numbers, mut unfinished) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(|error| Error::io("read", dir, error))? {
        let entry = entry.map_err(|error| Error::io("read", dir, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        match log::number_of(&name) {
            Some(number) => numbers.push(number),
            None if name == "snapshot.new" || (name.starts_with("log-") && name.ends_with(".new")) => {
                unfinished.push(entry.path());
            }
            None => {}
        }
    }
    numbers.sort_unstable();
    Ok((numbers, unfinished))
}

fn state_of(image: Image, limits: HistoryLimits) -> State {
    let Image { revision, next_token, next_log: _, entries, leases } = image;
    State {
        entries: entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect(),
        revision,
        leases: leases.into_iter().map(|lease| (lease.name.clone(), lease)).collect(),
        next_token,
        history: History::after(revision, limits),
    }
}

/// The state so far, and how much of the log it took.
struct Replay {
    state: State,
    bytes: u64,
}

impl Replay {
    /// Does what one file says; `counts` is how much of it counts, or nothing for the last one.
    fn file(&mut self, dir: &Path, number: u64, counts: Option<u64>) -> Result<Tail, Error> {
        let path = log::path_of(dir, number);
        let file = open_checked(&path, log::MAGIC)?;
        let end = counts.unwrap_or(u64::MAX);
        let limited = BufReader::new(file).take(end.saturating_sub(PREAMBLE as u64));
        let mut frames = Frames::at(PREAMBLE as u64, limited);
        let mut expected_header = true;
        loop {
            let offset = frames.offset;
            match frames.next().map_err(|error| Error::io("read", &path, error))? {
                Next::Frame(Kind::Header, payload) if expected_header => {
                    self.check_header(&payload, number).map_err(|Malformed(detail)| corrupt(&path, offset, detail))?;
                    expected_header = false;
                }
                Next::Frame(Kind::Batch, payload) if !expected_header => {
                    self.batch(&payload).map_err(|Malformed(detail)| corrupt(&path, offset, detail))?;
                }
                Next::Frame(Kind::End, _) if !expected_header => {}
                Next::Frame(..) => return Err(corrupt(&path, offset, "a frame is not where it belongs")),
                Next::Nothing if expected_header || counts.is_some_and(|counts| counts != offset) => {
                    return Err(corrupt(&path, offset, "the file is shorter than it was"));
                }
                Next::Broken(detail) if expected_header || counts.is_some() => {
                    return Err(corrupt(&path, offset, detail));
                }
                Next::Nothing => return Ok(self.tail(number, offset, false)),
                Next::Broken(detail) => {
                    refuse_unless_torn(&path, offset, detail)?;
                    return Ok(self.tail(number, offset, true));
                }
            }
        }
    }

    fn tail(&mut self, number: u64, length: u64, torn: bool) -> Tail {
        self.bytes += length;
        Tail { number, length, torn }
    }

    fn check_header(&self, payload: &[u8], number: u64) -> Result<(), Malformed> {
        let header = Header::decode(payload)?;
        if header.number != number {
            return Err(Malformed("the file has the name of another one"));
        }
        if header.revision != self.state.revision {
            return Err(Malformed("the file does not go on where the one before ends"));
        }
        Ok(())
    }

    fn batch(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let mut decoder = Decoder(payload);
        while !decoder.is_empty() {
            let step = decoder.step()?;
            if matches!(step, Step::Change { revision, .. } if revision != self.state.revision + 1) {
                return Err(Malformed("a revision is missing"));
            }
            self.state.apply(step);
        }
        Ok(())
    }
}

/// Refuses a broken end that no crash in the middle of an append can leave.
fn refuse_unless_torn(path: &Path, offset: u64, detail: &str) -> Result<(), Error> {
    let mut rest = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset + 1))?;
        file.read_to_end(&mut rest)
    });
    read.map_err(|error| Error::io("read", path, error))?;
    if frame::any_in(&rest, offset + 1) {
        return Err(corrupt(path, offset, detail));
    }
    tracing::info!(path = %path.display(), offset, "left out a batch that is not whole; nobody was told it was done");
    Ok(())
}

/// Reads a log file's header.
fn read_header(dir: &Path, number: u64) -> Result<Header, Error> {
    let path = log::path_of(dir, number);
    let mut frames = Frames::at(PREAMBLE as u64, BufReader::new(open_checked(&path, log::MAGIC)?));
    match frames.next().map_err(|error| Error::io("read", &path, error))? {
        Next::Frame(Kind::Header, payload) => {
            Header::decode(&payload).map_err(|Malformed(detail)| corrupt(&path, PREAMBLE as u64, detail))
        }
        _ => Err(corrupt(&path, PREAMBLE as u64, "the header is missing")),
    }
}

/// Opens a file whose preamble is right and of a format this version reads; stands after the preamble.
pub(super) fn open_checked(path: &Path, magic: [u8; 8]) -> Result<File, Error> {
    let mut file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let mut preamble = [0; PREAMBLE];
    file.read_exact(&mut preamble).map_err(|_| corrupt(path, 0, "the file is too short"))?;
    match frame::read_preamble(&preamble, magic) {
        None => Err(corrupt(path, 0, "the file does not begin as a file of the store does")),
        Some(found) if found > FORMAT => Err(Error::NewerFormat { path: path.to_owned(), found, supported: FORMAT }),
        Some(_) => Ok(file),
    }
}

/// The error for a damaged file.
pub(super) fn corrupt(path: &Path, offset: u64, detail: &str) -> Error {
    Error::Corrupt { path: path.to_owned(), offset, detail: detail.to_owned() }
}
