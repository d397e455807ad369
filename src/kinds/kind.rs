//! The trait every kind implements, and the small words its methods share.
//!
//! A kind is a folder: `spec.rs` is data (the typed spec and what is observed), `check.rs` is meaning and references,
//! `diff.rs` is pure comparison, and the rest acts on the world. `check`, `references`, `want`, `have`, `extra` and `cost` are
//! pure; `observe`, `create`, `update` and `delete` talk to drivers through [`World`] and to the journal through [`Task`].

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{KindName, Ref};
use crate::base::{Diagnostic, Disruption, Fault, Mark, Name, Place, Uid};
use crate::kinds::scope::Scope;
use crate::kinds::world::{Task, World};
use crate::plan::model::FieldChange;

/// One kind of resource.
#[async_trait]
pub trait Kind: 'static {
    /// What a manifest of this kind says.
    type Spec: Serialize + DeserializeOwned + JsonSchema + Clone + PartialEq + Debug + Send + Sync + 'static;
    /// What is observed of one that exists, normalised so that it compares with the spec.
    type Live: Serialize + DeserializeOwned + Clone + PartialEq + Debug + Send + Sync + 'static;

    /// Rules within one spec and against the other manifests; every problem found is reported.
    fn check(name: &Name, spec: &Self::Spec, scope: &Scope<'_>, report: &mut Report<'_>);

    /// The resources this spec names, which must exist before it.
    fn references(spec: &Self::Spec) -> Vec<Reference>;

    /// What this spec takes for itself alone; two that take the same are reported.
    fn claims(_name: &Name, _spec: &Self::Spec) -> Vec<Claim> {
        Vec::new()
    }

    /// The spec in canonical form with every documented default filled in, ready to compare with [`Kind::have`].
    fn want(name: &Name, spec: &Self::Spec, scope: &Scope<'_>) -> Value;

    /// The observed state in the same canonical form.
    fn have(live: &Self::Live) -> Have;

    /// Whose it is, when comparing [`Kind::want`] with [`Kind::have`] on `node` would find nothing: a shortcut past writing
    /// both out, for kinds of which there are many. `None` says nothing.
    fn as_wanted(_name: &Name, _spec: &Self::Spec, _live: &Self::Live, _node: &Name) -> Option<Uid> {
        None
    }

    /// Changes that no spec field shows, such as a guest's power state; appended to the plain comparison.
    fn extra(_spec: &Self::Spec, _live: &Self::Live, _scope: &Scope<'_>) -> Vec<FieldChange> {
        Vec::new()
    }

    /// What this change costs now, given the cost its field declares; a stopped guest notices nothing.
    fn cost(change: &FieldChange, live: &Self::Live) -> Disruption {
        if Self::have(live).active { change.disruption } else { change.disruption.min(Disruption::None) }
    }

    /// Why these changes must not be made at all, such as a disk shrunk; said as what is wrong and what to do.
    fn refuse(_changes: &[FieldChange], _live: &Self::Live) -> Option<Fault> {
        None
    }

    /// Everything of this kind that exists on this node, ours or not, in as few calls as the driver allows.
    ///
    /// `Err` means that nothing is known of the whole kind; a single resource that cannot be read is `Unknown`.
    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<Self::Live>>, Fault>;

    /// Makes a resource that is absent; what exists already with our mark and UID counts as made.
    async fn create(task: &Task<'_>, spec: &Self::Spec) -> Result<(), Fault>;

    /// Makes exactly these changes.
    async fn update(
        task: &Task<'_>,
        spec: &Self::Spec,
        live: &Self::Live,
        changes: &[FieldChange],
    ) -> Result<(), Fault>;

    /// Removes the resource; data goes only when `task.options.destroy_data` says so.
    async fn delete(task: &Task<'_>, live: &Self::Live) -> Result<(), Fault>;

    /// Clears away what an effect that never finished left behind and the resource does not need; safe to repeat.
    ///
    /// Called after a crash, once the resource is as its manifest says (`spec`) or deleted (`None`).
    async fn undo(_task: &Task<'_>, _spec: Option<&Self::Spec>, _effect: &str, _detail: &Value) -> Result<(), Fault> {
        Ok(())
    }

    /// Starts, stops or restarts a guest at a person's word.
    async fn power(_task: &Task<'_>, _live: &Self::Live, _to: PowerRequest) -> Result<(), Fault> {
        Err(Fault::new(crate::base::FaultKind::Unsupported, "only guests can be started, stopped and restarted"))
    }

    /// The manifest that describes what is there, for export and adoption; `None` when the kind has none to give.
    fn spec_of(_live: &Self::Live) -> Option<Self::Spec> {
        None
    }

    /// The columns that `get` shows: heading, value, and whether it is shown only with `-o wide`.
    fn columns(live: Option<&Self::Live>) -> Vec<(&'static str, String, bool)> {
        let _ = live;
        Vec::new()
    }

    /// The terminal of a running guest: the program to run with its arguments, or a device to open.
    async fn console(_world: &World, _name: &Name, _live: &Self::Live) -> Result<Console, Fault> {
        Err(Fault::new(crate::base::FaultKind::Unsupported, "only guests have a console"))
    }

    /// Puts our mark on something that exists, and changes nothing else.
    async fn adopt(_task: &Task<'_>, _spec: &Self::Spec, _live: &Self::Live) -> Result<(), Fault> {
        Err(Fault::new(crate::base::FaultKind::Unsupported, "this kind needs no adoption"))
    }
}

/// What is known of one resource on this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", content = "live", rename_all = "camelCase")]
pub enum Observed<L> {
    /// It exists and was read.
    Present(L),
    /// It was looked for, and is not there.
    Absent,
    /// It could not be read, for this reason; neither absent nor stopped may be concluded.
    Unknown(String),
}

/// An observed state made comparable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Have {
    /// What is configured, in the shape of the spec; fields that the driver does not know are left out.
    pub configured: Value,
    /// What the running guest really has, where that differs in kind from what is configured; `None` when stopped.
    pub running: Option<Value>,
    /// Whether a guest runs, so that changes may disturb it.
    pub active: bool,
    /// Our mark, when it carries one.
    pub mark: Option<Mark>,
    /// Whether this kind of thing must carry our mark before it is touched.
    pub must_be_marked: bool,
}

/// A resource named by a field of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// What is named.
    pub to: Ref,
    /// The field that names it, `disks.root.storage`, below `spec`.
    pub path: String,
    /// Whether it must exist for the spec to be valid; otherwise it only orders the work.
    pub required: bool,
}

