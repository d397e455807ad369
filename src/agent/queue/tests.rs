//! Any history of asking, running, failing and waiting, against what the queue promises.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn lanes(key: u8) -> Vec<Lane> {
    vec![format!("lane {}", key % 3)]
}

fn queue() -> Queue<u8> {
    Queue::new(Limits { total: 3, lane: 2, patience: 10 * SECOND, first: SECOND, longest: 60 * SECOND }, 7)
}

#[test]
fn a_key_runs_once_however_often_it_is_asked_for() {
    let mut queue = queue();
    (0..5).for_each(|n| queue.enqueue(1, lanes(1), n * SECOND, n * SECOND));
    let job = queue.pop(5 * SECOND).unwrap();
    assert_eq!(job, Job { key: 1, since: 4 * SECOND, failures: 0 });
    assert_eq!(queue.pop(100 * SECOND), None);
    queue.finish(&1, 6 * SECOND, Verdict::Done);
    assert_eq!(queue.pop(100 * SECOND), None);
    assert_eq!(queue.wake(6 * SECOND), None);
}

#[test]
fn what_is_asked_for_while_it_runs_is_run_again_and_never_twice_at_once() {
    let mut queue = queue();
    queue.enqueue(1, lanes(1), SECOND, SECOND);
    assert!(queue.pop(SECOND).is_some());
    queue.enqueue(1, lanes(1), 2 * SECOND, 2 * SECOND);
    assert_eq!(queue.pop(3 * SECOND), None);
    queue.finish(&1, 3 * SECOND, Verdict::Done);
    assert_eq!(queue.pop(3 * SECOND).unwrap().since, 2 * SECOND);
}

#[test]
fn failures_wait_longer_each_time_and_success_forgets_them() {
    let mut queue = queue();
    let mut now = SECOND;
    queue.enqueue(1, lanes(1), now, now);
    let mut waits = Vec::new();
    for failures in 0..9 {
        assert_eq!(queue.pop(now).unwrap().failures, failures);
        queue.finish(&1, now, Verdict::Retry);
        let next = queue.wake(now).unwrap();
        waits.push((next - now).as_secs_f64());
        now = next;
    }
    let whole = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0];
    for (wait, whole) in waits.iter().zip(whole) {
        assert!((whole * 0.5..=whole).contains(wait), "{waits:?}");
    }
    queue.pop(now).unwrap();
    queue.finish(&1, now, Verdict::Done);
    assert_eq!(queue.failures(&1), 0);
}

#[test]
fn a_hint_does_not_shorten_the_wait_after_a_failure_and_an_edit_does() {
    let mut queue = queue();
    queue.enqueue(1, lanes(1), SECOND, SECOND);
    queue.pop(SECOND).unwrap();
    queue.enqueue(1, lanes(1), SECOND, SECOND);
    queue.finish(&1, SECOND, Verdict::Retry);
    queue.enqueue(1, lanes(1), SECOND, SECOND);
    assert_eq!(queue.pop(SECOND), None);
    queue.urge(1, lanes(1), SECOND);
    assert_eq!(queue.pop(SECOND).unwrap().failures, 0);
    queue.urge(1, lanes(1), SECOND);
    queue.finish(&1, SECOND, Verdict::Retry);
    assert!(queue.pop(SECOND).is_some(), "an edit while it ran is tried at once");
}

#[test]
fn what_hangs_in_one_lane_stops_no_other() {
    let mut queue = queue();
    for key in [0, 3, 6, 9] {
        queue.enqueue(key, lanes(key), SECOND, SECOND);
    }
    assert!(queue.pop(SECOND).is_some() && queue.pop(SECOND).is_some());
    assert_eq!(queue.pop(SECOND), None, "the lane is full");
    queue.enqueue(1, lanes(1), SECOND, SECOND);
    queue.enqueue(4, lanes(4), SECOND, SECOND);
    queue.enqueue(2, lanes(2), SECOND, SECOND);
    assert_eq!(queue.pop(SECOND).unwrap().key, 1);
    assert_eq!(queue.pop(SECOND), None, "so many run already");
    assert_eq!(queue.wake(SECOND), Some(11 * SECOND));
    assert_eq!(queue.pop(11 * SECOND).unwrap().key, 4, "those that hang do not count any more");
    assert_eq!(queue.pop(11 * SECOND).unwrap().key, 2);
    assert_eq!(queue.pop(11 * SECOND), None);
}

