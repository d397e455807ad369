//! Makes the plan: for each wanted resource what would be done, why, and what it costs.
//!
//! Pure. Resources are compared independently and in parallel; then steps are put in the order of references, and
//! what needs a resource that cannot be had is blocked with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::diff::diff;
use super::live::{Accepted, Known, LiveState};
use super::model::{Action, Cause, FieldChange, Plan, Readiness, Step, Summary};
use super::overrides::{self, Override};
use super::turns;
use crate::base::{Disruption, Uid, for_each};
use crate::kinds::{Catalog, Live, Options, Ref, Resource, Scope};

/// What a plan is asked to reach.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    /// Every manifest in force.
    pub catalog: &'a Catalog,
    /// The resources to bring to their manifests, each after those it refers to.
    pub order: &'a [Ref],
    /// The resources to remove.
    pub remove: &'a [Ref],
    /// What is allowed.
    pub options: Options,
}

/// The plan that reaches `goal` from `live`.
pub fn make(goal: &Goal<'_>, live: &LiveState) -> Plan {
    let catalog = overrides::over(goal.catalog, &live.accepted);
    let goal = &Goal { catalog: &catalog, ..*goal };
    let lookup = |reference: &Ref| live.present(reference);
    let scope = Scope::with_live(goal.catalog, &lookup);
    let outcomes: Vec<Option<Outcome>> = for_each(goal.order, |reference| decide(reference, goal, live, &scope));
    let mut summary = Summary::default();
    let mut steps = Vec::new();
    for outcome in outcomes.into_iter().flatten() {
        match outcome {
            Outcome::Unchanged => summary.unchanged += 1,
            Outcome::Step(step) => steps.push(step),
        }
    }
    block_dependents(&mut steps, goal.catalog);
    for reference in goal.remove.iter().rev() {
        steps.extend(removal(reference, goal, live));
    }
    order(&mut steps, goal.catalog);
    turns::assign(&mut steps, goal.catalog, live, goal.options);
    count(&mut summary, &steps);
    let hash = hash(&goal.options, &steps);
    Plan { hash, summary, options: goal.options, steps }
}

enum Outcome {
    Unchanged,
    Step(Step),
}

/// What would be done to one resource; `None` when it belongs to another node.
fn decide(reference: &Ref, goal: &Goal<'_>, live: &LiveState, scope: &Scope<'_>) -> Option<Outcome> {
    let resource = goal.catalog.get(reference)?;
    let facts = live.accepted.get(reference);
    let accepted = facts.map(|a| a.uid);
    let known = live.get(reference);
    if let Known::Present(found) = known
        && let Some(uid) = resource.spec.as_wanted(resource.name(), found, &live.node)
        && accepted.is_none_or(|a| a == uid)
        && resource.spec.extra(found, scope).is_empty()
    {
        return Some(Outcome::Unchanged);
    }
    let want = resource.spec.want(resource.name(), scope);
    if !here(&want, live) {
        return None;
    }
    Some(match known {
        Known::Unknown(why) => Outcome::Step(blocked(reference, format!("its state is not known: {why}"))),
        Known::Absent => Outcome::Step(excused(creation(reference, &want, facts.is_some()), facts)),
        Known::Present(found) => match update(resource, &want, found, accepted, goal.options, scope) {
            Outcome::Step(step) => Outcome::Step(excused(step, facts)),
            unchanged => unchanged,
        },
    })
}

/// The step, saying which of its fields are overridden, until when, by whom and why.
fn excused(mut step: Step, facts: Option<&Accepted>) -> Step {
    let Some(overrides) = facts.map(|facts| &facts.overrides).filter(|all| !all.is_empty()) else { return step };
    let behind: BTreeMap<&String, &Override> =
        step.fields.iter().filter_map(|field| overrides::behind(overrides, &field.path)).collect();
    if behind.is_empty() {
        return step;
    }
    if step.action == Action::Update {
        let others = step.fields.iter().filter(|field| overrides::behind(overrides, &field.path).is_none());
        step.reason = reason(&others.cloned().collect::<Vec<_>>());
    }
    let words = behind.into_iter().map(|(field, one)| format!("{field} is overridden {}", one.words()));
    let parts = (!step.reason.is_empty()).then_some(step.reason).into_iter().chain(words);
    step.reason = parts.collect::<Vec<_>>().join("; ");
    step
}

