//! A kind's JSON Schema compiled once: what the manifest checker, the differ, `explain` and the planner all read.
//!
//! The schema comes from the typed spec, so a field's type, rule, default, words and cost stand in one place, on the
//! field itself: `#[schemars(extend("x-reeve-change" = "live"))]`. Specs use structs, maps with names as keys, lists
//! and enums without data; nothing else has to be understood here.

use serde_json::Value;

use crate::base::Disruption;

/// The types a value may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Types {
    /// `null` is allowed and means the documented default.
    pub null: bool,
    /// `true` and `false`.
    pub boolean: bool,
    /// Whole numbers.
    pub integer: bool,
    /// Numbers with a fraction.
    pub number: bool,
    /// Text.
    pub string: bool,
    /// Lists.
    pub array: bool,
    /// Maps and structs.
    pub object: bool,
}

/// What a value may be, and what is known about it.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// The types it may have; none set means anything goes.
    pub types: Types,
    /// What it is for, in words.
    pub description: Option<String>,
    /// The fields of a struct, in the order they are declared.
    pub fields: Vec<(String, Shape)>,
    /// The fields that must be there.
    pub required: Vec<String>,
    /// What each entry of a map is.
    pub entries: Option<Box<Shape>>,
    /// What a map's keys must look like.
    pub key_pattern: Option<String>,
    /// What each item of a list is.
    pub items: Option<Box<Shape>>,
    /// The words an enum allows.
    pub words: Vec<String>,
    /// What the text must look like.
    pub pattern: Option<String>,
    /// `size`, `rate`, `duration`, or another format that has a parser of its own.
    pub format: Option<String>,
    /// The rule in words, said when pattern or format is not met.
    pub rule: Option<String>,
    /// The least number allowed.
    pub minimum: Option<f64>,
    /// The greatest number allowed.
    pub maximum: Option<f64>,
    /// The longest text allowed, in characters.
    pub max_length: Option<u64>,
    /// The fewest items allowed.
    pub min_items: Option<u64>,
    /// What the field is when left out.
    pub default: Option<Value>,
    /// What changing it costs; inherited by what is below.
    pub change: Option<Disruption>,
    /// An example value.
    pub example: Option<Value>,
}

impl Shape {
    /// Compiles the JSON Schema of `T`.
    pub fn of<T: schemars::JsonSchema>() -> Self {
        let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value();
        let definitions = schema.get_mut("$defs").map(Value::take).unwrap_or_default();
        compile(&schema, &definitions, 0)
    }

    /// The struct field `name`.
    pub fn field(&self, name: &str) -> Option<&Shape> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, s)| s)
    }

    /// What stands at `key`, be it a struct's field or a map's entry.
    pub fn below(&self, key: &str) -> Option<&Shape> {
        self.field(key).or(self.entries.as_deref())
    }

    /// What stands at a path such as `disks.root.size`, together with what changing it costs.
    pub fn find(&self, path: &str) -> Option<(&Shape, Disruption)> {
        let mut here = self;
        let mut change = self.change.unwrap_or_default();
        for key in path.split('.').filter(|k| !k.is_empty()) {
            here = here.below(key).or(here.items.as_deref())?;
            change = here.change.unwrap_or(change);
        }
        Some((here, change))
    }

    /// Whether it is a map with keys of the user's choosing.
    pub fn is_map(&self) -> bool {
        self.fields.is_empty() && self.entries.is_some()
    }

    /// The type in words, for people.
    pub fn type_words(&self) -> String {
        if !self.words.is_empty() {
            return format!("one of {}", self.words.join(", "));
        }
        if let Some(format) = &self.format {
            return format.clone();
        }
        let Types { null: _, boolean, integer, number, string, array, object } = self.types;
        let mut words = Vec::new();
        for (set, word) in [
            (boolean, "true or false"),
            (integer && !number, "whole number"),
            (number, "number"),
            (string, "text"),
            (object && !self.is_map(), "fields"),
        ] {
            if set {
                words.push(word.to_owned());
            }
        }
        if array {
            words.push(self.items.as_ref().map_or("list".into(), |i| format!("list of {}", i.type_words())));
        }
        if self.is_map() {
            words.push(self.entries.as_ref().map_or("map".into(), |e| format!("map of name to {}", e.type_words())));
        }
        if words.is_empty() { "any value".into() } else { words.join(" or ") }
    }
}

fn compile(schema: &Value, definitions: &Value, depth: usize) -> Shape {
    let mut shape = Shape::default();
    if depth < 24 {
        absorb(&mut shape, schema, definitions, depth);
    }
    shape
}

