//! Which files a run reads, and their text: each whole, or refused with a diagnostic that says why.
//!
//! A directory is walked in the order of its names, hidden files left out, each file and directory once however many
//! links lead to it. A file is refused before it is read when it is too large.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::base::{Diagnostic, Diagnostics, Place};

/// The largest file that is read.
pub const MOST_BYTES: u64 = 16 << 20;

/// The name under which standard input is reported.
pub const STDIN: &str = "<stdin>";

/// A file to read, or standard input.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as the user named it.
    pub name: Arc<str>,
    /// Where it is; `None` is standard input.
    pub path: Option<PathBuf>,
}

/// The files that `paths` lead to, and what is wrong with those that lead to none.
pub fn find(paths: &[PathBuf], found: &mut Diagnostics) -> Vec<Source> {
    let mut search = Search { sources: Vec::new(), seen: HashSet::new(), found };
    for path in paths {
        search.argument(path);
    }
    search.sources
}

struct Search<'a> {
    sources: Vec<Source>,
    /// Device and inode of every file and directory met.
    seen: HashSet<(u64, u64)>,
    found: &'a mut Diagnostics,
}

impl Search<'_> {
    fn argument(&mut self, path: &Path) {
        if path == Path::new("-") {
            if !self.sources.iter().any(|s| s.path.is_none()) {
                self.sources.push(Source { name: STDIN.into(), path: None });
            }
            return;
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                let before = (self.sources.len(), self.found.0.len(), self.seen.len());
                self.directory(path, (meta.dev(), meta.ino()));
                // One that was walked already, or that could not be read, is no news.
                if before.2 < self.seen.len() && (before.0, before.1) == (self.sources.len(), self.found.0.len()) {
                    let message = format!("the directory {} has no manifests", path.display());
                    self.report(
                        "source/empty-directory",
                        path,
                        message,
                        "give a directory with *.yaml, *.yml or *.json files",
                    );
                }
            }
            Ok(meta) => self.file(path, (meta.dev(), meta.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let message = format!("there is no file or directory {}", path.display());
                self.report(
                    "source/missing",
                    path,
                    message,
                    "check the path; relative paths start at the current directory",
                );
            }
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn directory(&mut self, path: &Path, identity: (u64, u64)) {
        if !self.seen.insert(identity) {
            return;
        }
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, &error),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = path.join(&name);
            match entry.file_type() {
                Ok(kind) if kind.is_file() => {
                    if is_manifest(&path) {
                        self.file(&path, (identity.0, entry.ino()));
                    }
                }
                _ => self.other(&path),
            }
        }
    }

    /// A directory, a link, or something special within a directory.
    fn other(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.directory(path, (meta.dev(), meta.ino())),
            _ if !is_manifest(path) => {}
            Ok(meta) if meta.is_file() => self.file(path, (meta.dev(), meta.ino())),
            Ok(_) => {
                let message = format!("{} is neither a file nor a directory", path.display());
                self.report("source/not-a-file", path, message, "move it out of the directory");
            }
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn file(&mut self, path: &Path, identity: (u64, u64)) {
        if self.seen.insert(identity) {
            self.sources.push(Source { name: path.to_string_lossy().into(), path: Some(path.to_owned()) });
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.found.push(unreadable(&path.to_string_lossy(), error));
    }

    fn report(&mut self, code: &'static str, path: &Path, message: String, help: &str) {
        self.found.push(problem(code, &path.to_string_lossy(), message, help));
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn problem(code: &'static str, file: &str, message: String, help: &str) -> Diagnostic {
    Diagnostic::error(code, message).at(Place { file: file.into(), line: 1, column: 1, length: 0 }).help(help)
}

fn unreadable(file: &str, error: &io::Error) -> Diagnostic {
    let message = format!("cannot read {file}: {error}");
    problem("source/unreadable", file, message, "make it readable for the user who runs reeve, or leave it out")
}

/// What standard input gave; it can be read only once.
static INPUT: OnceLock<Result<Vec<u8>, Box<Diagnostic>>> = OnceLock::new();

/// What was read from standard input, when anything was.
pub fn input() -> Option<&'static [u8]> {
    INPUT.get().and_then(|read| read.as_deref().ok())
}

/// Reads a source whole.
pub fn read(source: &Source) -> Result<Cow<'static, [u8]>, Box<Diagnostic>> {
    match &source.path {
        Some(path) => read_file(source, path).map(Cow::Owned),
        None => match INPUT.get_or_init(|| limited(io::stdin().lock(), 0, source)) {
            Ok(bytes) => Ok(Cow::Borrowed(bytes)),
            Err(problem) => Err(problem.clone()),
        },
    }
}

fn read_file(source: &Source, path: &Path) -> Result<Vec<u8>, Box<Diagnostic>> {
    let unreadable = |error: io::Error| Box::new(unreadable(&source.name, &error));
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > MOST_BYTES {
        return Err(too_large(source, &format!("{} MiB", size.div_ceil(1 << 20))));
    }
    limited(file, size, source)
}

fn limited(reader: impl Read, size: u64, source: &Source) -> Result<Vec<u8>, Box<Diagnostic>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    match reader.take(MOST_BYTES + 1).read_to_end(&mut bytes) {
        Err(error) => Err(Box::new(unreadable(&source.name, &error))),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => Err(too_large(source, "endless or too long")),
        Ok(_) => Ok(bytes),
    }
}