impl Reference {
    /// A reference that must resolve.
    pub fn required(kind: KindName, name: &Name, path: impl Into<String>) -> Self {
        Self { to: Ref::new(kind, name.clone()), path: path.into(), required: true }
    }
}

/// Something that only one field of all manifests may have, such as a MAC address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The diagnostic's code when it is taken twice, such as `nic/mac-taken`; claims of one code compare.
    pub code: &'static str,
    /// What it is in words, with the article: `the MAC address`.
    pub what: &'static str,
    /// The value in canonical form.
    pub value: String,
    /// The nodes it is taken on; empty means every node. On different nodes the same may be taken.
    pub nodes: Vec<Name>,
    /// The field that takes it, `nics.eth0.mac`, below `spec`.
    pub path: String,
    /// What to do when it is taken twice.
    pub help: &'static str,
}

impl Claim {
    /// A hardware address, which is one network card's in all guests; compared without case.
    pub fn mac(mac: &str, path: String) -> Self {
        Self {
            code: "nic/mac-taken",
            what: "the MAC address",
            value: mac.to_ascii_lowercase(),
            nodes: Vec::new(),
            path,
            help: "give each network card an address of its own, or leave mac out to get one",
        }
    }

    /// A Volume, which is one disk or mount of one guest.
    pub fn volume(volume: &Name, path: String) -> Self {
        Self {
            code: "volume/taken",
            what: "the Volume",
            value: volume.to_string(),
            nodes: Vec::new(),
            path,
            help: "give each disk and each mount a Volume of its own",
        }
    }

    /// Whether the two, of one code and value, are on a common node.
    pub fn meets(&self, other: &Self) -> bool {
        self.nodes.is_empty() || other.nodes.is_empty() || self.nodes.iter().any(|node| other.nodes.contains(node))
    }
}

/// Takes the problems a check finds, and knows where each field stands.
pub struct Report<'a> {
    place: &'a dyn Fn(&str) -> Option<Place>,
    found: &'a mut Vec<Diagnostic>,
}

impl<'a> Report<'a> {
    /// A report that looks places up with `place` (paths such as `spec.disks.root.size`) and adds to `found`.
    pub fn new(place: &'a dyn Fn(&str) -> Option<Place>, found: &'a mut Vec<Diagnostic>) -> Self {
        Self { place, found }
    }

    /// Where the field at `path` below `spec` stands.
    pub fn place(&self, path: &str) -> Option<Place> {
        (self.place)(&if path.is_empty() { "spec".to_owned() } else { format!("spec.{path}") })
    }

    /// An error at the field at `path` below `spec`.
    pub fn error(&mut self, code: &'static str, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(path);
        self.found.push(Diagnostic::error(code, message).at(place).help(help));
    }

    /// An error at the field at `path` below `spec`, that comes from what stands at another place.
    pub fn error_from(
        &mut self,
        from: (Option<Place>, String),
        code: &'static str,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.place(path);
        self.found.push(Diagnostic::error(code, message).at(place).help(help).related(from.0, from.1));
    }

    /// A warning at the field at `path` below `spec`.
    pub fn warning(&mut self, code: &'static str, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(path);
        self.found.push(Diagnostic::warning(code, message).at(place).help(help));
    }

    /// Any diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }
}

/// What a person asks of a guest's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerRequest {
    /// Start it.
    Start,
    /// Ask it to shut down; cut the power when it does not, only if `force`.
    Stop {
        /// Cut the power at once.
        force: bool,
    },
    /// Stop it and start it with what is configured.
    Restart {
        /// Cut the power instead of asking.
        force: bool,
    },
}

impl PowerRequest {
    /// What has become of the guest when it is done.
    pub fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop { .. } => "stopped",
            Self::Restart { .. } => "restarted",
        }
    }
}

/// How to reach a guest's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// A terminal device of this node.
    Device(std::path::PathBuf),
    /// A program that connects the terminal.
    Program(Vec<String>),
}