/// Reads one schema object into `shape`; what an outer schema says wins over what it refers to.
fn absorb(shape: &mut Shape, schema: &Value, definitions: &Value, depth: usize) {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let count = |key: &str| schema.get(key).and_then(Value::as_u64);
    keep(&mut shape.description, text("description"));
    keep(&mut shape.pattern, text("pattern"));
    keep(&mut shape.format, text("x-reeve-format"));
    keep(&mut shape.rule, text("x-reeve-rule"));
    keep(&mut shape.minimum, number("minimum"));
    keep(&mut shape.maximum, number("maximum").or_else(|| widest(schema)));
    keep(&mut shape.max_length, count("maxLength"));
    keep(&mut shape.min_items, count("minItems"));
    keep(&mut shape.default, schema.get("default").filter(|d| !d.is_null()).cloned());
    keep(&mut shape.change, text("x-reeve-change").and_then(|w| w.parse().ok()));
    keep(&mut shape.example, schema.get("x-reeve-example").cloned());
    absorb_types(shape, schema);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            if shape.field(name).is_none() {
                shape.fields.push((name.clone(), compile(property, definitions, depth + 1)));
            }
        }
    }
    if let Some(required) = schema.get("required").and_then(Value::as_array) {
        shape.required.extend(required.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if let Some(items) = schema.get("items") {
        shape.items = Some(Box::new(compile(items, definitions, depth + 1)));
    }
    absorb_entries(shape, schema, definitions, depth);
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let name = target.rsplit('/').next().unwrap_or_default();
        if let Some(definition) = definitions.get(name) {
            absorb(shape, definition, definitions, depth + 1);
        }
    }
    for branch in ["anyOf", "oneOf", "allOf"] {
        for option in schema.get(branch).and_then(Value::as_array).into_iter().flatten() {
            absorb(shape, option, definitions, depth + 1);
        }
    }
}

/// The greatest number that the field's Rust type holds.
fn widest(schema: &Value) -> Option<f64> {
    Some(match schema.get("format")?.as_str()? {
        "uint8" => f64::from(u8::MAX),
        "uint16" => f64::from(u16::MAX),
        "uint32" => f64::from(u32::MAX),
        "int8" => f64::from(i8::MAX),
        "int16" => f64::from(i16::MAX),
        "int32" => f64::from(i32::MAX),
        _ => return None,
    })
}

fn absorb_types(shape: &mut Shape, schema: &Value) {
    let listed = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    for word in listed {
        let types = &mut shape.types;
        match word {
            "null" => types.null = true,
            "boolean" => types.boolean = true,
            "integer" => types.integer = true,
            "number" => types.number = true,
            "string" => types.string = true,
            "array" => types.array = true,
            "object" => types.object = true,
            _ => {}
        }
    }
    let one = schema.get("const").into_iter();
    for word in schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(one) {
        match word {
            Value::String(word) => {
                shape.types.string = true;
                shape.words.push(word.clone());
            }
            Value::Null => shape.types.null = true,
            _ => {}
        }
    }
}

fn absorb_entries(shape: &mut Shape, schema: &Value, definitions: &Value, depth: usize) {
    if let Some(additional) = schema.get("additionalProperties").filter(|a| a.is_object() || **a == Value::Bool(true)) {
        shape.entries = Some(Box::new(compile(additional, definitions, depth + 1)));
    }
    if let Some((pattern, entry)) =
        schema.get("patternProperties").and_then(Value::as_object).and_then(|p| p.iter().next())
    {
        shape.key_pattern = Some(pattern.clone());
        shape.entries = Some(Box::new(compile(entry, definitions, depth + 1)));
    }
}

fn keep<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::base::{Name, Size};

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[allow(dead_code)]
    struct Disk {
        /// How large it is.
        #[schemars(extend("x-reeve-change" = "live"))]
        size: Option<Size>,
        bus: Option<Bus>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Bus {
        /// Fast.
        Virtio,
        /// Old.
        Ide,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Spec {
        #[schemars(extend("x-reeve-change" = "restart"))]
        disks: BTreeMap<Name, Disk>,
        tags: Option<Vec<String>>,
    }

    #[test]
    fn a_schema_compiles_to_fields_costs_and_words() {
        let shape = Shape::of::<Spec>();
        assert_eq!(shape.required, ["disks"]);
        assert!(shape.field("disks").unwrap().is_map());
        assert!(shape.field("disks").unwrap().key_pattern.is_some());
        let (size, change) = shape.find("disks.root.size").unwrap();
        assert_eq!(change, Disruption::Live);
        assert!(size.types.string && size.types.null);
        assert_eq!(size.description.as_deref(), Some("How large it is."));
        let (bus, change) = shape.find("disks.root.bus").unwrap();
        assert_eq!(change, Disruption::Restart);
        assert_eq!(bus.words, ["virtio", "ide"]);
        assert!(shape.find("disks.root.nope").is_none());
        assert_eq!(shape.field("tags").unwrap().type_words(), "list of text");
    }
}