fn too_large(source: &Source, size: &str) -> Box<Diagnostic> {
    let message = format!("{} is {size}; files of more than {} MiB are not read", source.name, MOST_BYTES >> 20);
    Box::new(problem("source/too-large", &source.name, message, "split it into several files"))
}

/// The text of a file, or why it is none; a byte-order mark in front is dropped with a warning.
pub fn text<'b>(name: &Arc<str>, bytes: &'b [u8], found: &mut Vec<Diagnostic>) -> Option<&'b str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let message = format!("{name} is UTF-16, not UTF-8");
        found.push(problem("source/not-utf8", name, message, "save it as UTF-8 without a byte-order mark"));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let bad = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            let message = format!("the byte 0x{bad:02x} is not valid UTF-8");
            let place = end_of(name, std::str::from_utf8(good).unwrap_or_default());
            found.push(Diagnostic::error("source/not-utf8", message).at(place).help("save the file as UTF-8"));
            return None;
        }
    };
    if let Some(problem) = unfit(name, text) {
        found.push(problem);
        return None;
    }
    let Some(rest) = text.strip_prefix('\u{feff}') else { return Some(text) };
    let place = Place { file: name.clone(), line: 1, column: 1, length: 0 };
    found.push(
        Diagnostic::warning("source/byte-order-mark", "the file starts with a byte-order mark, which is ignored")
            .at(place)
            .help("save it as UTF-8 without a byte-order mark"),
    );
    Some(rest)
}

/// The first character that no manifest can have.
fn unfit(name: &Arc<str>, text: &str) -> Option<Diagnostic> {
    let bytes = text.as_bytes();
    let lone = |at: usize| bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    let at = (0..bytes.len()).find(|at| bytes[*at] == 0 || lone(*at))?;
    let place = end_of(name, text.get(..at).unwrap_or_default());
    Some(if bytes[at] == 0 {
        Diagnostic::error("source/nul", "a NUL byte stands here")
            .at(place)
            .help("take it out; a file with NUL bytes is often damaged, or no text at all")
    } else {
        Diagnostic::error("source/carriage-return", "a carriage return stands here without a line feed behind it")
            .at(place)
            .help("end lines with a line feed, as every editor does by default")
    })
}

/// The place right behind `text`, of one character.
fn end_of(name: &Arc<str>, text: &str) -> Place {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let last = text.rsplit('\n').next().unwrap_or_default();
    let line = number(text.bytes().filter(|b| *b == b'\n').count()).saturating_add(1);
    Place { file: name.clone(), line, column: number(last.chars().count()).saturating_add(1), length: 1 }
}
