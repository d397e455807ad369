//! What only the embedded engine promises: it comes back.

mod damage;
mod disk;
mod faults;
mod kill;
mod model;
mod power;
mod reopen;
mod view;

use std::fs;
use std::path::Path;

use reeve::store::embedded::Options;
use reeve::store::{Embedded, Error, HistoryLimits};

/// Snapshots come after every few commits.
const OFTEN: u64 = 2 * 1024;
/// Snapshots never come.
const NEVER: u64 = u64::MAX;

fn options(snapshot_after_bytes: u64) -> Options {
    Options { snapshot_after_bytes, history: HistoryLimits { events: 1000, bytes: 1 << 20 }, ..Options::default() }
}

fn try_open(dir: &Path, options: Options) -> Result<Embedded, Error> {
    Embedded::open(dir, options, super::clock())
}

fn open(dir: &Path, options: Options) -> Embedded {
    try_open(dir, options).unwrap()
}

/// What a crash at this moment would leave: a copy of the files as they are, without the lock.
fn crash_copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    // A file may go while we look, when a snapshot is being put in place; then look again.
    'again: loop {
        for leftover in fs::read_dir(to).unwrap() {
            fs::remove_file(leftover.unwrap().path()).unwrap();
        }
        let before = names(from);
        for name in before.iter().filter(|name| *name != "lock") {
            if fs::copy(from.join(name), to.join(name)).is_err() {
                continue 'again;
            }
        }
        if names(from) == before {
            return;
        }
    }
}

/// The names of the files in a directory, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All files with their contents, but the lock.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = names(dir).into_iter().filter(|name| name != "lock");
    names.map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}
