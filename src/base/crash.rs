//! Crash points for tests: the process kills itself, as `kill -9` would, at the point it is told to.
//!
//! `REEVE_CRASH_AT=N` counts points over the whole run, from 1. Without the variable a point costs one atomic load.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

static LEFT: LazyLock<AtomicI64> = LazyLock::new(|| {
    let at = std::env::var("REEVE_CRASH_AT").ok().and_then(|n| n.parse().ok());
    AtomicI64::new(at.unwrap_or(-1))
});

/// One point at which a crash may be asked for.
pub fn point(_name: &'static str) {
    if LEFT.load(Ordering::Relaxed) < 0 {
        return;
    }
    if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        // Nothing may run after this: no destructor, no flush. That is what is tested.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort();
    }
}
