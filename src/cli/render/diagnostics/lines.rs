//! The lines of files that diagnostics point at, made fit for a terminal.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::Place;
use crate::manifest::{MOST_BYTES, STDIN, input};

/// The longest line that is shown whole, in characters.
const MOST_WIDTH: usize = 160;
/// How much of a longer line is shown before the place.
const BEFORE: usize = 40;

/// Files read once, with the start of each of their lines known.
#[derive(Default)]
pub struct Files(HashMap<Arc<str>, Option<File>>);

struct File {
    text: String,
    starts: Vec<usize>,
}

/// A few lines around a place.
pub struct Excerpt {
    /// The lines.
    pub text: String,
    /// The number of the first of them, from 0.
    pub first_line: usize,
    /// Where the place starts in `text`, in bytes.
    pub offset: usize,
    /// How many bytes it spans.
    pub length: usize,
}

impl Files {
    /// The line of a place, with the one before and the one after it; `None` when the file cannot be read any more.
    pub fn excerpt(&mut self, place: &Place) -> Option<Excerpt> {
        let file = self.0.entry(place.file.clone()).or_insert_with(|| File::read(&place.file)).as_ref()?;
        let target = (place.line as usize).checked_sub(1)?;
        let first_line = target.saturating_sub(1);
        let mut excerpt = Excerpt { text: String::new(), first_line, offset: 0, length: 0 };
        for number in first_line..=target + 1 {
            let Some(line) = file.line(number) else { break };
            if number == target {
                excerpt.mark(line, place);
            } else {
                push_clean(&mut excerpt.text, line.chars().take(MOST_WIDTH));
            }
            excerpt.text.push('\n');
        }
        (!excerpt.text.trim().is_empty()).then_some(excerpt)
    }
}

impl File {
    fn read(name: &str) -> Option<Self> {
        let bytes = match input() {
            Some(bytes) if name == STDIN => bytes.to_vec(),
            _ => {
                let meta = std::fs::metadata(name).ok().filter(|m| m.is_file() && m.len() <= MOST_BYTES)?;
                let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
                std::io::Read::read_to_end(&mut std::fs::File::open(name).ok()?, &mut bytes).ok()?;
                bytes
            }
        };
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).into_owned();
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        Some(Self { text, starts })
    }

    fn line(&self, number: usize) -> Option<&str> {
        let start = *self.starts.get(number)?;
        let end = self.starts.get(number + 1).map_or(self.text.len(), |next| next - 1);
        self.text.get(start..end).map(|line| line.strip_suffix('\r').unwrap_or(line))
    }
}

impl Excerpt {
    /// Adds the line of the place, cut around it when it is long, and notes where the place is.
    fn mark(&mut self, line: &str, place: &Place) {
        let column = (place.column as usize).saturating_sub(1);
        let long = line.chars().nth(MOST_WIDTH).is_some();
        let skipped = if long { column.saturating_sub(BEFORE) } else { 0 };
        if skipped > 0 {
            self.text.push('…');
        }
        let mut shown = line.chars().skip(skipped);
        push_clean(&mut self.text, shown.by_ref().take(column - skipped));
        self.offset = self.text.len();
        let room = if long { MOST_WIDTH - (column - skipped).min(BEFORE) } else { usize::MAX };
        let length = (place.length as usize).min(room);
        push_clean(&mut self.text, shown.by_ref().take(length));
        self.length = self.text.len() - self.offset;
        push_clean(&mut self.text, shown.by_ref().take(room - length));
        if shown.next().is_some() {
            self.text.push('…');
        }
    }
}

fn push_clean(text: &mut String, line: impl Iterator<Item = char>) {
    text.extend(line.map(|c| if is_unsafe(c) && c != '\t' { '\u{fffd}' } else { c }));
}

/// Whether a terminal would obey a character, or turn text around by it.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
