//! Checked values to typed resources that know where each of their fields stands.

use std::sync::Arc;

use super::envelope::Enveloped;
use super::found::Found;
use super::parse::{Seen, Spot, Tree, View};
use crate::kinds::{Places, Resource};

/// The typed resource; what the types refuse although the check let it pass is reported.
pub fn resource(document: Enveloped, tree: &Tree<'_>, found: &mut Found) -> Option<Resource> {
    let Enveloped { kind, name: _, spot, metadata, spec } = document;
    let places = places(tree, found);
    let refused = |path: String, error: String, found: &mut Found| {
        let place = places.find(&path).unwrap_or_else(|| found.place(spot));
        let spot = Spot { line: place.line, column: place.column, length: place.length };
        let message = format!("{path} cannot be read: {error}");
        found.error(
            "manifest/invalid-value",
            spot,
            message,
            format!("`reeve explain {}` shows what it takes", kind.short()),
        );
    };
    let meta = serde_json::from_value(metadata)
        .map_err(|error| refused("metadata".to_owned(), error.to_string(), found))
        .ok()?;
    let spec = kind
        .spec(spec)
        .map_err(|error| refused(format!("spec.{}", error.path()), error.inner().to_string(), found))
        .ok()?;
    Some(Resource { meta, spec, places })
}

/// Where every field stands: a text or number itself, a map or list by its key.
fn places(tree: &Tree<'_>, found: &Found) -> Places {
    let mut entries = Vec::with_capacity(tree.len());
    walk(tree.root(), 0, &mut entries);
    Places::hashed(Arc::clone(found.file()), entries)
}

fn walk(node: View<'_>, hash: u64, entries: &mut Vec<(u64, u32, u32, u32)>) {
    let add = |below: View<'_>, key: Spot, hash, entries: &mut Vec<_>| {
        let Spot { line, column, length } = match below.see() {
            Seen::Scalar { text, plain } if !plain || !text.is_empty() => below.spot(),
            _ => key,
        };
        entries.push((hash, line, column, length));
        walk(below, hash, entries);
    };
    match node.see() {
        Seen::Scalar { .. } | Seen::Lost => {}
        Seen::Map(fields) => {
            for (key, below) in fields.iter() {
                let hash = key.text.split('.').fold(hash, Places::step);
                add(below, key.spot, hash, entries);
            }
        }
        Seen::List(items) => {
            for (at, below) in items.iter().enumerate() {
                add(below, below.spot(), Places::step(hash, &at.to_string()), entries);
            }
        }
    }
}
