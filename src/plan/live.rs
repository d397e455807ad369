//! What was observed of a node at one moment: made by the engine, or read from a file so that a plan needs no host.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::overrides::Overrides;
use crate::base::{Name, Uid};
use crate::kinds::{API_VERSION, KindName, Live, Observed, Ref};

/// What is there, what could not be read, and what was accepted earlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveState {
    /// `reeve/v1`.
    pub api_version: String,
    /// `LiveState`.
    pub kind: String,
    /// The node that was observed.
    pub node: Name,
    /// When.
    pub observed_at: Timestamp,
    /// Every resource that was seen, or whose own reading failed.
    pub resources: BTreeMap<Ref, Observed<Live>>,
    /// Kinds of which nothing is known, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<KindName, String>,
    /// The resources that were accepted earlier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accepted: BTreeMap<Ref, Accepted>,
}

/// What the store knows of an accepted resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The UID it got.
    pub uid: Uid,
    /// Which source it came from, for pruning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether it must not be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protection: bool,
    /// What is for a while not as its manifest says.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
}

/// What is known of one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known<'a> {
    /// It is there.
    Present(&'a Live),
    /// It is not there.
    Absent,
    /// It could not be read.
    Unknown(&'a str),
}

impl LiveState {
    /// Nothing seen yet on `node`.
    pub fn empty(node: Name, observed_at: Timestamp) -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind: "LiveState".into(),
            node,
            observed_at,
            resources: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    /// The same with what the store knows of accepted resources.
    #[must_use]
    pub fn knowing(mut self, accepted: &BTreeMap<Ref, Accepted>) -> Self {
        self.accepted = accepted.clone();
        self
    }

    /// What is known of `reference`; a resource that its kind's whole listing did not show is absent.
    pub fn get(&self, reference: &Ref) -> Known<'_> {
        match self.resources.get(reference) {
            Some(Observed::Present(live)) => Known::Present(live),
            Some(Observed::Unknown(why)) => Known::Unknown(why),
            Some(Observed::Absent) => Known::Absent,
            None => self.unreadable.get(&reference.kind).map_or(Known::Absent, |why| Known::Unknown(why)),
        }
    }

    /// What is there of `reference`, when it is there and known.
    pub fn present(&self, reference: &Ref) -> Option<&Live> {
        if let Known::Present(live) = self.get(reference) { Some(live) } else { None }
    }
}