/// Whether a resource belongs to the observed node.
pub fn belongs(resource: &Resource, scope: &Scope<'_>, live: &LiveState) -> bool {
    here(&resource.spec.want(resource.name(), scope), live)
}

fn here(want: &Value, live: &LiveState) -> bool {
    let node = live.node.as_str();
    let pinned = want.get("node").and_then(Value::as_str).is_none_or(|n| n == node);
    let listed = match want.get("nodes").and_then(Value::as_array) {
        Some(nodes) if !nodes.is_empty() => nodes.iter().any(|n| n.as_str() == Some(node)),
        _ => true,
    };
    pinned && listed
}

/// Making what is not there; what was accepted before may have been made, and removed by somebody else.
fn creation(reference: &Ref, want: &Value, known: bool) -> Step {
    let mut fields = Vec::new();
    leaves(want, &mut String::new(), &mut fields);
    Step {
        resource: reference.clone(),
        action: Action::Create,
        disruption: Disruption::None,
        reason: if known { "it does not exist, though it was accepted before" } else { "it does not exist" }.into(),
        readiness: held_by_policy(want).map_or(Readiness::Ready, Readiness::Pending),
        fields,
        after: Vec::new(),
        turn: None,
    }
}

/// Every scalar of a new resource, as a change from nothing.
fn leaves(want: &Value, path: &mut String, fields: &mut Vec<FieldChange>) {
    if let Value::Object(entries) = want {
        let length = path.len();
        for (key, value) in entries {
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            leaves(value, path, fields);
            path.truncate(length);
        }
    } else if !want.is_null() {
        fields.push(FieldChange {
            path: path.clone(),
            have: Value::Null,
            want: want.clone(),
            disruption: Disruption::None,
            cause: Cause::Change,
            pending: false,
        });
    }
}

fn update(
    resource: &Resource,
    want: &Value,
    found: &Live,
    accepted: Option<Uid>,
    options: Options,
    scope: &Scope<'_>,
) -> Outcome {
    let reference = resource.reference();
    let have = found.have();
    if let Some(why) = not_ours(&reference, have.mark.as_ref().map(|m| m.uid), have.must_be_marked, accepted) {
        return Outcome::Step(blocked(&reference, why));
    }
    let applied = have.mark.as_ref().and_then(|m| m.applied.as_ref());
    let shape = resource.kind().shape();
    let mut changes = diff(want, &have.configured, applied, shape);
    changes.extend(resource.spec.extra(found, scope));
    if let Some(running) = &have.running {
        let staged: BTreeSet<String> = changes.iter().map(|c| c.path.clone()).collect();
        let waiting = diff(want, running, applied, shape).into_iter().filter(|c| !covered(&staged, &c.path));
        changes.extend(waiting.map(|c| FieldChange {
            pending: true,
            disruption: c.disruption.max(Disruption::Restart),
            ..c
        }));
    }
    if changes.is_empty() {
        return Outcome::Unchanged;
    }
    for change in &mut changes {
        change.disruption = found.cost(change);
    }
    let disruption = changes.iter().map(|c| c.disruption).max().unwrap_or_default();
    let readiness = match found.refuse(&changes) {
        Some(fault) => Readiness::Blocked(match fault.help {
            Some(help) => format!("{}; {help}", fault.message),
            None => fault.message,
        }),
        None => held_by_policy(want).map_or_else(|| readiness(&changes, options), Readiness::Pending),
    };
    Outcome::Step(Step {
        resource: reference,
        action: Action::Update,
        disruption,
        reason: reason(&changes),
        readiness,
        fields: changes,
        after: Vec::new(),
        turn: None,
    })
}

