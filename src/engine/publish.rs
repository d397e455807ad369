//! What is told of a resource: its conditions, worked out from state, and kept in the store for whoever asks.
//!
//! [`conditions`] is pure: what is known, what is left to do and what is being done give five conditions, always the same
//! five. A record is written only when one of them changed, so that an idle node writes nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::records::Ledger;
use crate::base::{Disruption, Fault};
use crate::kinds::Ref;
use crate::plan::live::Known;
use crate::plan::model::{Action, Cause, Readiness, Step};
use crate::store::keys;
use crate::store::records::Record;

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Aspect {
    /// It is as its manifest says.
    Ready,
    /// It is being worked on, or will be tried again.
    Progressing,
    /// It is no longer what was last applied.
    Drifted,
    /// Something keeps it from being brought to its manifest, and a person may have to act.
    Blocked,
    /// Changes wait for the guest to be stopped and started.
    PendingRestart,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One condition of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub aspect: Aspect,
    /// Whether it holds.
    pub status: Truth,
    /// Why, as one word for programs.
    pub reason: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When `status` last changed.
    pub last_transition: Timestamp,
}

/// What the store keeps of a resource's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// The version of the record's shape.
    pub v: u32,
    /// The conditions, in the order of [`Aspect`].
    pub conditions: Vec<Condition>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Record for StatusRecord {}

impl StatusRecord {
    /// The condition about `aspect`.
    pub fn get(&self, aspect: Aspect) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.aspect == aspect)
    }

    /// Whether a condition holds.
    pub fn holds(&self, aspect: Aspect) -> bool {
        self.get(aspect).is_some_and(|c| c.status == Truth::True)
    }
}

/// How far the work on a resource is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is going on.
    Settled,
    /// It is being worked on.
    Working,
    /// It waits for another resource.
    Waits(Ref),
    /// Its turn to start is still to come.
    WaitsForTurn,
    /// It failed, and will be tried again.
    Failed(String),
}

/// All that the conditions of one resource follow from.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// What is known of it.
    pub known: Known<'a>,
    /// What is left to do.
    pub step: Option<&'a Step>,
    /// How far the work is.
    pub stage: Stage,
    /// What is wrong with the manifest that a source now has; the one accepted before stays in force.
    pub invalid: Option<&'a str>,
    /// When what waits may be done, in words.
    pub window: Option<&'a str>,
}

