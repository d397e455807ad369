//! Which boot of the node guests were last started in order for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::records::{Ledger, written};
use crate::base::Fault;
use crate::store::keys;
use crate::store::records::Record;

/// What the store keeps of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// The version of the record's shape.
    v: u32,
    /// The kernel's number for it.
    boot: String,
    /// Fields of later versions.
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl Record for Boot {}

impl Ledger {
    /// The boot that was noted last.
    pub async fn boot(&self) -> Result<Option<String>, Fault> {
        // One that cannot be read was written by another version; then guests are started in order once more.
        let entry = self.store().get(&keys::meta("boot")).await?;
        Ok(entry.and_then(|entry| Boot::read(&entry).ok()).map(|found| found.boot))
    }

    /// Notes a boot, unless it is noted already.
    pub async fn note_boot(&self, boot: &str) -> Result<(), Fault> {
        if self.boot().await?.as_deref() != Some(boot) {
            let record = Boot { v: 1, boot: boot.to_owned(), extra: Map::new() };
            self.store().put(&keys::meta("boot"), written(&record)?).await?;
        }
        Ok(())
    }
}
