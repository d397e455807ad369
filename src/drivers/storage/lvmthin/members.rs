//! Tells apart what is in a thin pool: volumes, their snapshots, and copies that take a volume's place.
//!
//! LVM forgets whose snapshot a volume is once that one is replaced. So a volume gets an identity in a tag when it is made,
//! a snapshot has that identity, its number and its name in one, and a copy that takes a volume's place says whose.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Uid;
use crate::drivers::storage::lvm::parse::Volume;
use crate::drivers::storage::pool::Entry;

/// The start of the tag with a volume's identity.
const ID: &str = "reeve.id.";
/// The start of a snapshot's tag: a volume's identity, a number that grows, and a name follow, with '/' between.
const SNAPSHOT: &str = "reeve.snapshot.";
/// The start of the tag of a copy that takes a volume's place; the volume's name follows.
const INSTEAD: &str = "reeve.instead.";

/// A new identity.
pub fn fresh_id() -> String {
    Uid::fresh().to_string()
}

/// The tag of an identity.
pub fn id_tag(id: &str) -> String {
    format!("{ID}{id}")
}

/// The tag that makes a copy take the place of a volume.
pub fn instead(volume: &str) -> String {
    format!("{INSTEAD}{volume}")
}

/// The name of the logical volume that is a volume's snapshot.
pub fn snapshot_name(volume: &str, snapshot: &str) -> String {
    format!("{volume}.snap.{snapshot}")
}

/// The name of the copy of a snapshot that takes a volume's place.
pub fn copy_name(volume: &str) -> String {
    format!("{volume}.rollback")
}

/// A snapshot by its tag: of what, the how manyth, and its name.
fn snapshot(volume: &Volume) -> Option<(String, u64, String)> {
    let tag = volume.tags().into_iter().find_map(|t| t.strip_prefix(SNAPSHOT).map(str::to_owned))?;
    let mut parts = tag.splitn(3, '/');
    Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.to_owned()))
}

/// The volume whose place a copy takes.
pub fn replaces(volume: &Volume) -> Option<String> {
    volume.tags().iter().find_map(|t| t.strip_prefix(INSTEAD).map(str::to_owned))
}

/// A volume's identity, when it has one.
pub fn id(volume: &Volume) -> Option<String> {
    volume.tags().iter().find_map(|t| t.strip_prefix(ID).map(str::to_owned))
}

/// What is in one pool.
#[derive(Debug)]
pub struct Members(Vec<Volume>);

impl Members {
    /// What of a group's volumes is in the pool of that name.
    pub fn of(pool: &str, volumes: Vec<Volume>) -> Self {
        Self(volumes.into_iter().filter(|v| v.pool == pool).collect())
    }

    /// The logical volume of that name.
    pub fn named(&self, name: &str) -> Option<&Volume> {
        self.0.iter().find(|v| v.name == name)
    }

    /// The copy that takes the place of the volume of that name.
    pub fn copy_for(&self, name: &str) -> Option<&Volume> {
        self.0.iter().find(|v| replaces(v).is_some_and(|replaced| replaced == name))
    }

    /// The snapshots of a volume, oldest first, each with its number.
    pub fn snapshots(&self, volume: &Volume) -> Vec<(u64, String)> {
        let Some(own) = id(volume) else { return Vec::new() };
        let mut found: Vec<(u64, String)> =
            self.0.iter().filter_map(snapshot).filter(|(id, ..)| *id == own).map(|(_, n, name)| (n, name)).collect();
        found.sort_unstable();
        found
    }

    /// The tag of the next snapshot of a volume with that identity.
    pub fn next(&self, volume: &Volume, id: &str, name: &str) -> String {
        let number = self.snapshots(volume).last().map_or(1, |(last, _)| last + 1);
        format!("{SNAPSHOT}{id}/{number}/{name}")
    }

    /// The volumes: a replaced one is what its copy says, and a snapshot shows with its volume, or alone as what it is.
    pub fn entries(&self) -> Vec<Entry> {
        // A copy has the name already when only its tag was not taken off.
        let other = |v: &Volume| replaces(v).filter(|name| *name != v.name);
        let replaced: BTreeSet<String> = self.0.iter().filter_map(other).collect();
        let ids: BTreeSet<String> = self.0.iter().filter_map(id).collect();
        let mut snapshots: BTreeMap<String, BTreeSet<(u64, String)>> = BTreeMap::new();
        for (of, number, name) in self.0.iter().filter_map(snapshot) {
            snapshots.entry(of).or_default().insert((number, name));
        }
        let mut entries = Vec::new();
        for volume in self.0.iter().filter(|v| !replaced.contains(&v.name)) {
            let mut entry = volume.entry();
            let taken = volume.data().map(|percent| part(volume.size().bytes(), percent));
            entry.info.allocated = taken.map(crate::base::Size);
            if let Some((of, _, name)) = snapshot(volume) {
                if ids.contains(&of) {
                    continue;
                }
                entry.info.problem = Some(format!("it is the snapshot {name} of a volume that is not there any more"));
            }
            entry.info.name = replaces(volume).unwrap_or(entry.info.name);
            let own = id(volume).and_then(|id| snapshots.get(&id)).into_iter().flatten();
            entry.snapshots = own.map(|(_, name)| name.clone()).collect();
            entries.push(entry);
        }
        entries
    }
}

/// That many percent of a number of bytes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub fn part(bytes: u64, percent: f64) -> u64 {
    // LVM prints hundredths of a percent.
    let hundredths = (percent * 100.0).round().clamp(0.0, 10_000.0) as u128;
    u64::try_from(u128::from(bytes) * hundredths / 10_000).unwrap_or(bytes)
}
