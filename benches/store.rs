//! The embedded store against the floor of the disk it stands on, both measured in turns in the same run.
//!
//! `cargo bench --bench store`; a directory on the disk to measure can be given in `REEVE_BENCH_DIR`, otherwise it is the build's.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reeve::base::clock::SystemClock;
use reeve::store::embedded::Options;
use reeve::store::{Embedded, MAX_TXN_OPS, Store, Txn};
use tokio::runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error>>;

const VALUE_BYTES: usize = 600;
const MANIFESTS: usize = 5_000;
const WRITES: usize = 2_000;
/// What Proxmox's pmxcfs does on a quiet machine of this size, in files a second, none of them durable.
const PMXCFS_PER_SECOND: f64 = 2_800.0;

/// Names the directory to the process that only reopens it.
const REOPEN: &str = "REEVE_BENCH_REOPEN";

fn main() -> Outcome<()> {
    if let Some(dir) = std::env::var_os(REOPEN) {
        return measure_reopen(Path::new(&dir));
    }
    let base =
        std::env::var_os("REEVE_BENCH_DIR").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(base)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    one_write(&runtime, dir.path())?;
    many_writers(&runtime, dir.path())?;
    load(&runtime, dir.path())?;
    reopen(&runtime, dir.path())
}

fn open(dir: &Path) -> Outcome<Embedded> {
    Ok(Embedded::open(dir, Options::default(), Arc::new(SystemClock))?)
}

fn key(n: usize) -> String {
    reeve::store::keys::manifest("vm", &format!("web-{n}"))
}

/// One durable write, over and over, in turns with an append and `fdatasync` of as many bytes.
fn one_write(runtime: &Runtime, dir: &Path) -> Outcome<()> {
    let store = open(&dir.join("one"))?;
    fill(runtime, &store, 0..MANIFESTS)?;
    let mut floor = OpenOptions::new().create(true).append(true).open(dir.join("append"))?;
    let value = vec![b'x'; VALUE_BYTES];
    let (mut floors, mut writes) = (Vec::new(), Vec::new());
    for n in 0..WRITES {
        let key = key(n * 7 % MANIFESTS);
        floors.push(timed(|| {
            floor.write_all(key.as_bytes())?;
            floor.write_all(&value)?;
            Ok(floor.sync_data()?)
        })?);
        writes.push(timed(|| Ok(runtime.block_on(store.put(&key, value.clone())).map(|_| ())?))?);
    }
    let (floor, write) = (median(floors), median(writes));
    report(
        "one durable write / fdatasync append",
        micros(write),
        micros(floor),
        write.div_duration_f64(floor),
        |ratio| ratio <= 1.5,
        "at most 1.5",
    );
    Ok(())
}

/// As many writers as a busy agent has, to show what sharing one sync gives.
fn many_writers(runtime: &Runtime, dir: &Path) -> Outcome<()> {
    let store = Arc::new(open(&dir.join("many"))?);
    let start = Instant::now();
    runtime.block_on(async {
        let writers = (0..64).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    store.put(&key(writer * 100 + n), vec![b'x'; VALUE_BYTES]).await?;
                }
                Ok::<_, reeve::store::Error>(())
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await??;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    println!("64 writers at once: {:.0} durable writes a second", 6_400.0 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Manifests loaded in transactions, in turns with one durable file each.
fn load(runtime: &Runtime, dir: &Path) -> Outcome<()> {
    let store = open(&dir.join("load"))?;
    let files = dir.join("files");
    fs::create_dir(&files)?;
    let value = vec![b'x'; VALUE_BYTES];
    let (mut loading, mut writing) = (Duration::ZERO, Duration::ZERO);
    for round in 0..5 {
        let range = round * MANIFESTS / 5..(round + 1) * MANIFESTS / 5;
        writing += timed(|| {
            for n in range.clone() {
                let mut file = File::create(files.join(n.to_string()))?;
                file.write_all(&value)?;
                file.sync_data()?;
            }
            Ok(())
        })?;
        loading += timed(|| fill(runtime, &store, range.clone()))?;
    }
    let rate = |time: Duration| MANIFESTS as f64 / time.as_secs_f64();
    let words = |time| format!("{:.0}/s", rate(time));
    let ratio = rate(loading) / rate(writing);
    report(
        "5,000 manifests in transactions / durable files",
        words(loading),
        words(writing),
        ratio,
        |ratio| ratio >= 3.0,
        "at least 3",
    );
    let ratio = rate(loading) / PMXCFS_PER_SECOND;
    report(
        "  / pmxcfs as read elsewhere",
        words(loading),
        format!("{PMXCFS_PER_SECOND:.0}/s"),
        ratio,
        |ratio| ratio >= 3.0,
        "at least 3",
    );
    Ok(())
}

/// What 10,000 manifests cost in memory and in time to open, in a process of its own that does nothing else.
fn reopen(runtime: &Runtime, dir: &Path) -> Outcome<()> {
    let dir = dir.join("reopen");
    fill(runtime, &open(&dir)?, 0..10_000)?;
    let child = Command::new(std::env::current_exe()?).env(REOPEN, &dir).status()?;
    child.success().then_some(()).ok_or_else(|| "the process that reopens the store failed".into())
}

fn measure_reopen(dir: &Path) -> Outcome<()> {
    let before = resident_kib()?;
    let start = Instant::now();
    let store = open(dir)?;
    let opened = start.elapsed();
    let memory = resident_kib()?.saturating_sub(before);
    println!("10,000 manifests: opened in {:.1} ms, {memory} KiB of memory", opened.as_secs_f64() * 1e3);
    let runtime = Runtime::new()?;
    let start = Instant::now();
    let listing = runtime.block_on(store.list("manifests/"))?;
    println!("{} of them listed in {:.2} ms", listing.entries.len(), start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn fill(runtime: &Runtime, store: &Embedded, range: std::ops::Range<usize>) -> Outcome<()> {
    for chunk in range.collect::<Vec<_>>().chunks(MAX_TXN_OPS) {
        let txn = chunk.iter().fold(Txn::new(), |txn, n| txn.absent(&key(*n)).put(&key(*n), vec![b'x'; VALUE_BYTES]));
        runtime.block_on(store.commit(txn))?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}

fn report(what: &str, ours: String, floor: String, ratio: f64, good: impl Fn(f64) -> bool, target: &str) {
    let verdict = if good(ratio) { "ok" } else { "MISSED" };
    println!("{what}: {ours} / {floor} = {ratio:.2} (target: {target}) {verdict}");
}

/// This process's resident memory.
fn resident_kib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
