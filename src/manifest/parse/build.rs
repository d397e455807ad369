//! Builds a tree from events, within its bounds: depth, number of nodes, what aliases repeat, keys that stand twice.

use std::borrow::Cow;
use std::collections::HashMap;

use super::tree::{Spot, Tree};
use super::{MOST_DEPTH, MOST_NODES};
use crate::base::Diagnostic;
use crate::manifest::found::Found;
use crate::manifest::suggest::quoted;

/// The document cannot be read on; why is reported.
pub struct Stop;

/// A tree while it grows.
#[derive(Default)]
pub struct Builder<'t> {
    tree: Tree<'t>,
    open: Vec<Open>,
    /// The children of open collections, those of the innermost last.
    pending: Vec<u32>,
    anchors: HashMap<usize, Whole>,
    /// How many nodes the document has with every alias written out.
    expanded: usize,
}

/// A collection that has not ended.
struct Open {
    id: u32,
    map: bool,
    anchor: usize,
    first: usize,
    size: usize,
    height: usize,
}

/// A complete node that an alias may repeat.
#[derive(Clone, Copy)]
struct Whole {
    id: u32,
    size: usize,
    height: usize,
}

impl<'t> Builder<'t> {
    /// A builder for a text of so many bytes.
    pub fn for_text(bytes: usize) -> Self {
        // Manifests have a node for each seven bytes or so; a document of scalars only is no larger than its text.
        let nodes = (bytes / 6).min(1 << 10);
        Self {
            tree: Tree::with_capacity(nodes),
            open: Vec::with_capacity(16),
            pending: Vec::with_capacity(64),
            ..Self::default()
        }
    }

    pub fn scalar(
        &mut self,
        spot: Spot,
        text: Cow<'t, str>,
        plain: bool,
        anchor: usize,
        found: &mut Found,
    ) -> Result<(), Stop> {
        let id = self.tree.add_scalar(spot, text, plain);
        self.complete(Whole { id, size: 1, height: 0 }, anchor, spot, found)
    }

    pub fn open(&mut self, spot: Spot, map: bool, anchor: usize, found: &mut Found) -> Result<(), Stop> {
        self.check_depth(1, spot, found)?;
        self.count(1, spot, found)?;
        let id = self.tree.add_collection(spot, map);
        self.open.push(Open { id, map, anchor, first: self.pending.len(), size: 1, height: 1 });
        Ok(())
    }

    pub fn close(&mut self, found: &mut Found) {
        let Some(Open { id, map, anchor, first, size, height }) = self.open.pop() else { return };
        if map {
            self.check_keys(first, found);
        }
        self.tree.close(id, self.pending.drain(first..));
        self.attach(Whole { id, size, height }, anchor);
    }

    pub fn alias(&mut self, spot: Spot, target: usize, found: &mut Found) -> Result<(), Stop> {
        let Some(whole) = self.anchors.get(&target).copied() else {
            found.error(
                "manifest/alias-loop",
                spot,
                "this alias repeats a value that contains the alias itself",
                "write the value out",
            );
            return Err(Stop);
        };
        self.check_depth(whole.height, spot, found)?;
        self.complete(whole, 0, spot, found)
    }

    pub fn unknown_alias(&mut self, spot: Spot, name: &str, found: &mut Found) -> Result<(), Stop> {
        found.error(
            "manifest/unknown-alias",
            spot,
            format!("no value before this one in the document has the anchor &{}", short(name)),
            "write the value out, set the anchor earlier in the same document, or put a text that starts with * in quotes",
        );
        let id = self.tree.add_lost(spot);
        self.complete(Whole { id, size: 1, height: 0 }, 0, spot, found)
    }

    pub fn finish(mut self) -> Tree<'t> {
        if let Some(root) = self.pending.first() {
            self.tree.set_root(*root);
        }
        self.tree
    }

    fn complete(&mut self, whole: Whole, anchor: usize, spot: Spot, found: &mut Found) -> Result<(), Stop> {
        self.count(whole.size, spot, found)?;
        self.attach(whole, anchor);
        Ok(())
    }

    /// Makes a complete node the next child of the innermost open collection.
    fn attach(&mut self, whole: Whole, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, whole);
        }
        self.pending.push(whole.id);
        if let Some(outer) = self.open.last_mut() {
            outer.size = outer.size.saturating_add(whole.size);
            outer.height = outer.height.max(whole.height + 1);
        }
    }

    fn count(&mut self, nodes: usize, spot: Spot, found: &mut Found) -> Result<(), Stop> {
        self.expanded = self.expanded.saturating_add(nodes);
        if self.expanded <= MOST_NODES {
            return Ok(());
        }
        let help = "split it into several documents, or write less by aliases";
        if nodes > 1 {
            let message = format!("this alias makes the document larger than {MOST_NODES} values");
            found.error("manifest/alias-bomb", spot, message, help);
        } else {
            let message = format!("the document has more than {MOST_NODES} values");
            found.error("manifest/too-many-values", spot, message, help);
        }
        Err(Stop)
    }

    fn check_depth(&self, more: usize, spot: Spot, found: &mut Found) -> Result<(), Stop> {
        if self.open.len() + more <= MOST_DEPTH {
            return Ok(());
        }
        too_deep(spot, found);
        Err(Stop)
    }

    /// Drops the entries of the innermost map whose keys are no text or stand there a second time.
    fn check_keys(&mut self, first: usize, found: &mut Found) {
        let mut keep: Vec<bool> = Vec::new();
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let pairs = &self.pending[first..];
        let small = pairs.len() <= 32;
        for (at, pair) in pairs.chunks_exact(2).enumerate() {
            let spot = self.tree.spot(pair[0]);
            let Some(key) = self.tree.text(pair[0]) else {
                found.error("manifest/bad-key", spot, "a key must be a text", "write `name: value`");
                keep.resize(at, true);
                keep.push(false);
                continue;
            };
            let earlier = if small {
                pairs[..at * 2].chunks_exact(2).map(|p| p[0]).find(|k| self.tree.text(*k) == Some(key))
            } else {
                seen.insert(key, pair[0]).inspect(|first| {
                    seen.insert(key, *first);
                })
            };
            let problem = if let Some(earlier) = earlier {
                let message = format!("the key {} stands here a second time", quoted(key));
                Some(
                    Diagnostic::error("manifest/duplicate-key", message)
                        .related(Some(found.place(self.tree.spot(earlier))), "it stands here first")
                        .help("keep one of the two"),
                )
            } else if key == "<<" {
                Some(
                    Diagnostic::error("manifest/merge-key", "merge keys (<<) are not supported")
                        .help("write the fields out; an alias may repeat a whole value"),
                )
            } else {
                None
            };
            if let Some(problem) = problem {
                let place = found.place(spot);
                found.push(problem.at(place));
                keep.resize(at, true);
                keep.push(false);
            }
        }
        if !keep.is_empty() {
            let pairs = self.pending.split_off(first);
            let kept = pairs.chunks_exact(2).enumerate().filter(|(at, _)| keep.get(*at).copied().unwrap_or(true));
            self.pending.extend(kept.flat_map(|(_, pair)| pair.iter().copied()));
        }
    }
}

/// Reports nesting beyond the bound.
pub fn too_deep(spot: Spot, found: &mut Found) {
    let message = format!("the document is nested more than {MOST_DEPTH} levels deep");
    found.error("manifest/too-deep", spot, message, "no manifest needs that; look for brackets that are not closed");
}

fn short(name: &str) -> String {
    name.chars().take(40).collect()
}
