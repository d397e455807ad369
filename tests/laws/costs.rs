//! Every field says what changing it costs, so that a plan can never be silent about it.

use reeve::kinds::KindName;
use serde_json::Value;

/// Follows a schema to what it stands for.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}

/// The fields below a spec that no cost covers: neither they nor what they are in says one.
fn silent(schema: &Value, root: &Value, path: &str, covered: bool, found: &mut Vec<String>, depth: usize) {
    assert!(depth < 12, "{path} never ends");
    let here = resolve(schema, root);
    let says = covered || schema.get("x-reeve-change").is_some() || here.get("x-reeve-change").is_some();
    let several = ["anyOf", "oneOf", "allOf"].iter().filter_map(|k| here.get(*k)?.as_array()).flatten();
    let mut leaf = true;
    for one in several.filter(|s| resolve(s, root).get("properties").is_some()) {
        leaf = false;
        silent(one, root, path, says, found, depth + 1);
    }
    for (name, field) in here.get("properties").and_then(Value::as_object).into_iter().flatten() {
        leaf = false;
        silent(field, root, &format!("{path}.{name}"), says, found, depth + 1);
    }
    if let Some(entry) = here.get("additionalProperties").filter(|e| e.is_object()) {
        leaf = false;
        silent(entry, root, &format!("{path}.*"), says, found, depth + 1);
    }
    if leaf && !says {
        found.push(path.to_owned());
    }
}

#[test]
fn every_field_of_every_kind_says_what_changing_it_costs() {
    let mut found = Vec::new();
    for kind in KindName::ALL {
        let text = std::fs::read_to_string(format!("schemas/{}.schema.json", kind.short())).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let spec = &schema["properties"]["spec"];
        assert!(!spec.is_null(), "the schema of {kind} has no spec");
        let whole = resolve(spec, &schema);
        for (name, field) in whole["properties"].as_object().unwrap() {
            silent(field, &schema, &format!("{kind}.{name}"), false, &mut found, 0);
        }
    }
    assert!(found.is_empty(), "these fields say no cost: {found:#?}");
}

#[test]
fn a_field_that_says_nothing_is_found() {
    let schema = serde_json::json!({"properties": {"a": {"x-reeve-change": "live", "properties": {"b": {}}}, "c": {}}});
    let mut found = Vec::new();
    silent(&schema, &schema, "x", false, &mut found, 0);
    assert_eq!(found, ["x.c"]);
}
