//! The order in which guests start and stop, as their manifests' `startup` says.
//!
//! Guests with lower numbers start earlier and stop later; those without a number start last and stop first; those with the
//! same number go together. A turn orders steps and is no dependency: when an earlier guest fails, the later ones go on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::live::LiveState;
use super::model::{Action, Moves, Readiness, Step, Turn};
use crate::base::Seconds;
use crate::kinds::{Catalog, KindName, Options};

/// Gives each guest that starts or stops its turn, when at least one of those that do the same has a number.
pub fn assign(steps: &mut [Step], catalog: &Catalog, live: &LiveState, options: Options) {
    for moves in [Moves::Start, Moves::Stop] {
        let mut turns = Vec::new();
        for (at, step) in steps.iter().enumerate().filter(|(_, step)| self::moves(step, live, options) == Some(moves)) {
            let startup = catalog.get(&step.resource).map(|resource| resource.spec.to_value()["startup"].take());
            turns.push((at, turn(moves, &startup.unwrap_or_default())));
        }
        if turns.iter().any(|(_, turn)| turn.order.is_some()) {
            for (at, turn) in turns {
                steps[at].turn = Some(turn);
            }
        }
    }
}

fn turn(moves: Moves, startup: &Value) -> Turn {
    let delay = match moves {
        Moves::Start => "upDelay",
        Moves::Stop => "downDelay",
    };
    let order = startup["order"].as_u64().and_then(|order| u32::try_from(order).ok());
    let delay = startup[delay].as_str().and_then(|text| text.parse().ok()).unwrap_or(Seconds(0));
    Turn { moves, order, delay }
}

/// Whether a step starts or stops a guest.
pub fn moves(step: &Step, live: &LiveState, options: Options) -> Option<Moves> {
    let guest = matches!(step.resource.kind, KindName::VirtualMachine | KindName::Container);
    if !guest || matches!(step.readiness, Readiness::Blocked(_) | Readiness::Pending(_)) {
        return None;
    }
    match step.action {
        Action::Create => {
            let strategy = step.fields.iter().find(|field| field.path == "runStrategy")?.want.as_str()?;
            (!matches!(strategy, "Halted" | "Manual")).then_some(Moves::Start)
        }
        Action::Update => {
            let power = step.fields.iter().find(|f| f.path == "power" && f.disruption <= options.allow)?;
            Some(if power.want == "stopped" { Moves::Stop } else { Moves::Start })
        }
        Action::Delete => live.present(&step.resource)?.have().active.then_some(Moves::Stop),
    }
}

/// What stands between the guests of one turn and those of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The steps that come before it.
    pub before: Vec<usize>,
    /// The steps that come after it.
    pub behind: Vec<usize>,
    /// The gate that comes before it.
    pub previous: Option<usize>,
}

/// The gates between turns: as many as there are different numbers less one, and each step at two of them at most.
pub fn gates(steps: &[Step]) -> Vec<Gate> {
    let mut gates: Vec<Gate> = Vec::new();
    for moves in [Moves::Start, Moves::Stop] {
        let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            if let Some(turn) = step.turn.as_ref().filter(|turn| turn.moves == moves) {
                groups.entry(rank(turn)).or_default().push(at);
            }
        }
        let groups: Vec<Vec<usize>> = groups.into_values().collect();
        for (nth, pair) in groups.windows(2).enumerate() {
            let previous = if nth == 0 { None } else { gates.len().checked_sub(1) };
            gates.push(Gate { before: pair[0].clone(), behind: pair[1].clone(), previous });
        }
    }
    gates
}

fn rank(turn: &Turn) -> u64 {
    let order = turn.order.map_or(u64::MAX, u64::from);
    match turn.moves {
        Moves::Start => order,
        Moves::Stop => u64::MAX - order,
    }
}

impl Gate {
    /// How long to wait at the gate: the longest delay of the guests before it that were started or stopped.
    pub fn delay(&self, steps: &[Step], moved: impl Fn(usize) -> bool) -> Duration {
        let before = self.before.iter().filter(|at| moved(**at)).filter_map(|at| steps.get(*at)?.turn.as_ref());
        before.map(|turn| turn.delay.duration()).max().unwrap_or_default()
    }
}
