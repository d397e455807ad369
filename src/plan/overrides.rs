//! Overrides: single fields that shall for a while be other than their manifest says.
//!
//! They are laid over the manifests where a plan is made and where it is carried out, and nowhere else: what is accepted,
//! exported and checked is what the manifests say. One that no longer fits its manifest is passed over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::live::Accepted;
use crate::kinds::{Catalog, Places, Ref, Resource, Shape};

/// One field's value for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// What the field shall be; null is its documented default.
    pub value: Value,
    /// When it was asked for.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// Overrides of one resource, by the field below `spec`, such as `memory.size`.
pub type Overrides = BTreeMap<String, Override>;

impl Override {
    /// Until when, by whom and why, in words.
    pub fn words(&self) -> String {
        format!("until {} by {}: {}", when(self.until), self.who, self.reason)
    }
}

/// A moment as people read it.
pub fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The manifests with what is overridden.
pub fn over<'a>(catalog: &'a Catalog, accepted: &BTreeMap<Ref, Accepted>) -> Cow<'a, Catalog> {
    let mut laid = Cow::Borrowed(catalog);
    for (reference, facts) in accepted.iter().filter(|(_, facts)| !facts.overrides.is_empty()) {
        if let Some(resource) = catalog.get(reference) {
            laid.to_mut().insert(Arc::new(lay(resource, &facts.overrides)));
        }
    }
    laid
}

/// One manifest with what is overridden of it.
pub fn lay(resource: &Resource, overrides: &Overrides) -> Resource {
    let kind = resource.kind();
    let mut spec = resource.spec.clone();
    for (field, one) in overrides {
        let mut value = spec.to_value();
        let laid = set(&mut value, kind.shape(), field, &one.value);
        if let (Ok(()), Ok(typed)) = (laid, kind.spec(value)) {
            spec = typed;
        }
    }
    Resource { meta: resource.meta.clone(), spec, places: Places::default() }
}

/// Sets one field below `spec`; an entry of a map that is to be changed in part must be there.
pub fn set(spec: &mut Value, shape: &Shape, field: &str, value: &Value) -> Result<(), String> {
    let (mut here, mut shape) = (spec, Some(shape));
    let mut keys = field.split('.').peekable();
    while let Some(key) = keys.next() {
        if here.is_null() {
            *here = Value::Object(Map::new());
        }
        let entries = here.as_object_mut().ok_or_else(|| format!("what is around {key:?} has no fields of its own"))?;
        if keys.peek().is_none() {
            match value {
                Value::Null => drop(entries.shift_remove(key)),
                value => drop(entries.insert(key.to_owned(), value.clone())),
            }
            return Ok(());
        }
        if shape.is_some_and(Shape::is_map) && !entries.contains_key(key) {
            return Err(format!("its manifest has no {key:?}"));
        }
        here = entries.entry(key).or_insert(Value::Null);
        shape = shape.and_then(|shape| shape.below(key));
    }
    Ok(())
}

/// The override that a field which differs comes from: of itself, of what is around it, or of something in it.
pub fn behind<'a>(overrides: &'a Overrides, path: &str) -> Option<(&'a String, &'a Override)> {
    let within = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'))
    };
    overrides.iter().find(|(field, _)| within(path, field) || within(field, path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::KindName;

    #[test]
    fn a_field_is_set_where_its_manifest_has_room_for_it() {
        let shape = KindName::VirtualMachine.shape();
        let set = |mut spec: Value, field: &str, value: Value| set(&mut spec, shape, field, &value).map(|()| spec);
        assert_eq!(set(json!({}), "memory.size", json!("8Gi")), Ok(json!({"memory": {"size": "8Gi"}})));
        assert_eq!(set(json!({"memory": null}), "memory.size", json!("8Gi")), Ok(json!({"memory": {"size": "8Gi"}})));
        assert_eq!(set(json!({"cpu": {"weight": 5}}), "cpu.weight", Value::Null), Ok(json!({"cpu": {}})));
        let disks = json!({"disks": {"a": {"size": "1Gi"}}});
        assert!(set(disks.clone(), "disks.a.cache", json!("none")).is_ok());
        assert_eq!(set(disks, "disks.b.cache", json!("none")), Err("its manifest has no \"b\"".into()));
        assert!(set(json!({"runStrategy": "Always"}), "runStrategy.x", json!(1)).is_err());
    }

    #[test]
    fn a_difference_is_told_from_the_override_behind_it() {
        let one = Override {
            value: json!(1),
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
            who: "root".into(),
            reason: "test".into(),
        };
        let overrides = Overrides::from([("cpu.weight".to_owned(), one)]);
        for (path, is) in [("cpu.weight", true), ("cpu", true), ("cpu.weight.x", true), ("cpu.weights", false)] {
            assert_eq!(behind(&overrides, path).is_some(), is, "{path}");
        }
        let words = overrides["cpu.weight"].words();
        assert_eq!(words, "until 1970-01-01 00:00:00 UTC by root: test");
    }
}
