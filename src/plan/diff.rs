//! Compares two canonical specs field by field; knows the schema, and nothing of any kind.

use serde_json::{Map, Value};

use crate::base::Disruption;
use crate::kinds::Shape;
use crate::plan::model::{Cause, FieldChange};

/// The fields in which `have` is not as `want` says.
///
/// A field that `want` leaves out is unmanaged, unless `applied` had it: then it was taken out of the manifest and
/// shall return to its default. An entry of a map that `want` has not goes the same way. `have` holds only what is
/// ours, so an entry there that was never applied is drift and is removed from the guest, never from storage.
pub fn diff(want: &Value, have: &Value, applied: Option<&Value>, shape: &Shape) -> Vec<FieldChange> {
    let mut found = Vec::new();
    let mut path = String::new();
    let at = At { shape: Some(shape), change: shape.change.unwrap_or_default() };
    compare(want, have, applied, at, &mut path, &mut found);
    found
}

#[derive(Clone, Copy)]
struct At<'a> {
    shape: Option<&'a Shape>,
    change: Disruption,
}

impl<'a> At<'a> {
    fn below(self, key: &str) -> Self {
        let shape = self.shape.and_then(|s| s.below(key));
        Self { shape, change: shape.and_then(|s| s.change).unwrap_or(self.change) }
    }

    fn is_map(self) -> bool {
        self.shape.is_some_and(Shape::is_map)
    }
}

fn compare(
    want: &Value,
    have: &Value,
    applied: Option<&Value>,
    at: At<'_>,
    path: &mut String,
    found: &mut Vec<FieldChange>,
) {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => objects(want, have, applied, at, path, found),
        // A struct that the driver leaves out is one whose every field is at its default.
        (Value::Object(want), Value::Null) if !at.is_map() && at.shape.is_some_and(|s| !s.fields.is_empty()) => {
            objects(want, &Map::new(), applied, at, path, found);
        }
        _ if want == have => {}
        _ => found.push(FieldChange {
            path: path.clone(),
            have: have.clone(),
            want: want.clone(),
            disruption: at.change,
            cause: cause(want, applied),
            pending: false,
        }),
    }
}

fn objects(
    want: &Map<String, Value>,
    have: &Map<String, Value>,
    applied: Option<&Value>,
    at: At<'_>,
    path: &mut String,
    found: &mut Vec<FieldChange>,
) {
    let length = path.len();
    let enter = |key: &str, path: &mut String| {
        path.truncate(length);
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
    };
    for (key, wanted) in want {
        enter(key, path);
        let had = have.get(key);
        let applied = applied.and_then(|a| a.get(key));
        if at.is_map() && had.is_none() {
            push(path, &Value::Null, wanted, at.below(key).change, cause(wanted, applied), found);
        } else {
            compare(wanted, had.unwrap_or(&Value::Null), applied, at.below(key), path, found);
        }
    }
    for (key, had) in have.iter().filter(|(key, had)| !want.contains_key(*key) && !had.is_null()) {
        let was_applied = applied.and_then(|a| a.get(key)).is_some_and(|a| !a.is_null());
        if at.is_map() || was_applied {
            enter(key, path);
            let cause = if was_applied { Cause::Change } else { Cause::Drift };
            push(path, had, &Value::Null, at.below(key).change, cause, found);
        }
    }
    path.truncate(length);
}

fn push(path: &str, have: &Value, want: &Value, disruption: Disruption, cause: Cause, found: &mut Vec<FieldChange>) {
    found.push(FieldChange {
        path: path.to_owned(),
        have: have.clone(),
        want: want.clone(),
        disruption,
        cause,
        pending: false,
    });
}

/// Drift, when what is wanted is what was applied already; a change otherwise.
fn cause(want: &Value, applied: Option<&Value>) -> Cause {
    if applied.is_some_and(|a| a == want) { Cause::Drift } else { Cause::Change }
}
