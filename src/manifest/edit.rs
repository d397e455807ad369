//! Edits the text of a manifest as a person would: what changes is written, comments and all else stay as they are.

use serde_json::{Map, Value};
use yamlpatch::{Op, Patch};
use yamlpath::{Component, Document, Route};

use super::parse;

/// What one field below `spec` shall say; nothing takes it out.
pub type Edit<'a> = (&'a str, Option<&'a Value>);

/// The text of a file in which the document that has something on `line` says what the edits say.
pub fn edit(text: &str, line: u32, edits: &[Edit<'_>]) -> Result<String, String> {
    let pieces = parse::pieces(text);
    let piece = pieces.iter().rev().find(|piece| piece.line <= line).ok_or("there is no such document")?;
    let start = piece.text.as_ptr().addr() - text.as_ptr().addr();
    let (before, rest) = text.split_at(start);
    let (own, after) = rest.split_at(piece.text.len());
    let mut own = own.to_owned();
    for (path, value) in edits {
        own = one(&own, path, *value).map_err(|why| format!("spec.{path}: {why}"))?;
    }
    Ok(format!("{before}{own}{after}"))
}

fn one(text: &str, path: &str, value: Option<&Value>) -> Result<String, String> {
    let keys: Vec<&str> = std::iter::once("spec").chain(path.split('.')).collect();
    let there = found(text, &keys)?;
    let edited = match value {
        None if !there => return Ok(text.to_owned()),
        None => apply(text, &keys, Op::Remove)?,
        // A list in brackets cannot be replaced in its place by one that is not.
        Some(value @ (Value::Array(_) | Value::Object(_))) if there => {
            add(&apply(text, &keys, Op::Remove)?, &keys, value)?
        }
        Some(value) if there => apply(text, &keys, Op::Replace(yaml(value)?))?,
        Some(value) => add(text, &keys, value)?,
    };
    let says = serde_yaml::from_str::<Value>(&edited).map_err(|e| e.to_string())?;
    let says = keys.iter().try_fold(&says, |value, key| value.get(key));
    if says == value { Ok(edited) } else { Err("this text cannot be edited by a program; edit it by hand".to_owned()) }
}

/// Adds a field, with whatever must be around it.
fn add(text: &str, keys: &[&str], value: &Value) -> Result<String, String> {
    let mut depth = keys.len() - 1;
    while depth > 0 && !found(text, &keys[..depth])? {
        depth -= 1;
    }
    let mut text = text.to_owned();
    for depth in depth..keys.len() - 1 {
        text = put(&text, &keys[..=depth], &Value::Object(Map::new()))?;
    }
    match value {
        // The library writes no more than one level at a time.
        Value::Object(entries) if entries.values().any(|v| v.is_object() || v.is_array()) => {
            text = put(&text, keys, &Value::Object(Map::new()))?;
            for (key, value) in entries {
                let keys: Vec<&str> = keys.iter().copied().chain([key.as_str()]).collect();
                text = add(&text, &keys, value)?;
            }
            Ok(text)
        }
        value => put(&text, keys, value),
    }
}

/// Adds a field to what is there.
fn put(text: &str, keys: &[&str], value: &Value) -> Result<String, String> {
    let Some((last, around)) = keys.split_last() else { return Err("there is no field".to_owned()) };
    apply(text, around, Op::Add { key: (*last).to_owned(), value: yaml(value)? })
}

/// Whether the document has something there.
fn found(text: &str, keys: &[&str]) -> Result<bool, String> {
    let says = serde_yaml::from_str::<Value>(text).map_err(|e| e.to_string())?;
    Ok(keys.iter().try_fold(&says, |value, key| value.get(key)).is_some())
}

fn apply(text: &str, keys: &[&str], operation: Op<'_>) -> Result<String, String> {
    let document = Document::new(text).map_err(|e| e.to_string())?;
    let route = Route::from(keys.iter().map(|key| Component::Key((*key).into())).collect::<Vec<_>>());
    let patched = yamlpatch::apply_yaml_patches(&document, &[Patch { route, operation }]).map_err(|e| e.to_string())?;
    Ok(patched.source().to_owned())
}

fn yaml(value: &Value) -> Result<yaml_serde::Value, String> {
    yaml_serde::to_value(value).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "# before
apiVersion: reeve/v1
kind: Storage
metadata: {name: local}
---
# web
apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: web}   # its name
spec:
  cpu: {cores: 2}
  memory:
    size: 2Gi   # two
  # its disks
  disks:
    root:
      size: 10Gi
    data: {size: 1Gi, cache: none}
  tags: [a, b]
---
apiVersion: reeve/v1
kind: Container
metadata: {name: dns}
spec:
  cpu: {cores: 2}
";

    fn edited(path: &str, value: Option<Value>) -> String {
        let new = edit(TEXT, 9, &[(path, value.as_ref())]).unwrap();
        let diff = similar::TextDiff::from_lines(TEXT, &new);
        let lines = diff.iter_all_changes().filter(|c| c.tag() != similar::ChangeTag::Equal);
        lines.map(|c| format!("{}{}", c.tag(), c.value())).collect()
    }

    #[test]
    fn what_would_read_as_something_else_is_left_to_a_person() {
        let no = json!("NO");
        let done = edit(TEXT, 9, &[("description", Some(&no))]);
        assert!(
            done.as_ref().is_err_and(|why| why.contains("by hand")) || done.is_ok_and(|text| text.contains("\"NO\""))
        );
    }

    #[test]
    fn only_the_field_changes() {
        assert_eq!(edited("memory.size", Some(json!("4Gi"))), "-    size: 2Gi   # two\n+    size: 4Gi   # two\n");
        assert_eq!(edited("cpu.weight", Some(json!(300))), "-  cpu: {cores: 2}\n+  cpu: { cores: 2, weight: 300 }\n");
        assert_eq!(edited("memory.balloon", Some(json!(false))), "+    balloon: false\n");
        assert_eq!(edited("disks.root.size", None), "-      size: 10Gi\n");
        assert_eq!(edited("disks.data", None), "-    data: {size: 1Gi, cache: none}\n");
        assert_eq!(edited("nothing.there", None), "");
        assert_eq!(edited("tags", Some(json!(["b", "c"]))), "-  tags: [a, b]\n+  tags: [b, c]\n");
        assert_eq!(edited("nics.eth0.network", Some(json!("lan"))), "+  nics: { eth0: { network: lan } }\n");
        let data = json!({"size": "1Gi", "limits": {"iops": 100}, "keys": ["a"]});
        assert_eq!(edited("disks.log", Some(data)), "+    log: { size: 1Gi, limits: { iops: 100 }, keys: [a] }\n");
    }
}
