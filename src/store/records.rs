//! What the values are: JSON, one record type for each kind of key.
//!
//! Every record carries `v`, the version of its shape. A field that is added later does not change `v`: old readers keep fields
//! they do not know in `extra` and write them back. A change that old readers would misunderstand raises `v`, and they refuse
//! it ([`RecordError::Newer`]) rather than act on half of it.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Entry;

/// Why a value is not the record that its key promises.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It was written by a newer Reeve in a shape this one does not know.
    #[error("cannot read {key}: its record has version {found}, and this version of Reeve reads up to {supported}")]
    Newer {
        /// Where the record is.
        key: String,
        /// Its version.
        found: u32,
        /// The newest this Reeve knows.
        supported: u32,
    },
    /// It is not JSON of the right shape.
    #[error("cannot read {key}: its record is malformed")]
    Malformed {
        /// Where the record is.
        key: String,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
}

/// A record with a version.
pub trait Record: Serialize + DeserializeOwned {
    /// The version this Reeve writes, and the newest it reads.
    const VERSION: u32 = 1;

    /// Reads a record from an entry.
    fn read(entry: &Entry) -> Result<Self, RecordError> {
        let malformed = |source| RecordError::Malformed { key: entry.key.to_string(), source };
        let Versioned { v } = serde_json::from_slice(&entry.value).map_err(malformed)?;
        if v > Self::VERSION {
            return Err(RecordError::Newer { key: entry.key.to_string(), found: v, supported: Self::VERSION });
        }
        serde_json::from_slice(&entry.value).map_err(malformed)
    }

    /// The record as a value for the store.
    fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// What is read first, so that a newer record is told from a malformed one.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// The record version of this Reeve, for the `v` field.
fn current() -> u32 {
    1
}

/// An accepted manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// The version of the record's shape.
    pub v: u32,
    /// Tells this resource from every other that has had or will have its name.
    pub uid: Uuid,
    /// How often its spec has changed, from 1.
    pub generation: u64,
    /// The typed spec as JSON.
    pub spec: Value,
    /// The envelope's metadata: labels and whatever else stands there.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The file it came from, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When this generation was accepted.
    pub accepted_at: Timestamp,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ManifestRecord {
    /// A first generation with nothing optional.
    pub fn new(uid: Uuid, spec: Value, accepted_at: Timestamp) -> Self {
        let (metadata, extra) = (Map::new(), Map::new());
        Self { v: current(), uid, generation: 1, spec, metadata, source: None, accepted_at, extra }
    }
}

impl Record for ManifestRecord {}

/// The mark that a resource was deleted on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The version of the record's shape.
    pub v: u32,
    /// The resource that was deleted, and no other of its name.
    pub uid: Uuid,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// When the delete was asked for.
    pub deleted_at: Timestamp,
    /// Who or what asked, in words.
    pub reason: String,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Tombstone {
    /// The mark for one resource.
    pub fn new(uid: Uuid, kind: &str, name: &str, deleted_at: Timestamp, reason: &str) -> Self {
        let (kind, name, reason) = (kind.to_owned(), name.to_owned(), reason.to_owned());
        Self { v: current(), uid, kind, name, deleted_at, reason, extra: Map::new() }
    }
}

impl Record for Tombstone {}

/// Something that happened to a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// The version of the record's shape.
    pub v: u32,
    /// When.
    pub at: Timestamp,
    /// To what, as `kind/name`.
    pub resource: String,
    /// Who caused it: a user, or a part of Reeve.
    pub who: String,
    /// What happened, in words.
    pub what: String,
    /// Why, in words.
    pub why: String,
    /// The plan it belongs to, if it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl EventRecord {
    /// An event outside any plan.
    pub fn new(at: Timestamp, resource: &str, who: &str, what: &str, why: &str) -> Self {
        let (resource, who) = (resource.to_owned(), who.to_owned());
        let (what, why) = (what.to_owned(), why.to_owned());
        Self { v: current(), at, resource, who, what, why, plan_hash: None, extra: Map::new() }
    }
}

impl Record for EventRecord {}

/// How far an outside effect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is about to be done, or was, or half of it: nobody knows.
    Intent,
    /// It is done.
    Done,
}

/// One outside effect, written down before it is begun and after it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalRecord {
    /// The version of the record's shape.
    pub v: u32,
    /// The effect's own id.
    pub id: Uuid,
    /// What it is done to, as `kind/name`.
    pub resource: String,
    /// The resource's UID.
    pub uid: Uuid,
    /// The plan it belongs to.
    pub plan_hash: String,
    /// The name of the operation.
    pub op: String,
    /// What the operation needs to be finished or undone after a crash.
    pub detail: Value,
    /// How far it has come.
    pub phase: Phase,
    /// When the intent was written.
    pub started_at: Timestamp,
    /// Fields of later versions.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl JournalRecord {
    /// The intent to do one operation.
    pub fn intent(id: Uuid, on: (&str, Uuid), plan_hash: &str, op: (&str, Value), started_at: Timestamp) -> Self {
        let ((resource, uid), (op, detail)) = (on, op);
        let (resource, op, plan_hash) = (resource.to_owned(), op.to_owned(), plan_hash.to_owned());
        let (phase, extra) = (Phase::Intent, Map::new());
        Self { v: current(), id, resource, uid, plan_hash, op, detail, phase, started_at, extra }
    }
}

impl Record for JournalRecord {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(value: &Value) -> Entry {
        let value = value.to_string().into_bytes().into();
        Entry { key: "manifests/vm/a".into(), value, created: 1, modified: 1, version: 1 }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record = JournalRecord::intent(
            Uuid::from_u128(1),
            ("vm/a", Uuid::from_u128(2)),
            "abc",
            ("define", json!({"xml": "<domain/>"})),
            Timestamp::UNIX_EPOCH,
        );
        let entry = Entry { value: record.write().unwrap().into(), ..entry(&json!({})) };
        assert_eq!(JournalRecord::read(&entry).unwrap(), record);
    }

    #[test]
    fn a_field_of_a_later_version_is_kept() {
        let text = json!({"v": 1, "uid": Uuid::nil(), "generation": 3, "spec": {"a": 1},
            "accepted_at": "2026-01-01T00:00:00Z", "owner": "team-x"});
        let record = ManifestRecord::read(&entry(&text)).unwrap();
        assert_eq!(record.extra["owner"], "team-x");
        let again: Value = serde_json::from_slice(&record.write().unwrap()).unwrap();
        assert_eq!(again, text);
    }

    #[test]
    fn a_newer_record_is_refused_by_its_version() {
        let error = Tombstone::read(&entry(&json!({"v": 2, "what": "ever"}))).unwrap_err();
        let text = "cannot read manifests/vm/a: its record has version 2, and this version of Reeve reads up to 1";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn what_is_no_record_is_malformed() {
        for text in [json!({"v": 1}), json!({}), json!([]), json!({"v": "1"})] {
            let error = EventRecord::read(&entry(&text)).unwrap_err();
            assert!(matches!(error, RecordError::Malformed { .. }), "{text}: {error}");
        }
    }
}
