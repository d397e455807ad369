//! Which sources are suspended: nothing new is taken from them, and what was accepted stays in force.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::records::{AcceptedSet, Ledger, written};
use crate::base::Fault;
use crate::kinds::Ref;
use crate::plan::overrides::when;
use crate::store::keys;
use crate::store::records::Record;

/// What the store keeps of a source that is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// The version of the record's shape.
    pub v: u32,
    /// The source's name.
    pub source: String,
    /// Since when.
    pub since: Timestamp,
    /// Who asked for it.
    pub who: String,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Record for Suspension {}

impl Suspension {
    /// Since when and by whom, in words.
    pub fn words(&self) -> String {
        format!("suspended since {} by {}", when(self.since), self.who)
    }
}

impl Ledger {
    /// Every source that is suspended.
    pub async fn suspensions(&self) -> Result<BTreeMap<String, Suspension>, Fault> {
        let entries = self.store().list(&keys::sources()).await?.entries;
        let read = |entry| Suspension::read(entry).ok().map(|found| (found.source.clone(), found));
        Ok(entries.iter().filter_map(read).collect())
    }

    /// Whether a source is suspended.
    pub async fn suspension(&self, source: &str) -> Result<Option<Suspension>, Fault> {
        Ok(self.suspensions().await?.remove(source))
    }

    /// Suspends a source, or has it followed again, and notes it of the node; gives whether that changes anything.
    pub async fn suspend(&self, source: &str, suspended: bool, node: &Ref, who: &str) -> Result<bool, Fault> {
        if self.suspension(source).await?.is_some() == suspended {
            return Ok(false);
        }
        let key = keys::source(source);
        let what = if suspended {
            let (source, who) = (source.to_owned(), who.to_owned());
            let record = Suspension { v: 1, source, since: self.now(), who, extra: Map::new() };
            self.store().put(&key, written(&record)?).await?;
            format!("suspended the source {}", record.source)
        } else {
            self.store().delete(&key).await?;
            format!("resumed the source {source}")
        };
        self.event(node, who, &what, "a person asked for it", None).await?;
        Ok(true)
    }
}

impl AcceptedSet {
    /// The suspension of the source that a resource came from.
    pub fn suspended(&self, reference: &Ref) -> Option<&Suspension> {
        self.suspensions.get(self.facts.get(reference)?.source.as_ref()?)
    }
}
