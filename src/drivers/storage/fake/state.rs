//! What a fake storage keeps, in memory and in a file where it is asked to.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Attempt as _, Fault, FaultKind, Mark, Size};
use crate::drivers::storage::VolumeInfo;

/// Everything a fake storage knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Whether it was activated.
    pub active: bool,
    /// The mark on the storage itself.
    pub mark: Option<Mark>,
    /// The volumes by name.
    pub volumes: BTreeMap<String, Kept>,
    /// Names of which a broken-off call left something.
    pub leftovers: Vec<String>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What is told of it.
    pub info: VolumeInfo,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<String>,
    /// Whether a guest has it open.
    #[serde(default)]
    pub in_use: bool,
}

impl State {
    /// Reads the state that an earlier process left.
    pub fn load(file: &Path) -> Result<Self, Fault> {
        match std::fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Fault::other(format!("cannot understand {}: {e}", file.display()))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Fault::from(e).context(format!("cannot read {}", file.display()))),
        }
    }

    /// Leaves the state for a later process: whole or not at all.
    pub fn save(&self, file: &Path) -> Result<(), Fault> {
        let doing = || format!("cannot write {}", file.display());
        let text = serde_json::to_vec(self).map_err(|e| Fault::other(format!("{}: {e}", doing())))?;
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, text).attempt(doing)?;
        std::fs::rename(&fresh, file).attempt(doing)
    }

    /// The bytes that all volumes have together.
    pub fn used(&self) -> Size {
        Size(self.volumes.values().map(|v| v.info.size.bytes()).sum())
    }

    /// The volume of that name, when it carries the mark.
    pub fn ours(&mut self, name: &str, mark: Option<&Mark>) -> Result<&mut Kept, Fault> {
        let missing = || Fault::new(FaultKind::NotFound, format!("there is no volume {name:?}"));
        let kept = self.volumes.get_mut(name).ok_or_else(missing)?;
        if kept.info.mark.as_ref().map(|m| m.uid) == mark.map(|m| m.uid) {
            return Ok(kept);
        }
        let whose = kept.info.mark.as_ref().map_or("nobody".to_owned(), |m| m.resource.clone());
        Err(Fault::new(FaultKind::Identity, format!("the volume {name:?} belongs to {whose}")))
    }
}
