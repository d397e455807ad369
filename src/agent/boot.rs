//! Guests start in their turns when the node has booted, as within one `apply`.
//!
//! A boot is known by the kernel's number for it: when it is not the one that the store keeps, the node booted since guests
//! were last started in order. Then those with a lower `startup.order` are brought up first, and the next ones wait for
//! them and for the longest `upDelay` of those that were started. What runs already delays nobody. A guest that fails lets
//! the next ones go on, and so does one of which nothing was seen for [`LONGEST`]. When only the agent was started again,
//! nothing waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Agent;
use super::queue::Moment;
use crate::base::{Fault, Seconds};
use crate::kinds::vm::{RunStrategy, Startup};
use crate::kinds::{Ref, Spec};
use crate::plan::overrides::over;

/// The longest that one turn keeps the next from beginning, its delay not counted.
const LONGEST: Duration = Duration::from_secs(300);

/// The turns that are still to come.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// For each turn its guests that have not ended, with how long to wait after their start.
    left: VecDeque<BTreeMap<Ref, Duration>>,
    /// When the last turn began.
    began: Moment,
    /// When the last guest of the first turn ended.
    ended: Moment,
    /// How long to wait then.
    rest: Duration,
}

impl Turns {
    /// The turns of these guests; none when all would go together.
    pub fn new(guests: impl Iterator<Item = (Ref, Startup)>, now: Moment) -> Self {
        let mut turns: BTreeMap<u64, BTreeMap<Ref, Duration>> = BTreeMap::new();
        for (guest, startup) in guests {
            let rank = startup.order.map_or(u64::MAX, u64::from);
            turns.entry(rank).or_default().insert(guest, startup.up_delay.unwrap_or(Seconds(0)).duration());
        }
        let left = if turns.len() > 1 { turns.into_values().collect() } else { VecDeque::new() };
        Self { left, began: now, ended: now, rest: Duration::ZERO }
    }

    /// Whether a guest's turn is still to come.
    pub fn waits(&self, guest: &Ref) -> bool {
        self.left.iter().skip(1).any(|turn| turn.contains_key(guest))
    }

    /// What could be done for a guest was done; `started` when that started it. Gives whether that was waited for.
    pub fn ended(&mut self, guest: &Ref, started: bool, now: Moment) -> bool {
        let Some(at) = self.left.iter().position(|turn| turn.contains_key(guest)) else { return false };
        let delay = self.left[at].remove(guest).filter(|_| started && at == 0);
        if at == 0 {
            (self.ended, self.rest) = (now, self.rest.max(delay.unwrap_or_default()));
        }
        at == 0
    }

    /// Lets turns begin whose time has come: the guests that may start now, and when to ask again.
    pub fn advance(&mut self, now: Moment) -> (Vec<Ref>, Option<Moment>) {
        let mut free = Vec::new();
        while let Some(first) = self.left.front() {
            let late = self.began.saturating_add(LONGEST).saturating_add(self.rest);
            let at = if first.is_empty() { self.ended.saturating_add(self.rest).min(late) } else { late };
            if now < at {
                return (free, Some(at));
            }
            self.left.pop_front();
            (self.began, self.ended, self.rest) = (now, now, Duration::ZERO);
            free.extend(self.left.front().into_iter().flat_map(|turn| turn.keys().cloned()));
        }
        (free, None)
    }
}

impl Agent {
    /// Puts guests into turns when the node has booted.
    pub(super) async fn order_starts(&self) -> Result<(), Fault> {
        if let Some(boot) = &self.0.settings.boot
            && self.ledger().boot().await?.as_ref() != Some(boot)
        {
            let wanted = self.wanted();
            let catalog = over(&wanted.set.catalog, &wanted.set.facts);
            let guests = catalog.iter().filter_map(|resource| Some((resource.reference(), startup(&resource.spec)?)));
            *self.turns() = Turns::new(guests, self.world().clock.elapsed());
        }
        Ok(())
    }

