//! The embedded store against the floor of the disk it stands on, and what a node's memory holds.
//!
//! A directory on the disk to measure can be given in `REEVE_BENCH_DIR`, otherwise it is the build's.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use reeve::base::clock::SystemClock;
use reeve::engine::records::{Acceptance, Ledger};
use reeve::manifest;
use reeve::store::embedded::Options;
use reeve::store::{Embedded, MAX_TXN_OPS, Store, Txn};
use tokio::runtime::Runtime;

use super::manifests;
use super::measure::{Outcome, median, timed, words};
use super::table::{Table, Target};

const VALUE_BYTES: usize = 600;
const MANIFESTS: usize = 5_000;
const WRITES: usize = 1_000;
/// What Proxmox's pmxcfs does on a quiet machine of this size, in files a second, none of them durable.
const PMXCFS_PER_SECOND: f64 = 2_800.0;
/// How many manifests a node holds when its memory is measured.
const HELD: usize = 10_000;

/// Names the directory to the process that only holds what is in it.
const HOLD: &str = "REEVE_BENCH_HOLD";

fn open(dir: &Path) -> Outcome<Embedded> {
    Ok(Embedded::open(dir, Options::default(), Arc::new(SystemClock))?)
}

fn folder() -> Outcome<tempfile::TempDir> {
    let base = std::env::var_os("REEVE_BENCH_DIR");
    Ok(tempfile::tempdir_in(base.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from))?)
}

fn runtime() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn key(n: usize) -> String {
    reeve::store::keys::manifest("vm", &format!("web-{n}"))
}

/// One durable write, over and over, in turns with an append and `fdatasync` of as many bytes.
pub fn writes(table: &mut Table) -> Outcome<()> {
    let (dir, runtime) = (folder()?, runtime()?);
    let store = open(&dir.path().join("one"))?;
    fill(&runtime, &store, 0..MANIFESTS)?;
    let mut floor = OpenOptions::new().create(true).append(true).open(dir.path().join("append"))?;
    let value = vec![b'x'; VALUE_BYTES];
    let (mut floors, mut writes) = (Vec::new(), Vec::new());
    for n in 0..WRITES {
        let key = key(n * 7 % MANIFESTS);
        let append = || {
            floor.write_all(key.as_bytes())?;
            floor.write_all(&value)?;
            Ok(floor.sync_data()?)
        };
        floors.push(timed(append)?.0);
        writes.push(timed(|| Ok(runtime.block_on(store.put(&key, value.clone()))?))?.0);
    }
    let (floor, write) = (median(floors), median(writes));
    let beside = format!("{} and {}", words(write), words(floor));
    table.against("one durable write / fdatasync append", write / floor, beside, Target::Most(1.5, ""));
    Ok(())
}

/// 5,000 manifests loaded in transactions, in turns with one durable file each.
pub fn load(table: &mut Table) -> Outcome<()> {
    let (dir, runtime) = (folder()?, runtime()?);
    let store = open(&dir.path().join("load"))?;
    let files = dir.path().join("files");
    fs::create_dir(&files)?;
    let value = vec![b'x'; VALUE_BYTES];
    let (mut loading, mut writing) = (0.0, 0.0);
    for round in 0..5 {
        let range = round * MANIFESTS / 5..(round + 1) * MANIFESTS / 5;
        let write = || {
            for n in range.clone() {
                let mut file = File::create(files.join(n.to_string()))?;
                file.write_all(&value)?;
                file.sync_data()?;
            }
            Ok(())
        };
        writing += timed(write)?.0;
        loading += timed(|| fill(&runtime, &store, range.clone()))?.0;
    }
    let (load, write) = (MANIFESTS as f64 / loading, MANIFESTS as f64 / writing);
    let beside = format!("{load:.0}/s; pmxcfs, read elsewhere, {PMXCFS_PER_SECOND:.0}/s");
    table.against("load 5,000 manifests / pmxcfs", load / PMXCFS_PER_SECOND, beside, Target::Least(3.0, ""));
    let beside = format!("one durable file each {write:.0}/s");
    table.against("load 5,000 manifests / durable files", load / write, beside, Target::None(""));
    Ok(())
}

/// What 10,000 manifests cost a process that holds them as an agent does: the store, and all of them typed.
pub fn idle(table: &mut Table) -> Outcome<()> {
    let dir = folder()?;
    let loaded = manifest::load(&[PathBuf::from(manifests::folder(dir.path(), HELD)?)]);
    let all =
        loaded.resources.iter().map(|r| Acceptance { resource: Arc::clone(r), source: None, uid: None, commit: None });
    let runtime = runtime()?;
    let at = dir.path().join("store");
    let ledger = Ledger::new(Arc::new(open(&at)?), Arc::new(SystemClock));
    runtime.block_on(ledger.accept(&all.collect::<Vec<_>>()))?;
    drop(ledger);
    let output = Command::new(std::env::current_exe()?).env(HOLD, &at).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [count, mib, seconds] = numbers[..] else { return Err(format!("the process that holds said {text:?}").into()) };
    let beside = format!("{count} resources, opened and read in {}", words(seconds));
    table.against("idle with 10,000 manifests", mib, beside, Target::Most(100.0, " MiB"));
    Ok(())
}

/// Holds what is in the store named by the environment, when this process was started for that; says whether it was.
pub fn is_child() -> Outcome<bool> {
    let Some(dir) = std::env::var_os(HOLD) else { return Ok(false) };
    let start = Instant::now();
    let runtime = runtime()?;
    let ledger = Ledger::new(Arc::new(open(Path::new(&dir))?), Arc::new(SystemClock));
    let accepted = runtime.block_on(ledger.accepted())?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{} {} {seconds}", accepted.catalog.len(), resident_mib()?);
    Ok(true)
}

fn fill(runtime: &Runtime, store: &Embedded, range: std::ops::Range<usize>) -> Outcome<()> {
    for chunk in range.collect::<Vec<_>>().chunks(MAX_TXN_OPS) {
        let txn = chunk.iter().fold(Txn::new(), |txn, n| txn.absent(&key(*n)).put(&key(*n), vec![b'x'; VALUE_BYTES]));
        runtime.block_on(store.commit(txn))?;
    }
    Ok(())
}

/// This process's resident memory.
fn resident_mib() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
