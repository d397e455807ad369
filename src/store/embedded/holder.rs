//! Who has a store open: what is written into its lock file, and read from it for the message to whoever waits.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use jiff::Timestamp;

/// No longer command line is noted.
const COMMAND_CHARS: usize = 200;

/// The process that has a store open, as it noted itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Since when, where it says so.
    pub since: Option<Timestamp>,
    /// What was typed to start it; empty when it does not say.
    pub command: String,
}

impl Holder {
    /// This process, from `now` on.
    pub(super) fn this(now: Timestamp) -> Self {
        let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let program = words.next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        let command = std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ");
        let command = command.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMMAND_CHARS).collect();
        Self { pid: std::process::id(), since: Some(now), command }
    }

    /// Notes it in the lock file in place of whoever held the lock before.
    pub(super) fn note(&self, file: &mut File) -> io::Result<()> {
        let Self { pid, since, command } = self;
        let since = since.map(|at| at.to_string()).unwrap_or_default();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{pid}\n{since}\n{command}\n").as_bytes())
    }

    /// Reads who holds the lock; nothing when that is not written there yet.
    pub(super) fn read(file: &mut File) -> Option<Self> {
        let mut text = String::new();
        // Who it is only makes the message better.
        file.read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let since = lines.next().and_then(|at| at.parse().ok());
        Some(Self { pid, since, command: lines.next().unwrap_or_default().to_owned() })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, since, command } = self;
        write!(f, "process {pid}")?;
        if !command.is_empty() {
            write!(f, " ({command})")?;
        }
        match since {
            Some(since) => write!(f, " since {} UTC", since.strftime("%Y-%m-%d %H:%M:%S")),
            None => Ok(()),
        }
    }
}
