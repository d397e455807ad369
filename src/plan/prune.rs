//! What came from a source earlier and is in it no more: the only deletes that follow from what is not there.
//!
//! Nothing follows from a source that was not read whole and valid, nor from an empty one, and more than half of what a
//! source brought goes only when a person says so.

use std::collections::{BTreeMap, BTreeSet};

use super::live::Accepted;
use crate::kinds::Ref;
use crate::manifest::Loaded;

/// Why nothing is pruned although something is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The source was not read whole and valid.
    Incomplete,
    /// This file holds no manifest, as one that was cut short.
    Hollow(String),
    /// The source holds nothing at all, and had so many resources.
    Empty(usize),
    /// So many of so many would go.
    TooMany(usize, usize),
}

/// The resources of `sources` that are not in what was loaded from all of them.
pub fn gone(
    accepted: &BTreeMap<Ref, Accepted>,
    loaded: &Loaded,
    sources: &BTreeSet<String>,
    any_share: bool,
) -> Result<Vec<Ref>, Refusal> {
    if !loaded.complete {
        return Err(Refusal::Incomplete);
    }
    let with: BTreeSet<&str> = loaded.resources.iter().filter_map(|r| r.places.file.as_deref()).collect();
    if let Some(hollow) = loaded.sources.iter().find(|s| !with.contains(&*s.path)) {
        return Err(Refusal::Hollow(hollow.path.to_string()));
    }
    let there: BTreeSet<Ref> = loaded.resources.iter().map(|r| r.reference()).collect();
    let ours = accepted.iter().filter(|(_, a)| a.source.as_ref().is_some_and(|s| sources.contains(s)));
    let (kept, gone): (Vec<_>, Vec<_>) = ours.partition(|(r, _)| there.contains(r));
    let all = kept.len() + gone.len();
    if loaded.resources.is_empty() && !gone.is_empty() {
        return Err(Refusal::Empty(all));
    }
    if gone.len() * 2 > all && gone.len() > 1 && !any_share {
        return Err(Refusal::TooMany(gone.len(), all));
    }
    Ok(gone.into_iter().map(|(r, _)| r.clone()).collect())
}