/// Whether `path` or something around it is in `staged`.
fn covered(staged: &BTreeSet<String>, path: &str) -> bool {
    let around = path.match_indices('.').any(|(i, _)| staged.contains(&path[..i]));
    around
        || staged.contains(path)
        || staged.iter().any(|s| s.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

fn not_ours(reference: &Ref, mark: Option<Uid>, must: bool, accepted: Option<Uid>) -> Option<String> {
    match (mark, accepted) {
        (None, _) if must => Some(format!(
            "something of that name exists and does not carry our mark; `reeve adopt {reference}` takes it over unchanged"
        )),
        (Some(mark), Some(accepted)) if mark != accepted => Some(format!(
            "what exists carries the UID {mark}, but {reference} was accepted with the UID {accepted}: it is another one; remove or rename one of them"
        )),
        _ => None,
    }
}

fn held_by_policy(want: &Value) -> Option<String> {
    match want.get("reconcile").and_then(Value::as_str) {
        Some(word @ ("Warn" | "Suspend")) => Some(format!("its manifest says `reconcile: {word}`")),
        _ => None,
    }
}

fn readiness(changes: &[FieldChange], options: Options) -> Readiness {
    let held: Vec<&FieldChange> = changes.iter().filter(|c| c.disruption > options.allow).collect();
    let Some(most) = held.iter().map(|c| c.disruption).max() else { return Readiness::Ready };
    let names: Vec<&str> = held.iter().take(4).map(|c| c.path.as_str()).collect();
    let more = if held.len() > names.len() { format!(" and {} more", held.len() - names.len()) } else { String::new() };
    let verb = if held.len() == 1 { "needs" } else { "need" };
    let why = format!("{}{more} {verb} `--allow {most}`, or the guest's next start", names.join(", "));
    let nothing_to_do = held.len() == changes.len() && held.iter().all(|c| c.pending || c.path == "power");
    if nothing_to_do { Readiness::Pending(why) } else { Readiness::Partly(why) }
}

fn reason(changes: &[FieldChange]) -> String {
    let waiting = changes.iter().filter(|c| c.pending).count();
    let drift = changes.iter().filter(|c| !c.pending && c.cause == Cause::Drift).count();
    let change = changes.len() - waiting - drift;
    let mut parts = Vec::new();
    for (count, one, many) in [
        (change, "field changed in the manifest", "fields changed in the manifest"),
        (drift, "field drifted from what was applied", "fields drifted from what was applied"),
        (waiting, "field waits for a restart", "fields wait for a restart"),
    ] {
        match count {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            n => parts.push(format!("{n} {many}")),
        }
    }
    parts.join(", ")
}

fn blocked(reference: &Ref, why: String) -> Step {
    Step {
        resource: reference.clone(),
        action: Action::Update,
        disruption: Disruption::None,
        reason: "it cannot be compared".into(),
        readiness: Readiness::Blocked(why),
        fields: Vec::new(),
        after: Vec::new(),
        turn: None,
    }
}

/// What would be created on something blocked is blocked too; what exists already is not disturbed.
fn block_dependents(steps: &mut [Step], catalog: &Catalog) {
    let mut stuck: BTreeMap<Ref, ()> = BTreeMap::new();
    for step in steps {
        if step.action == Action::Create
            && matches!(step.readiness, Readiness::Ready)
            && let Some(resource) = catalog.get(&step.resource)
            && let Some(need) = resource.spec.references().into_iter().find(|r| r.required && stuck.contains_key(&r.to))
        {
            step.readiness = Readiness::Blocked(format!("it needs {}, which is blocked", need.to));
        }
        let creates = step.action == Action::Create;
        match &step.readiness {
            Readiness::Blocked(_) => drop(stuck.insert(step.resource.clone(), ())),
            Readiness::Pending(_) if creates => drop(stuck.insert(step.resource.clone(), ())),
            _ => {}
        }
    }
}

fn removal(reference: &Ref, goal: &Goal<'_>, live: &LiveState) -> Option<Step> {
    let mut step = Step {
        resource: reference.clone(),
        action: Action::Delete,
        disruption: if goal.options.destroy_data { Disruption::Destroy } else { Disruption::Restart },
        reason: "it is to be deleted".into(),
        readiness: Readiness::Ready,
        fields: Vec::new(),
        after: Vec::new(),
        turn: None,
    };
    let accepted = live.accepted.get(reference);
    let users = users(reference, goal);
    let block = |why: String| Readiness::Blocked(why);
    match live.get(reference) {
        Known::Unknown(why) => step.readiness = block(format!("its state is not known: {why}")),
        Known::Absent if accepted.is_none() => return None,
        Known::Absent => {
            step.disruption = Disruption::None;
            step.reason = "it is to be forgotten; it does not exist".into();
        }
        Known::Present(found) => {
            let have = found.have();
            if !have.active && !goal.options.destroy_data {
                step.disruption = Disruption::None;
            }
            let uid = have.mark.as_ref().map(|m| m.uid);
            if let Some(why) = not_ours(reference, uid, have.must_be_marked, accepted.map(|a| a.uid)) {
                step.readiness = block(why);
            }
        }
    }
    if accepted.is_some_and(|a| a.protection) || goal.catalog.get(reference).is_some_and(|r| r.meta.protection) {
        step.readiness = block("its manifest says `protection: true`; apply it with `protection: false` first".into());
    } else if !users.is_empty() {
        step.readiness = block(format!("it is used by {}", users.join(", ")));
    }
    Some(step)
}

/// Who refers to `reference` and is not removed as well.
fn users(reference: &Ref, goal: &Goal<'_>) -> Vec<String> {
    let removed: BTreeSet<&Ref> = goal.remove.iter().collect();
    let uses = |r: &&std::sync::Arc<Resource>| {
        !removed.contains(&r.reference()) && r.spec.references().iter().any(|n| n.required && n.to == *reference)
    };
    goal.catalog.iter().filter(uses).map(|r| r.reference().to_string()).collect()
}

/// Notes for each step which other steps come first: what it refers to when made, what refers to it when removed.
fn order(steps: &mut [Step], catalog: &Catalog) {
    let acting: BTreeMap<Ref, Action> = steps.iter().map(|s| (s.resource.clone(), s.action)).collect();
    let mut after: BTreeMap<Ref, BTreeSet<Ref>> = BTreeMap::new();
    for step in steps.iter() {
        let Some(resource) = catalog.get(&step.resource) else { continue };
        for needed in resource.spec.references() {
            match (step.action, acting.get(&needed.to)) {
                (Action::Delete, Some(Action::Delete)) => {
                    after.entry(needed.to).or_default().insert(step.resource.clone());
                }
                (Action::Create | Action::Update, Some(Action::Create | Action::Update)) => {
                    after.entry(step.resource.clone()).or_default().insert(needed.to);
                }
                _ => {}
            }
        }
    }
    for step in steps {
        step.after = after.remove(&step.resource).into_iter().flatten().collect();
    }
}

fn count(summary: &mut Summary, steps: &[Step]) {
    for step in steps {
        match (&step.readiness, step.action) {
            (Readiness::Blocked(_), _) => summary.blocked += 1,
            (Readiness::Pending(_), _) => summary.pending += 1,
            (_, Action::Create) => summary.create += 1,
            (_, Action::Update) => summary.update += 1,
            (_, Action::Delete) => summary.delete += 1,
        }
    }
}

fn hash(options: &Options, steps: &[Step]) -> String {
    // Serialising plain data into memory cannot fail; an empty text would only make the hash differ.
    let bytes = serde_json::to_vec(&(options, steps)).unwrap_or_default();
    Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Plan {
    /// The plan that does one step of this one, for who works on one resource at a time.
    pub fn only(&self, reference: &Ref) -> Self {
        let steps: Vec<Step> = self.steps.iter().filter(|s| s.resource == *reference).cloned().collect();
        let mut summary = Summary::default();
        count(&mut summary, &steps);
        Self { hash: hash(&self.options, &steps), summary, options: self.options, steps }
    }

    /// Whether there is nothing to do and nothing waits.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
