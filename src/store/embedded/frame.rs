//! Files are a preamble and then frames; each frame is whole and right, or it is not there.
//!
//! ```text
//! preamble  8 bytes magic | u32 format | u32 CRC-32 of the 12 bytes before
//! frame     "RVfr" | u32 kind | u32 length of the payload | u32 CRC-32 | payload
//!           the CRC is of: u64 offset of the frame in its file, kind, length, payload
//! ```
//! All numbers are little-endian. The preamble is the same in every format there will be. The offset ties a frame to its
//! place, so that a value which happens to look like a frame is never taken for one.

use std::io::{self, Read};

/// The bytes before a frame's payload.
pub(super) const HEADER: usize = 16;
/// The bytes before the first frame.
pub(super) const PREAMBLE: usize = 16;
/// No frame is larger: a batch ends at 16 MiB and its last transaction has at most 16 MiB more, plus lengths.
const MAX_PAYLOAD: usize = 64 * 1024 * 1024;
const MAGIC: [u8; 4] = *b"RVfr";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first frame of a file, which says what the file continues.
    Header = 1,
    /// A batch of steps.
    Batch = 2,
    /// Some entries of a snapshot.
    Entries = 3,
    /// The leases of a snapshot.
    Leases = 4,
    /// The last frame of a file that was finished in good order.
    End = 5,
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        [Self::Header, Self::Batch, Self::Entries, Self::Leases, Self::End]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// The first bytes of a file of this magic and format.
pub(super) fn preamble(magic: [u8; 8], format: u32) -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// The format a preamble names, if it is one of this magic.
pub(super) fn read_preamble(bytes: &[u8; PREAMBLE], magic: [u8; 8]) -> Option<u32> {
    let format = number(bytes, 8);
    (preamble(magic, format) == *bytes).then_some(format)
}

/// Begins a frame in an empty or shared buffer; returns where, for `finish`.
pub(super) fn begin(buffer: &mut Vec<u8>, kind: Kind) -> usize {
    let at = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&(kind as u32).to_le_bytes());
    buffer.extend_from_slice(&[0; 8]);
    at
}

/// Closes the frame begun at `at` in the buffer, which goes to `offset` in the file.
pub(super) fn finish(buffer: &mut [u8], at: usize, offset: u64) {
    let length = u32::try_from(buffer.len() - at - HEADER).unwrap_or(u32::MAX);
    buffer[at + 8..at + 12].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(offset, &buffer[at + 4..at + 12], &buffer[at + HEADER..]);
    buffer[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
}

/// What is next in a file.
#[derive(Debug)]
pub(super) enum Next {
    Frame(Kind, Vec<u8>),
    /// The file ends here, between two frames.
    Nothing,
    /// The bytes here are not a whole frame, for this reason.
    Broken(&'static str),
}

/// Reads a file's frames one after the other.
pub(super) struct Frames<R> {
    from: R,
    /// Where the next frame starts; stays put when it is broken.
    pub(super) offset: u64,
}

impl<R: Read> Frames<R> {
    /// Reads from bytes that start at this offset of their file.
    pub(super) fn at(offset: u64, from: R) -> Self {
        Self { from, offset }
    }

    /// Reads the next frame.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let mut header = [0; HEADER];
        match fill(&mut self.from, &mut header)? {
            0 => return Ok(Next::Nothing),
            HEADER => {}
            _ => return Ok(Next::Broken("the file ends inside a frame's header")),
        }
        let length = number(&header, 8) as usize;
        if header[..4] != MAGIC || length > MAX_PAYLOAD {
            return Ok(Next::Broken("there is no frame here"));
        }
        let mut payload = Vec::new();
        self.from.by_ref().take(length as u64).read_to_end(&mut payload)?;
        if payload.len() < length {
            return Ok(Next::Broken("the file ends inside a frame"));
        }
        if checksum(self.offset, &header[4..12], &payload) != number(&header, 12) {
            return Ok(Next::Broken("the checksum of the frame is wrong"));
        }
        let Some(kind) = Kind::of(number(&header, 4)) else {
            return Ok(Next::Broken("the kind of the frame is unknown"));
        };
        self.offset += (HEADER + length) as u64;
        Ok(Next::Frame(kind, payload))
    }
}

/// Whether a whole frame starts anywhere in these bytes, which start at `offset` of their file.
pub(super) fn any_in(bytes: &[u8], offset: u64) -> bool {
    let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    starts.into_iter().any(|(at, _)| {
        let mut frames = Frames::at(offset + at as u64, &bytes[at..]);
        matches!(frames.next(), Ok(Next::Frame(..)))
    })
}

/// Reads until the buffer is full or the file ends, and says how much it read.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn checksum(offset: u64, kind_and_length: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(kind_and_length);
    hasher.update(payload);
    hasher.finalize()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
