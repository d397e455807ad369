//! A clock that stands still until everyone sleeps, and then goes to the first who wants to wake.

use std::future::poll_fn;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reeve::base::Clock;

/// The virtual time.
pub struct SimClock {
    start: Timestamp,
    state: Mutex<(Duration, Vec<(Duration, Waker)>)>,
}

impl SimClock {
    /// A clock that stands at its beginning.
    pub fn new() -> Self {
        Self { start: "2026-11-22T00:00:00Z".parse().unwrap(), state: Mutex::default() }
    }

    /// The time at which the first sleeper wants to wake.
    pub fn next(&self) -> Option<Duration> {
        self.state.lock().unwrap().1.iter().map(|(at, _)| *at).min()
    }

    /// Goes to a time, and wakes everyone who slept until then.
    pub fn go(&self, to: Duration) {
        let mut state = self.state.lock().unwrap();
        state.0 = state.0.max(to);
        let (due, later) = std::mem::take(&mut state.1).into_iter().partition(|(at, _)| *at <= to);
        state.1 = later;
        let due: Vec<(Duration, Waker)> = due;
        drop(state);
        due.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.start + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.state.lock().unwrap().0
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.elapsed() + duration;
        poll_fn(|context| {
            let mut state = self.state.lock().unwrap();
            if state.0 >= until {
                return Poll::Ready(());
            }
            state.1.push((until, context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Whether the one task there is wants to be polled.
#[derive(Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Says that it does.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Takes the wish.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.set();
    }
}
