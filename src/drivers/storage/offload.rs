//! File system calls off the async threads, each with a deadline, so that a dead mount delays only its own storage.
//!
//! Every call runs on a thread of its own: one that hangs in the kernel can be neither killed nor waited for, and must
//! not hold up the end of the process. At most [`SLOTS`] short calls of one storage are under way; when all of them
//! hang, further ones fail without starting a thread.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::OnProgress;
use crate::base::{Fault, FaultKind};

const SLOTS: usize = 16;
const TICK: Duration = Duration::from_millis(200);

/// Runs blocking calls of one storage.
#[derive(Debug, Clone)]
pub struct Offload {
    slots: Arc<Semaphore>,
    deadline: Duration,
}

/// How far a long call is; shared between the thread that works and the task that waits.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// Notes that `done` of `total` bytes are done.
    pub fn set(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}

impl Offload {
    /// Calls that may take at most `deadline` each.
    pub fn new(deadline: Duration) -> Self {
        Self { slots: Arc::new(Semaphore::new(SLOTS)), deadline }
    }

    /// Runs a short call; `what` says what is attempted.
    pub async fn run<T: Send + 'static>(
        &self,
        what: impl Display,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let seconds = self.deadline.as_secs();
        let Ok(Ok(slot)) = tokio::time::timeout(self.deadline, self.slots.clone().acquire_owned()).await else {
            return Err(Fault::new(
                FaultKind::Unavailable,
                format!("{what}: {SLOTS} earlier calls have not come back for {seconds} s"),
            )
            .help("the file system does not answer; see `dmesg` and the mount's server"));
        };
        let answer = start(move || {
            let result = work();
            drop(slot);
            result
        })?;
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(result)) => result.map_err(|fault| fault.context(what)),
            Ok(Err(_)) => Err(Fault::other(format!("{what}: the thread that did it ended early"))),
            Err(_) => Err(Fault::new(FaultKind::Deadline, format!("{what}: no answer within {seconds} s"))
                .help("the file system does not answer; see `dmesg` and the mount's server")),
        }
    }

    /// Runs a long call that tells how far it is; it fails when nothing moves for the deadline.
    pub async fn long<T: Send + 'static>(
        &self,
        what: impl Display,
        progress: OnProgress<'_>,
        work: impl FnOnce(&Meter) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let meter = Arc::new(Meter::default());
        let shared = meter.clone();
        let mut answer = start(move || work(&shared))?;
        let (mut last, mut idle) = ((0, 0), Duration::ZERO);
        loop {
            match tokio::time::timeout(TICK, &mut answer).await {
                Ok(Ok(result)) => {
                    let (done, total) = meter.read();
                    if total > 0 {
                        progress(done, total);
                    }
                    return result.map_err(|fault| fault.context(what));
                }
                Ok(Err(_)) => return Err(Fault::other(format!("{what}: the thread that did it ended early"))),
                Err(_) => {}
            }
            let now = meter.read();
            idle = if now == last { idle + TICK } else { Duration::ZERO };
            last = now;
            if idle > self.deadline.max(Duration::from_secs(120)) {
                return Err(Fault::new(FaultKind::Deadline, format!("{what}: nothing moved for {} s", idle.as_secs())));
            }
            if now.1 > 0 {
                progress(now.0, now.1);
            }
        }
    }
}

/// Runs `work` on a thread of its own.
fn start<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<oneshot::Receiver<Result<T, Fault>>, Fault> {
    let (send, receive) = oneshot::channel();
    let body = move || {
        // Nobody may be waiting any more; then the result is of no use to anyone.
        let _ = send.send(work());
    };
    std::thread::Builder::new().name("storage".into()).spawn(body).map_err(Fault::from)?;
    Ok(receive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_and_later_ones_do_not_pile_up() {
        let offload = Offload::new(Duration::from_millis(50));
        for _ in 0..SLOTS {
            let fault = offload.run("look", || -> Result<(), Fault> {
                std::thread::sleep(Duration::from_secs(3));
                Ok(())
            });
            assert_eq!(fault.await.unwrap_err().kind, FaultKind::Deadline);
        }
        let fault = offload.run("look", || Ok(())).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unavailable);
        assert!(fault.message.contains("16 earlier calls"), "{fault}");
    }

    #[tokio::test]
    async fn a_long_call_tells_how_far_it_is() {
        let offload = Offload::new(Duration::from_secs(5));
        let seen = std::sync::Mutex::new(Vec::new());
        let note = |done, total| seen.lock().unwrap().push((done, total));
        let work = |meter: &Meter| {
            meter.set(5, 10);
            std::thread::sleep(Duration::from_millis(500));
            meter.set(10, 10);
            Ok(7)
        };
        assert_eq!(offload.long("copy", &note, work).await.unwrap(), 7);
        assert_eq!(seen.lock().unwrap().first(), Some(&(5, 10)));
        assert_eq!(seen.lock().unwrap().last(), Some(&(10, 10)));
    }
}
