//! Makes a spec with wrong fields readable, so that what else it says can be looked at in the same run: a wrong field
//! counts as left out, and one that is needed is stood in for.

use serde_json::{Map, Value};

use super::check::matches;
use crate::kinds::Shape;

/// Stands in for a needed name or text that is missing or wrong; a reference to it is no reference.
pub const STAND_IN: &str = "reeve-needed-field";

/// Takes out what is `null` and puts something readable where a field is needed.
pub fn fill(value: &mut Value, shape: &Shape) {
    match value {
        Value::Object(map) => fill_fields(map, shape),
        Value::Array(items) => {
            items.retain(|item| !item.is_null());
            for item in items {
                fill(item, shape.items.as_deref().unwrap_or(&Shape::default()));
            }
        }
        _ => {}
    }
}

fn fill_fields(map: &mut Map<String, Value>, shape: &Shape) {
    map.retain(|_, value| !value.is_null());
    for (key, value) in map.iter_mut() {
        if let Some(below) = shape.below(key) {
            fill(value, below);
        }
    }
    for name in &shape.required {
        if !map.contains_key(name) {
            map.insert(name.clone(), shape.field(name).map_or(Value::Null, stand_in));
        }
    }
}

/// Any value that a field of this shape takes.
fn stand_in(shape: &Shape) -> Value {
    let types = shape.types;
    if let Some(word) = shape.words.first() {
        return word.as_str().into();
    }
    if types.string {
        let fits = shape.format.is_none() && shape.pattern.as_deref().is_none_or(|p| matches(p, STAND_IN));
        return match &shape.example {
            Some(example) if !fits => example.clone(),
            _ if shape.format.as_deref() == Some("size") => "1Gi".into(),
            _ => STAND_IN.into(),
        };
    }
    if types.integer || types.number {
        #[allow(clippy::cast_possible_truncation, reason = "a schema's least number is small")]
        return Value::from(shape.minimum.unwrap_or(1.0) as i64);
    }
    if types.boolean {
        return false.into();
    }
    if types.array {
        return Value::Array(Vec::new());
    }
    let mut map = Map::new();
    fill_fields(&mut map, shape);
    Value::Object(map)
}
