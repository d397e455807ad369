//! What every document says of itself: `apiVersion`, `kind`, `metadata`, and a `spec` in the shape of its kind.

use std::sync::LazyLock;

use serde_json::Value;

use super::check::{self, Path};
use super::found::Found;
use super::parse::{Entries, Key, Seen, Spot, Tree, View};
use super::suggest::{list, nearest, nearest_field, quoted};
use crate::base::Name;
use crate::drivers::storage;
use crate::kinds::{API_VERSION, KindName, Metadata, Ref, Shape};

const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

static METADATA: LazyLock<Shape> = LazyLock::new(Shape::of::<Metadata>);

/// A document whose envelope was read; valid only when nothing was reported of it.
pub struct Enveloped {
    /// The kind.
    pub kind: KindName,
    /// The name, when it is one.
    pub name: Option<Name>,
    /// Where the name stands.
    pub spot: Spot,
    /// The metadata as JSON.
    pub metadata: Value,
    /// The spec as JSON.
    pub spec: Value,
}

impl Enveloped {
    /// Kind and name, when both are known.
    pub fn reference(&self) -> Option<Ref> {
        self.name.clone().map(|name| Ref::new(self.kind, name))
    }
}

/// Checks a whole document; `None` when it is empty or of no known kind.
pub fn read(tree: &Tree<'_>, found: &mut Found) -> Option<Enveloped> {
    let root = tree.root();
    let entries = match root.see() {
        Seen::Map(entries) => entries,
        Seen::Scalar { text: "" | "~" | "null", plain: true } | Seen::Lost => return None,
        _ => {
            let help = "start it with `apiVersion: reeve/v1`, `kind:`, `metadata:` and `spec:`";
            found.error("manifest/not-a-manifest", root.spot(), "the document is no manifest: it has no fields", help);
            return None;
        }
    };
    let start = entries.iter().next().map_or(root.spot(), |(key, _)| key.spot);
    for (key, _) in entries.iter().filter(|(key, _)| !FIELDS.contains(&key.text)) {
        unknown(key, found);
    }
    check_version(entries, start, found);
    let kind = read_kind(entries, start, found);
    let (metadata, name) = read_metadata(entries, start, found);
    let kind = kind?;
    let spec = read_spec(kind, entries, start, found);
    let (name, spot) = name.map_or((None, start), |(text, spot)| (Name::new(text).ok(), spot));
    Some(Enveloped { kind, name, spot, metadata, spec })
}

fn unknown(key: Key<'_>, found: &mut Found) {
    let message = format!("a manifest has no field {}", quoted(key.text));
    let help = match (key.text, nearest_field(key.text, &FIELDS)) {
        ("status", _) => "take it out; Reeve reports status, and does not read it".to_owned(),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (_, None) => format!("its fields are {}; what a resource is goes below `spec`", list(FIELDS, 4)),
    };
    found.error("manifest/unknown-field", key.spot, message, help);
}

fn missing(name: &str, spot: Spot, help: &str, found: &mut Found) {
    found.error("manifest/missing-field", spot, format!("the manifest lacks the field {name:?}"), help);
}

fn check_version(entries: Entries<'_>, start: Spot, found: &mut Found) {
    let Some((_, node)) = entries.get("apiVersion") else {
        return missing("apiVersion", start, "add `apiVersion: reeve/v1`", found);
    };
    if node.text() != Some(API_VERSION) {
        let what = node.text().map_or_else(|| "no text".to_owned(), quoted);
        let message = format!("apiVersion is {what}; only {API_VERSION} is known");
        found.error("manifest/api-version", node.spot(), message, format!("write `apiVersion: {API_VERSION}`"));
    }
}

/// The kind; the one most likely meant, when it is misspelt, so that the rest is checked as well.
fn read_kind(entries: Entries<'_>, start: Spot, found: &mut Found) -> Option<KindName> {
    let known = || KindName::ALL.iter().map(|k| k.as_str());
    let Some((_, node)) = entries.get("kind") else {
        let help = format!("add `kind:` with one of {}", list(known(), 40));
        missing("kind", start, &help, found);
        return None;
    };
    let Some(text) = node.text() else {
        let help = format!("write one of {}", list(known(), 40));
        found.error("manifest/wrong-type", node.spot(), "kind is no text", help);
        return None;
    };
    let exactly = |text: &str| KindName::ALL.iter().copied().find(|k| k.as_str() == text);
    let kind = exactly(text);
    let near = KindName::find(text).or_else(|| nearest(text, known()).and_then(exactly));
    if kind.is_none() {
        let help = match near {
            _ if text == "List" => "write each resource as a document of its own, with a line `---` between".to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the kinds are {}", list(known(), 40)),
        };
        found.error("manifest/unknown-kind", node.spot(), format!("there is no kind {}", quoted(text)), help);
    }
    kind.or(near)
}

fn read_metadata<'a>(entries: Entries<'a>, start: Spot, found: &mut Found) -> (Value, Option<(&'a str, Spot)>) {
    let Some((key, node)) = entries.get("metadata") else {
        missing("metadata", start, "add `metadata: {name: …}`", found);
        return (Value::Null, None);
    };
    let value = check::value(node, &METADATA, Path::root("metadata", key.spot), found);
    let name = match node.see() {
        Seen::Map(fields) => fields.get("name").and_then(|(_, name)| Some((name.text()?, name.spot()))),
        _ => None,
    };
    (value, name)
}

fn read_spec(kind: KindName, entries: Entries<'_>, start: Spot, found: &mut Found) -> Value {
    let Some((key, node)) = entries.get("spec") else {
        missing("spec", start, &format!("add `spec:`; `reeve explain {}` shows its fields", kind.short()), found);
        return Value::Null;
    };
    let path = Path::root("spec", key.spot);
    let mut spec = check::value(node, kind.shape(), path, found);
    if kind == KindName::Storage
        && let Some((node, shape)) = storage_type(node)
    {
        read_options(node, shape, path, &mut spec, found);
    }
    spec
}

/// The fields of a Storage's spec, and the shape that its driver gives to `options`.
fn storage_type(spec: View<'_>) -> Option<(Entries<'_>, &'static Shape)> {
    let Seen::Map(fields) = spec.see() else { return None };
    let (_, driver) = fields.get("driver")?;
    Some((fields, storage::find(driver.text()?)?.shape()))
}

/// Checks a Storage's `options` against its driver's own shape.
fn read_options(fields: Entries<'_>, shape: &Shape, path: Path<'_>, spec: &mut Value, found: &mut Found) {
    let Some((key, node)) = fields.get("options") else {
        let path = path.below("options", path.spot);
        for name in &shape.required {
            check::missing_field(name, shape.field(name), path, found);
        }
        return;
    };
    if matches!(node.see(), Seen::Map(_)) {
        let options = check::value(node, shape, path.below("options", key.spot), found);
        if let Some(slot) = spec.get_mut("options") {
            *slot = options;
        }
    }
}
