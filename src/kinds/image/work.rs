//! Long work on files off the async threads: it tells how far it is, and stops when nobody waits for it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::base::{Fault, FaultKind};
use crate::kinds::Task;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// What the one who works and the one who waits share.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
    stop: AtomicBool,
}

impl Meter {
    /// Says how much there is to do.
    pub fn expect(&self, total: u64) {
        self.total.store(total, Relaxed);
    }

    /// Says that `bytes` more are done; an error when nobody waits any more.
    pub fn add(&self, bytes: u64) -> Result<(), Fault> {
        self.done.fetch_add(bytes, Relaxed);
        if self.stop.load(Relaxed) { Err(Fault::new(FaultKind::Cancelled, "stopped")) } else { Ok(()) }
    }
}

struct StopOnDrop(Arc<Meter>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

/// Does `work` on a thread of its own and shows how far it is as `what`.
pub async fn off_thread<T: Send + 'static>(
    task: &Task<'_>,
    what: &str,
    work: impl FnOnce(&Meter) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let meter = Arc::new(Meter::default());
    let _stop = StopOnDrop(meter.clone());
    let theirs = meter.clone();
    let mut thread = tokio::task::spawn_blocking(move || work(&theirs));
    loop {
        let result = tokio::time::timeout(TICK, &mut thread).await;
        task.progress.step(task.reference, what, meter.done.load(Relaxed), meter.total.load(Relaxed));
        if let Ok(joined) = result {
            return joined.unwrap_or_else(|error| Err(Fault::other(format!("{what}: {error}"))));
        }
    }
}
