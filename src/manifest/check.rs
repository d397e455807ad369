//! Walks nodes against a [`Shape`]: every unknown field, missing field, wrong type and broken rule is reported, and
//! what is right becomes a JSON value that the typed spec is read from.
//!
//! A walk never stops at a problem; where one is, the value is `null`, and the document counts as invalid.

mod text;

pub use text::matches;

use serde_json::{Map, Number, Value};

use super::found::Found;
use super::parse::{Entries, Key, Seen, Spot, View};
use super::scalar::{self, Plain};
use super::suggest::{list, nearest_field, quoted};
use crate::kinds::{Shape, Types};

/// How many items a list may have.
const MOST_ITEMS: usize = 1_000;
/// How many entries a map may have.
const MOST_ENTRIES: usize = 4_000;

/// Where a walk is: keys from the outside in.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    outer: Option<&'a Path<'a>>,
    key: &'a str,
    /// Where the key stands.
    pub spot: Spot,
}

impl<'a> Path<'a> {
    /// The outermost key.
    pub fn root(key: &'a str, spot: Spot) -> Self {
        Self { outer: None, key, spot }
    }

    /// One key further in.
    pub fn below<'b>(&'b self, key: &'b str, spot: Spot) -> Path<'b> {
        Path { outer: Some(self), key, spot }
    }
}

impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(outer) = self.outer {
            write!(f, "{outer}.")?;
        }
        if self.key.len() <= 80 && !self.key.contains(char::is_control) {
            f.write_str(self.key)
        } else {
            f.write_str(&quoted(self.key))
        }
    }
}

/// Checks a node against its shape and gives its value.
pub fn value(node: View<'_>, shape: &Shape, path: Path<'_>, found: &mut Found) -> Value {
    if found.is_full() {
        return Value::Null;
    }
    let any = shape.types == Types::default();
    match node.see() {
        Seen::Scalar { text, plain } if any => anything(text, plain, node.spot(), path, found),
        Seen::Scalar { text, plain: true } => text::plain(text, shape, node.spot(), path, found),
        Seen::Scalar { text, plain: false } => text::quoted_text(text, shape, node.spot(), path, found),
        Seen::List(items) if any || shape.types.array => {
            let fallback = Shape::default();
            let item_shape = shape.items.as_deref().unwrap_or(&fallback);
            if !count_fits(items.iter().len(), MOST_ITEMS, shape, path, found) {
                return Value::Null;
            }
            let each = items.iter().enumerate();
            each.map(|(at, item)| value(item, item_shape, path.below(&at.to_string(), item.spot()), found)).collect()
        }
        Seen::Map(entries) if any || shape.types.object => {
            if !shape.is_map() || count_fits(entries.iter().len(), MOST_ENTRIES, shape, path, found) {
                return Value::Object(fields(entries, shape, path, found));
            }
            Value::Null
        }
        Seen::Lost => Value::Null,
        Seen::List(_) => wrong_type("a list", shape, path.spot, path, found),
        Seen::Map(_) => wrong_type("a map", shape, path.spot, path, found),
    }
}

/// Checks the entries of a struct or a map.
pub fn fields(entries: Entries<'_>, shape: &Shape, path: Path<'_>, found: &mut Found) -> Map<String, Value> {
    let open = shape.fields.is_empty() && shape.entries.is_none() && shape.types == Types::default();
    let fallback = Shape::default();
    let mut map = Map::with_capacity(entries.iter().len());
    let mut meant = Vec::new();
    for (key, node) in entries.iter() {
        let below = match shape.field(key.text) {
            Some(field) => field,
            None if open => &fallback,
            None => match shape.entries.as_deref() {
                Some(entry) => {
                    check_key(key, shape, path, found);
                    entry
                }
                None => {
                    meant.extend(unknown_field(key, shape, path, found));
                    continue;
                }
            },
        };
        map.insert(key.text.to_owned(), value(node, below, path.below(key.text, key.spot), found));
    }
    // A required field that is only misspelt is reported once.
    let there = |name: &str| entries.get(name).is_some() || meant.contains(&name);
    for name in shape.required.iter().filter(|name| !there(name)) {
        missing_field(name, shape.field(name), path, found);
    }
    map
}