/// A condition without its time.
pub type Said = (Aspect, Truth, &'static str, String);

/// The five conditions.
pub fn conditions(view: &View<'_>) -> Vec<Said> {
    vec![ready(view), progressing(view), drifted(view), blocked(view), pending(view)]
}

fn ready(view: &View<'_>) -> Said {
    let no = |reason, message| (Aspect::Ready, Truth::False, reason, message);
    if let Known::Unknown(why) = view.known {
        return (Aspect::Ready, Truth::Unknown, "NotReadable", why.to_owned());
    }
    if let Stage::Failed(why) = &view.stage {
        return no("Failed", why.clone());
    }
    let Some(step) = view.step else { return (Aspect::Ready, Truth::True, "AsDeclared", String::new()) };
    match (&step.readiness, step.action) {
        (Readiness::Blocked(why), _) => no("Blocked", why.clone()),
        (Readiness::Pending(why), _) => no("Pending", why.clone()),
        (_, Action::Create) => no("Absent", step.reason.clone()),
        (_, Action::Update) => no("Differs", step.reason.clone()),
        (_, Action::Delete) => no("Deleting", step.reason.clone()),
    }
}

fn progressing(view: &View<'_>) -> Said {
    let yes = |reason, message| (Aspect::Progressing, Truth::True, reason, message);
    match &view.stage {
        Stage::Settled => (Aspect::Progressing, Truth::False, "Settled", String::new()),
        Stage::Working => yes("Working", view.step.map(|s| s.reason.clone()).unwrap_or_default()),
        Stage::Waits(other) => yes("WaitsForReference", format!("{other} comes first")),
        Stage::WaitsForTurn => {
            yes("WaitsForTurn", "the node has booted, and guests with a lower startup.order start first".into())
        }
        Stage::Failed(_) => yes("Retrying", "it is tried again, after a longer time at each failure".into()),
    }
}

fn drifted(view: &View<'_>) -> Said {
    let fields = view.step.map(|s| s.fields.as_slice()).unwrap_or_default();
    let drift: Vec<&str> =
        fields.iter().filter(|f| f.cause == Cause::Drift && !f.pending).map(|f| f.path.as_str()).collect();
    if drift.is_empty() {
        return (Aspect::Drifted, Truth::False, "AsApplied", String::new());
    }
    let more = if drift.len() > 5 { format!(" and {} more", drift.len() - 5) } else { String::new() };
    let names = drift.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    (Aspect::Drifted, Truth::True, "FieldsDiffer", format!("{names}{more}"))
}

fn blocked(view: &View<'_>) -> Said {
    let yes = |reason, message| (Aspect::Blocked, Truth::True, reason, message);
    if let Some(why) = view.invalid {
        return yes("ManifestInvalid", why.to_owned());
    }
    match (view.known, view.step.map(|s| &s.readiness)) {
        (Known::Unknown(why), _) => yes("NotReadable", why.to_owned()),
        (_, Some(Readiness::Blocked(why))) => yes("Refused", why.clone()),
        _ => (Aspect::Blocked, Truth::False, "Free", String::new()),
    }
}

fn pending(view: &View<'_>) -> Said {
    let no = (Aspect::PendingRestart, Truth::False, "NothingWaits", String::new());
    let Some(step) = view.step else { return no };
    let waits: Vec<&str> = step
        .fields
        .iter()
        .filter(|f| f.pending || f.disruption >= Disruption::Restart)
        .map(|f| f.path.as_str())
        .collect();
    match &step.readiness {
        Readiness::Partly(why) | Readiness::Pending(why) if !waits.is_empty() && step.action == Action::Update => {
            let window = view.window.map(|w| format!("; {w}")).unwrap_or_default();
            (Aspect::PendingRestart, Truth::True, "NeedsRestart", format!("{why}{window}"))
        }
        _ => no,
    }
}

impl Ledger {
    /// What was last told of a resource.
    pub async fn status(&self, reference: &Ref) -> Result<Option<StatusRecord>, Fault> {
        let key = keys::status(reference.kind.short(), reference.name.as_str());
        // One that cannot be read was written by another version; it is told anew.
        Ok(self.store().get(&key).await?.and_then(|entry| StatusRecord::read(&entry).ok()))
    }

    /// What was last told of every resource.
    pub async fn statuses(&self) -> Result<Vec<(Ref, StatusRecord)>, Fault> {
        let entries = self.store().list(&keys::statuses()).await?.entries;
        let read = |entry: &crate::store::Entry| {
            let (kind, name) = keys::resource_of(&entry.key)?;
            Some((format!("{kind}/{name}").parse().ok()?, StatusRecord::read(entry).ok()?))
        };
        Ok(entries.iter().filter_map(read).collect())
    }

    /// Tells the conditions of a resource; gives the aspects that changed, none when nothing was written.
    pub async fn publish(&self, reference: &Ref, said: Vec<Said>) -> Result<Vec<Aspect>, Fault> {
        let old = self.status(reference).await?;
        let now = self.now();
        let mut changed = Vec::new();
        let conditions = said.into_iter().map(|(aspect, status, reason, message)| {
            let before = old.as_ref().and_then(|o| o.get(aspect));
            if before.is_none_or(|b| (b.status, b.reason.as_str(), &b.message) != (status, reason, &message)) {
                changed.push(aspect);
            }
            let last_transition = before.filter(|b| b.status == status).map_or(now, |b| b.last_transition);
            Condition { aspect, status, reason: reason.to_owned(), message, last_transition }
        });
        let record = StatusRecord { v: 1, conditions: conditions.collect(), extra: Map::new() };
        if !changed.is_empty() {
            let key = keys::status(reference.kind.short(), reference.name.as_str());
            let value = record.write().map_err(|e| Fault::other(format!("a status cannot be written: {e}")))?;
            self.store().put(&key, value).await?;
        }
        Ok(changed)
    }

    /// Tells nothing of a resource any more; gives whether there was something.
    pub async fn unpublish(&self, reference: &Ref) -> Result<bool, Fault> {
        if self.status(reference).await?.is_none() {
            return Ok(false);
        }
        self.store().delete(&keys::status(reference.kind.short(), reference.name.as_str())).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::base::clock::TestClock;
    use crate::plan::model::FieldChange;
    use crate::store::{HistoryLimits, Memory};

    fn step(readiness: Readiness, cause: Cause, pending: bool) -> Step {
        let field = FieldChange {
            path: "memory.size".into(),
            have: json!("1Gi"),
            want: json!("2Gi"),
            disruption: Disruption::Restart,
            cause,
            pending,
        };
        Step {
            resource: "vm/a".parse().unwrap(),
            action: Action::Update,
            disruption: Disruption::Restart,
            reason: "1 field".into(),
            readiness,
            fields: vec![field],
            after: Vec::new(),
            turn: None,
        }
    }

    fn told(view: &View<'_>) -> Vec<String> {
        let holds = |(aspect, truth, reason, _): &Said| {
            (*truth != Truth::False).then(|| format!("{aspect:?}={truth:?}:{reason}"))
        };
        conditions(view).iter().filter_map(holds).collect()
    }

    #[test]
    fn conditions_follow_from_state() {
        let settled = View { known: Known::Absent, step: None, stage: Stage::Settled, invalid: None, window: None };
        assert_eq!(told(&settled), ["Ready=True:AsDeclared"]);
        let unknown = View { known: Known::Unknown("no answer"), ..settled.clone() };
        assert_eq!(told(&unknown), ["Ready=Unknown:NotReadable", "Blocked=True:NotReadable"]);
        let waits = step(Readiness::Pending("a restart".into()), Cause::Change, true);
        assert_eq!(told(&View { step: Some(&waits), ..settled.clone() }), ["PendingRestart=True:NeedsRestart"]);
        let drift = step(Readiness::Ready, Cause::Drift, false);
        let working = View { step: Some(&drift), stage: Stage::Working, ..settled.clone() };
        assert_eq!(told(&working), ["Progressing=True:Working", "Drifted=True:FieldsDiffer"]);
        let refused = step(Readiness::Blocked("another's".into()), Cause::Change, false);
        assert_eq!(told(&View { step: Some(&refused), ..settled.clone() }), ["Blocked=True:Refused"]);
        let invalid = View { invalid: Some("a.yaml:1:1: no"), ..settled };
        assert_eq!(told(&invalid), ["Ready=True:AsDeclared", "Blocked=True:ManifestInvalid"]);
    }

    #[tokio::test]
    async fn a_record_is_written_only_when_something_changed() {
        let clock = Arc::new(TestClock::at("2026-11-22T00:00:00Z".parse().unwrap()));
        let ledger = Ledger::new(Arc::new(Memory::new(clock.clone(), HistoryLimits::default())), clock.clone());
        let vm: Ref = "vm/a".parse().unwrap();
        let view = View { known: Known::Absent, step: None, stage: Stage::Settled, invalid: None, window: None };
        assert_eq!(ledger.publish(&vm, conditions(&view)).await.unwrap().len(), 5);
        let first = ledger.now();
        clock.advance(Duration::from_secs(60));
        assert!(ledger.publish(&vm, conditions(&view)).await.unwrap().is_empty());
        let failed = View { stage: Stage::Failed("no space".into()), ..view };
        assert_eq!(ledger.publish(&vm, conditions(&failed)).await.unwrap(), [Aspect::Ready, Aspect::Progressing]);
        let record = ledger.status(&vm).await.unwrap().unwrap();
        assert_eq!(record.get(Aspect::Ready).unwrap().last_transition, ledger.now());
        assert_eq!(record.get(Aspect::Blocked).unwrap().last_transition, first);
        assert!(ledger.unpublish(&vm).await.unwrap());
        assert!(!ledger.unpublish(&vm).await.unwrap());
    }
}
