//! The node as it is now: what was accepted, what is there, and what would be done, looked at once for all who ask at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::node::Node;
use crate::base::Fault;
use crate::engine::observe::observe;
use crate::engine::records::AcceptedSet;
use crate::kinds::{API_VERSION, Options, Ref};
use crate::plan::live::{Known, LiveState};
use crate::plan::make::{Goal, make};
use crate::plan::model::{Plan, Readiness, Step};
use crate::store::keys;

/// One look.
pub struct View {
    /// What was accepted.
    pub accepted: AcceptedSet,
    /// What is there.
    pub live: LiveState,
    /// What would be done.
    pub plan: Plan,
    /// The conditions that were written down.
    told: BTreeMap<Ref, Value>,
}

/// The newest look; who asks while one is made shares the next.
#[derive(Default)]
pub struct Views(Mutex<Option<(Instant, Arc<View>)>>);

impl Views {
    /// A look that began after this was asked for.
    pub async fn look(&self, node: &dyn Node) -> Result<Arc<View>, Fault> {
        let asked = Instant::now();
        let mut newest = self.0.lock().await;
        if let Some((began, view)) = &*newest
            && *began >= asked
        {
            return Ok(Arc::clone(view));
        }
        let began = Instant::now();
        let view = Arc::new(View::of(node).await?);
        *newest = Some((began, Arc::clone(&view)));
        Ok(view)
    }
}

impl View {
    async fn of(node: &dyn Node) -> Result<Self, Fault> {
        let accepted = node.ledger().accepted().await?;
        let mut live = observe(node.world(), &accepted.catalog).await;
        live.accepted = accepted.facts.clone();
        let order = crate::plan::desired::order(&accepted.catalog);
        let options = Options { allow: node.allow(), destroy_data: false };
        let plan = make(&Goal { catalog: &accepted.catalog, order: &order, remove: &[], options }, &live);
        let mut told = BTreeMap::new();
        for entry in node.ledger().store().list(&keys::statuses()).await?.entries {
            let Some((kind, name)) = keys::resource_of(&entry.key) else { continue };
            let (Ok(reference), Ok(record)) =
                (format!("{kind}/{name}").parse(), serde_json::from_slice::<Value>(&entry.value))
            else {
                continue;
            };
            told.extend(record.get("conditions").cloned().map(|conditions| (reference, conditions)));
        }
        Ok(Self { accepted, live, plan, told })
    }

    /// Everything declared, and everything that is there.
    pub fn all(&self) -> impl Iterator<Item = Ref> {
        let declared = self.accepted.catalog.iter().map(|r| r.reference());
        let all: std::collections::BTreeSet<Ref> = declared.chain(self.live.resources.keys().cloned()).collect();
        all.into_iter()
    }

    /// Whether a resource is declared or there.
    pub fn has(&self, reference: &Ref) -> bool {
        self.accepted.catalog.get(reference).is_some() || !matches!(self.live.get(reference), Known::Absent)
    }

    /// A resource as a document: its manifest, and its status.
    pub fn item(&self, reference: &Ref) -> Value {
        let mut document = match self.accepted.catalog.get(reference) {
            Some(resource) => resource.document(),
            None => {
                json!({"apiVersion": API_VERSION, "kind": reference.kind.as_str(), "metadata": {"name": reference.name}})
            }
        };
        let step = self.plan.steps.iter().find(|s| s.resource == *reference);
        let mut status = json!({"state": self.state(reference, step)});
        if let Some(facts) = self.live.accepted.get(reference) {
            status["uid"] = json!(facts.uid);
        }
        match self.live.get(reference) {
            Known::Present(found) => status["live"] = json!(found),
            Known::Unknown(why) => status["unknown"] = json!(why),
            Known::Absent => {}
        }
        if let Some(conditions) = self.told.get(reference) {
            status["conditions"] = conditions.clone();
        }
        if let Some(step) = step {
            status["pending"] = json!(step);
        }
        document["status"] = status;
        document
    }

    fn state(&self, reference: &Ref, step: Option<&Step>) -> &'static str {
        let known = self.live.get(reference);
        if let Known::Unknown(_) = known {
            return "Unknown";
        }
        if self.accepted.catalog.get(reference).is_none() {
            let ours = self.live.present(reference).is_some_and(|l| l.have().mark.is_some());
            return if ours { "Undeclared" } else { "Unmanaged" };
        }
        match step.map(|s| &s.readiness) {
            None => "Ready",
            Some(Readiness::Blocked(_)) => "Blocked",
            Some(Readiness::Pending(_)) => "Pending",
            Some(_) if matches!(known, Known::Absent) => "Absent",
            Some(_) => "Drifted",
        }
    }
}