/// Reports a field that must be there.
pub fn missing_field(name: &str, field: Option<&Shape>, path: Path<'_>, found: &mut Found) {
    let mut help = format!("add `{name}:`");
    if let Some(field) = field {
        help = match field.description.as_deref().and_then(|d| d.split_inclusive(['.', ';', '\n']).next()) {
            Some(words) => format!("{help} ({}): {}", field.type_words(), words.trim_end_matches(['.', ';', '\n'])),
            None => format!("{help} ({})", field.type_words()),
        };
    }
    found.error("manifest/missing-field", path.spot, format!("{path} lacks the field {name:?}"), help);
}

/// Reports a field that is not known; gives the one that was most likely meant.
fn unknown_field<'s>(key: Key<'_>, shape: &'s Shape, path: Path<'_>, found: &mut Found) -> Option<&'s str> {
    let known: Vec<&'s str> = shape.fields.iter().map(|(name, _)| name.as_str()).collect();
    let message = if key.text.is_empty() {
        format!("a field of {path} has no name")
    } else {
        format!("{path} has no field {}", quoted(key.text))
    };
    let near = nearest_field(key.text, &known);
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it takes no fields".to_owned(),
        None => format!("its fields are {}", list(known, 40)),
    };
    found.error("manifest/unknown-field", key.spot, message, help);
    near
}

fn check_key(key: Key<'_>, shape: &Shape, path: Path<'_>, found: &mut Found) {
    if let Some(pattern) = &shape.key_pattern
        && !text::matches(pattern, key.text)
    {
        text::bad_pattern(key.text, pattern, None, key.spot, path, found);
    }
}

/// Whether a list or map is not too large; rules may compare every item with every other.
fn count_fits(count: usize, most: usize, shape: &Shape, path: Path<'_>, found: &mut Found) -> bool {
    if count > most {
        let message = format!("{path} has {count} entries; at most {most} are allowed");
        found.error("manifest/too-many-items", path.spot, message, "write fewer");
        return false;
    }
    if let Some(least) = shape.min_items.filter(|least| (count as u64) < *least) {
        let message = format!("{path} has {count} items and needs at least {least}");
        found.error("manifest/too-few-items", path.spot, message, "add what is missing");
    }
    true
}

/// Reports a value of a type the field does not take.
fn wrong_type(what: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let wanted = text::wanted(shape);
    // What stands there may be the secret itself, and is not repeated.
    let secret = matches!(shape.fields.as_slice(), [(only, _)] if only == "secretRef");
    let what = if secret { "a value" } else { what };
    let help = match (what, &shape.example) {
        _ if secret => "keep the value in a file, and write `{secretRef: {name: …, key: …}}`".to_owned(),
        (_, Some(example)) => format!("write {wanted}, such as {example}"),
        ("a list", None) if shape.types.object => "write each entry as `name: …`, without '- ' in front".to_owned(),
        ("a list", None) => format!("write {wanted}, without [ ] or '- '"),
        ("a map", None) => format!("write {wanted}"),
        (_, None) if shape.types.array => "put it in brackets, or behind '- '".to_owned(),
        (_, None) if !shape.fields.is_empty() => {
            format!("its fields are {}", list(shape.fields.iter().map(|(name, _)| name.as_str()), 40))
        }
        _ => format!("write {wanted}"),
    };
    let message = format!("{path} is {what} where {wanted} is needed");
    found.error("manifest/wrong-type", spot, message, help);
    Value::Null
}

/// A scalar where any value may stand: as YAML's core schema reads it.
fn anything(text: &str, plain: bool, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    if !plain {
        return Value::String(text.to_owned());
    }
    match scalar::read(text) {
        Plain::Null => Value::Null,
        Plain::Bool(value) => Value::Bool(value),
        Plain::Int(Some(n)) => whole(n),
        Plain::Float(n) if n.is_finite() => Number::from_f64(n).map_or(Value::Null, Value::Number),
        Plain::Int(None) | Plain::Float(_) => {
            let message = format!("{path} is {}, which is no number Reeve can keep", quoted(text));
            found.error("manifest/out-of-range", spot, message, "write a smaller number, or put a text in quotes");
            Value::Null
        }
        Plain::Text => Value::String(text.to_owned()),
    }
}

fn whole(n: i128) -> Value {
    i64::try_from(n).map(Value::from).or_else(|_| u64::try_from(n).map(Value::from)).unwrap_or_default()
}
