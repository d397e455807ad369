//! Times, medians, and what a whole process costs.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a part of the benchmark gives.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The program that is measured.
pub const REEVE: &str = env!("CARGO_BIN_EXE_reeve");

/// Says to this program that it shall run another and tell what that cost.
const METER: &str = "REEVE_BENCH_METER";

/// What one process cost, from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds of processor time, its own and the kernel's for it.
    pub cpu: f64,
    /// The most memory it had at once, in MiB.
    pub peak: f64,
    /// Its exit status.
    pub status: i32,
}

/// Runs `reeve` with that configuration and says what it cost.
///
/// A small process of its own starts it, since the kernel counts what the parent had to the peak of a child.
pub fn reeve(config: &Path, args: &[&str]) -> Outcome<Cost> {
    let output = Command::new(std::env::current_exe()?)
        .env(METER, "1")
        .env("REEVE_CONFIG", config)
        .arg(REEVE)
        .args(args)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [wall, cpu, peak, status] = numbers[..] else { return Err(format!("the meter said {text:?}").into()) };
    Ok(Cost { wall, cpu, peak, status: status as i32 })
}

/// Runs the program named on the command line when this process was started for that; says whether it was.
#[allow(clippy::zombie_processes, reason = "it is waited for by a call that also tells what it used")]
pub fn is_child() -> Outcome<bool> {
    if std::env::var_os(METER).is_none() {
        return Ok(false);
    }
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (program, args) = args.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(args).env_remove(METER).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let child = command.spawn()?;
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    // SAFETY: both pointers are to live values, and the child is ours and was not waited for.
    let waited = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    let wall = start.elapsed().as_secs_f64();
    if waited < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let exit = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    println!("{wall} {cpu} {} {exit}", usage.ru_maxrss as f64 / 1024.0);
    Ok(true)
}

/// The processor time of this thread so far, in seconds.
pub fn thread_cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live value.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The same, refused unless it ended as it should.
pub fn reeve_ends(config: &Path, args: &[&str], status: i32) -> Outcome<Cost> {
    let cost = reeve(config, args)?;
    if cost.status == status {
        return Ok(cost);
    }
    Err(format!("reeve {} ended with {}, not {status}", args.join(" "), cost.status).into())
}

/// How long work takes, in seconds.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(f64, T)> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed().as_secs_f64(), done))
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds in the unit a person reads.
pub fn words(seconds: f64) -> String {
    let time = Duration::from_secs_f64(seconds.max(0.0));
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", time.as_secs_f64() * 1e6),
        s if s < 1.0 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// Runs a program to its end; gives what it printed.
pub fn run(program: &str, args: &[&str], config: Option<&Path>) -> Outcome<String> {
    let mut command = Command::new(program);
    command.args(args);
    if let Some(config) = config {
        command.env("REEVE_CONFIG", config);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