#[derive(Debug, Clone)]
enum Act {
    Enqueue(u8, u16),
    Urge(u8),
    Pop,
    Finish(u8, Verdict),
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Done),
        2 => Just(Verdict::Retry),
        1 => (0_u64..5_000).prop_map(|ms| Verdict::After(Duration::from_millis(ms))),
    ];
    prop_oneof![
        4 => (0_u8..8, 0_u16..5_000).prop_map(|(key, delay)| Act::Enqueue(key, delay)),
        1 => (0_u8..8).prop_map(Act::Urge),
        6 => Just(Act::Pop),
        5 => (any::<u8>(), verdict).prop_map(|(which, verdict)| Act::Finish(which, verdict)),
        3 => (1_u16..5_000).prop_map(Act::Pass),
    ]
}

/// What a history has done so far, and what it still owes.
#[derive(Default)]
struct Model {
    now: Moment,
    running: BTreeMap<u8, Moment>,
    owed: BTreeMap<u8, Moment>,
    trace: Vec<(u8, Moment)>,
}

impl Model {
    fn play(&mut self, queue: &mut Queue<u8>, act: Act) {
        match act {
            Act::Enqueue(key, delay) => {
                queue.enqueue(key, lanes(key), self.now, self.now + Duration::from_millis(delay.into()));
                self.owed.insert(key, self.now);
            }
            Act::Urge(key) => {
                queue.urge(key, lanes(key), self.now);
                self.owed.insert(key, self.now);
            }
            Act::Pop => {
                self.pop(queue);
            }
            Act::Finish(which, verdict) => {
                let keys: Vec<u8> = self.running.keys().copied().collect();
                if let Some(key) = keys.get(usize::from(which) % keys.len().max(1)) {
                    queue.finish(key, self.now, verdict);
                    self.running.remove(key);
                }
            }
            Act::Pass(ms) => self.pass(queue, Duration::from_millis(ms.into())),
        }
    }

    fn pop(&mut self, queue: &mut Queue<u8>) -> bool {
        let Some(job) = queue.pop(self.now) else { return false };
        assert!(self.running.insert(job.key, self.now).is_none(), "{} runs twice at once", job.key);
        if let Some(asked) = self.owed.remove(&job.key) {
            assert!(job.since >= asked, "{} would be answered with old news", job.key);
        }
        let fresh = self.running.values().filter(|started| **started + 10 * SECOND > self.now).count();
        assert!(fresh <= 3, "too many at once");
        for lane in 0..3 {
            assert!(self.running.keys().filter(|key| *key % 3 == lane).count() <= 2, "too many in a lane");
        }
        self.trace.push((job.key, self.now));
        true
    }

    /// Lets time pass; until the moment that `wake` names nothing may become ready.
    fn pass(&mut self, queue: &mut Queue<u8>, by: Duration) {
        let until = self.now + by;
        if queue.clone().pop(self.now).is_none() {
            let wake = queue.wake(self.now).unwrap_or(Moment::MAX);
            let before = until.min(wake.saturating_sub(Duration::from_nanos(1)));
            assert!(queue.clone().pop(before).is_none(), "ready before it said");
        }
        self.now = until;
    }

    /// Ends everything well until nothing is left.
    fn drain(&mut self, queue: &mut Queue<u8>) {
        for _ in 0..10_000 {
            while self.pop(queue) {}
            if let Some(key) = self.running.keys().next().copied() {
                self.running.remove(&key);
                queue.finish(&key, self.now, Verdict::Done);
            } else if let Some(wake) = queue.wake(self.now) {
                self.now = wake;
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_overfilled(acts in prop::collection::vec(act(), 0..200)) {
        let play = || {
            let (mut queue, mut model) = (queue(), Model { now: SECOND, ..Model::default() });
            acts.iter().for_each(|act| model.play(&mut queue, act.clone()));
            model.drain(&mut queue);
            assert!(model.owed.is_empty(), "never run: {:?}", model.owed);
            assert_eq!(queue.counts(), (0, 0));
            assert!(queue.lanes.is_empty() && queue.order.is_empty());
            model.trace
        };
        prop_assert_eq!(play(), play(), "the same seed and history give the same runs");
    }
}