    /// Lets the turns begin one after the other, and notes the boot when the last one has begun.
    pub(super) async fn follow_turns(&self) -> std::convert::Infallible {
        let clock = &self.world().clock;
        loop {
            let (free, again) = self.turns().advance(clock.elapsed());
            free.iter().for_each(|guest| self.hint(guest));
            let Some(at) = again else { break };
            tokio::select! {
                () = clock.sleep(at.saturating_sub(clock.elapsed())) => {}
                () = self.0.turned.notified() => {}
            }
        }
        if let Some(boot) = &self.0.settings.boot
            && let Err(fault) = self.ledger().note_boot(boot).await
        {
            tracing::warn!(%fault, "that guests were started in order cannot be noted");
        }
        std::future::pending().await
    }

    /// Whether a guest has to wait with its start.
    pub(super) fn waits_for_turn(&self, guest: &Ref) -> bool {
        self.turns().waits(guest)
    }

    /// Says that nothing more is to be waited for with a guest.
    pub(super) fn had_turn(&self, guest: &Ref, started: bool) {
        if self.turns().ended(guest, started, self.world().clock.elapsed()) {
            self.0.turned.notify_one();
        }
    }
}

/// When a guest that shall run starts among others.
fn startup(spec: &Spec) -> Option<Startup> {
    let (strategy, startup) = match spec {
        Spec::VirtualMachine(spec) => (spec.run_strategy, &spec.startup),
        Spec::Container(spec) => (spec.run_strategy, &spec.startup),
        _ => return None,
    };
    (!matches!(strategy, Some(RunStrategy::Halted | RunStrategy::Manual))).then(|| startup.clone().unwrap_or_default())
}

/// The kernel's number for this boot of the node.
pub fn this_boot() -> Option<String> {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(read.trim().to_owned()).filter(|boot| !boot.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn turns(guests: &[(&str, Option<u32>, u64)]) -> Turns {
        let guest = |(name, order, delay): &(&str, Option<u32>, u64)| {
            let (order, delay) = (*order, Some(Seconds(*delay)));
            (name.parse().unwrap(), Startup { order, up_delay: delay, ..Startup::default() })
        };
        Turns::new(guests.iter().map(guest), seconds(0))
    }

    #[test]
    fn without_numbers_nobody_waits() {
        let mut turns = turns(&[("vm/a", None, 9), ("ct/b", None, 0)]);
        assert!(!turns.waits(&"vm/a".parse().unwrap()) && !turns.waits(&"ct/b".parse().unwrap()));
        assert_eq!(turns.advance(seconds(0)), (Vec::new(), None));
    }

    #[test]
    fn a_turn_begins_after_the_longest_delay_of_those_that_were_started() {
        let mut turns = turns(&[("vm/a", Some(1), 5), ("ct/b", Some(1), 60), ("vm/c", Some(2), 0)]);
        let (a, b, c): (Ref, Ref, Ref) = ("vm/a".parse().unwrap(), "ct/b".parse().unwrap(), "vm/c".parse().unwrap());
        assert!(turns.waits(&c) && !turns.waits(&a));
        assert!(turns.ended(&a, true, seconds(2)) && turns.ended(&b, false, seconds(3)));
        assert!(!turns.ended(&a, true, seconds(4)), "it had its turn");
        assert_eq!(turns.advance(seconds(7)), (Vec::new(), Some(seconds(8))));
        assert_eq!(turns.advance(seconds(8)).0, std::slice::from_ref(&c));
        assert!(!turns.waits(&c));
    }

    #[test]
    fn a_guest_of_which_nothing_is_heard_is_not_waited_for_for_ever() {
        let mut turns = turns(&[("vm/a", Some(1), 0), ("vm/b", None, 0)]);
        let late = LONGEST - seconds(1);
        assert_eq!(turns.advance(late), (Vec::new(), Some(LONGEST)));
        assert_eq!(turns.advance(LONGEST).0, ["vm/b".parse().unwrap()]);
    }
}
