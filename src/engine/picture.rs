//! A node at one moment, for whoever shows it: what was accepted, what is there, what would be done, what was told.
//!
//! The command line and the API give the same answers because both read them off this.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::publish::StatusRecord;
use super::records::AcceptedSet;
use crate::kinds::{API_VERSION, Options, Ref};
use crate::plan::live::{Known, LiveState};
use crate::plan::make::{Goal, make};
use crate::plan::model::{Plan, Readiness, Step};

/// The node.
pub struct Picture {
    /// What was accepted.
    pub accepted: AcceptedSet,
    /// What is there.
    pub live: LiveState,
    /// What would be done.
    pub plan: Plan,
    /// What the agent told of each resource.
    pub told: BTreeMap<Ref, StatusRecord>,
    /// Where each resource's step is in the plan.
    steps: BTreeMap<Ref, usize>,
}

impl Picture {
    /// Plans for everything that was accepted.
    pub fn new(accepted: AcceptedSet, live: LiveState, told: Vec<(Ref, StatusRecord)>, options: Options) -> Self {
        let live = live.knowing(&accepted.facts);
        let order = crate::plan::desired::order(&accepted.catalog);
        let plan = make(&Goal { catalog: &accepted.catalog, order: &order, remove: &[], options }, &live);
        let steps = plan.steps.iter().enumerate().map(|(place, step)| (step.resource.clone(), place)).collect();
        Self { accepted, live, plan, told: told.into_iter().collect(), steps }
    }

    /// Everything declared, and everything that is there.
    pub fn all(&self) -> BTreeSet<Ref> {
        let declared = self.accepted.catalog.iter().map(|r| r.reference());
        declared.chain(self.live.resources.keys().cloned()).collect()
    }

    /// Whether a resource is declared or there.
    pub fn has(&self, reference: &Ref) -> bool {
        self.accepted.catalog.get(reference).is_some() || !matches!(self.live.get(reference), Known::Absent)
    }

    /// What would be done to a resource.
    pub fn step(&self, reference: &Ref) -> Option<&Step> {
        self.steps.get(reference).and_then(|place| self.plan.steps.get(*place))
    }

    /// One word on how a resource stands.
    pub fn state(&self, reference: &Ref) -> &'static str {
        let known = self.live.get(reference);
        if let Known::Unknown(_) = known {
            return "Unknown";
        }
        if self.accepted.catalog.get(reference).is_none() {
            let ours = self.live.present(reference).is_some_and(|l| l.have().mark.is_some());
            return if ours { "Undeclared" } else { "Unmanaged" };
        }
        match self.step(reference).map(|s| &s.readiness) {
            None => "Ready",
            Some(Readiness::Blocked(_)) => "Blocked",
            Some(Readiness::Pending(_)) => "Pending",
            Some(_) if matches!(known, Known::Absent) => "Absent",
            Some(_) => "Drifted",
        }
    }

    /// A resource as a document: its manifest, and its status.
    pub fn item(&self, reference: &Ref) -> Value {
        let mut document = match self.accepted.catalog.get(reference) {
            Some(resource) => resource.document(),
            None => {
                json!({"apiVersion": API_VERSION, "kind": reference.kind.as_str(), "metadata": {"name": reference.name}})
            }
        };
        let mut status = json!({"state": self.state(reference)});
        if let Some(facts) = self.live.accepted.get(reference) {
            status["uid"] = json!(facts.uid);
            if !facts.overrides.is_empty() {
                status["overrides"] = json!(facts.overrides);
            }
        }
        if let Some(suspension) = self.accepted.suspended(reference) {
            status["source"] = json!(format!("{} is {}", suspension.source, suspension.words()));
        }
        match self.live.get(reference) {
            Known::Present(found) => status["live"] = json!(found),
            Known::Unknown(why) => status["unknown"] = json!(why),
            Known::Absent => {}
        }
        if let Some(told) = self.told.get(reference) {
            status["conditions"] = json!(told.conditions);
        }
        if let Some(step) = self.step(reference) {
            status["pending"] = json!(step);
        }
        document["status"] = status;
        document
    }
}

/// Labels that a resource must carry: `key=value`, or `key` with any value.
#[derive(Debug, Clone, Default)]
pub struct Labels(Vec<(String, Option<String>)>);

impl Labels {
    /// Reads selectors, several in one text parted by commas.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let words = texts.into_iter().flat_map(|text| text.split(',')).filter(|word| !word.is_empty());
        let pair = |word: &str| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        };
        Self(words.map(pair).collect())
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a resource carries them all, as its manifest says.
    pub fn fit(&self, reference: &Ref, accepted: &AcceptedSet) -> bool {
        let labels = accepted.catalog.get(reference).map(|r| &r.meta.labels);
        self.0.iter().all(|(key, value)| {
            let has = labels.and_then(|labels| labels.get(key));
            has.is_some_and(|has| value.as_ref().is_none_or(|v| v == has))
        })
    }
}
