//! What is kept on this node's storages at one moment, and which of it is an orphan that may be destroyed.

use jiff::Timestamp;

use super::records::AcceptedSet;
use crate::base::{Fault, FaultKind, Name};
use crate::kinds::volume::{Ownership, Row, survey};
use crate::kinds::{KindName, Ref, Scope, World};
use crate::plan::live::{Known, LiveState};

/// Every volume on every storage.
pub struct Kept {
    /// The volumes.
    pub rows: Vec<Row>,
    /// The storages that could not be listed.
    pub failed: Vec<(Name, Fault)>,
    now: Timestamp,
}

impl Kept {
    /// Lists every storage.
    pub async fn read(world: &World, accepted: &AcceptedSet) -> Self {
        let (rows, failed) = survey(world, &Scope::of(&accepted.catalog)).await;
        Self { rows, failed, now: world.clock.now() }
    }

    /// What a volume is there for, and for how long already nobody needs it.
    pub fn state(&self, row: &Row) -> String {
        let since = row.since.as_ref().and_then(|since| since.parse::<Timestamp>().ok());
        let age = since.map_or(String::new(), |since| format!(", {}", age(self.now.duration_since(since).as_secs())));
        match row.ownership {
            Ownership::Managed => "Managed".into(),
            Ownership::Detached => format!("Detached{age}"),
            Ownership::Orphan => format!("Orphan{age}"),
            Ownership::Foreign => "Foreign".into(),
        }
    }

    /// The orphan that `word` names; anything else is refused, and so is one whose guest is still there.
    pub fn orphan(&self, word: &str, live: &LiveState) -> Result<&Row, Fault> {
        let refuse = |why: String, help: &str| Err(Fault::new(FaultKind::Invalid, why).help(help));
        let look = "`reeve get volumes` lists what there is; write STORAGE/VOLUME";
        let Some((storage, volume)) = word.split_once('/') else {
            return refuse(format!("{word:?} does not name a volume on a storage"), look);
        };
        if let Some((_, fault)) = self.failed.iter().find(|(name, _)| name.as_str() == storage) {
            return refuse(format!("storage/{storage} could not be listed: {fault}"), "mend the storage first");
        }
        let found = self.rows.iter().find(|row| row.storage.as_str() == storage && row.volume == volume);
        let Some(row) = found else { return refuse(format!("{word} is not there"), look) };
        if row.ownership != Ownership::Orphan {
            return refuse(format!("{word} is no orphan: it is {}", self.state(row)), "only orphans are deleted so");
        }
        let owner = row.owner.as_ref().and_then(|owner| owner.parse::<Ref>().ok());
        match owner.filter(|owner| owner.kind != KindName::Volume) {
            Some(owner) if !matches!(live.get(&owner), Known::Absent) => refuse(
                format!("{word} belongs to {owner}, which has no manifest and is there, or cannot be looked for"),
                "delete the guest itself, or bring its manifest back",
            ),
            _ => Ok(row),
        }
    }
}

/// A span in its greatest whole unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m", s / 60),
        s if s < 86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}
