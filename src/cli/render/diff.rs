//! A plan as a unified diff of YAML documents.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use similar::{ChangeTag, TextDiff};

use super::paint::Paint;
use super::plan::clean;
use crate::kinds::{Catalog, Scope};
use crate::plan::model::{Action, FieldChange, Plan, Step};

/// What the plan changes, resource by resource.
pub fn unified(plan: &Plan, catalog: &Catalog, paint: Paint) -> String {
    let mut out = String::new();
    for step in &plan.steps {
        one(&mut out, step, catalog, paint);
    }
    out
}

fn one(out: &mut String, step: &Step, catalog: &Catalog, paint: Paint) {
    let want = catalog.get(&step.resource).map(|r| r.spec.want(r.name(), &Scope::of(catalog))).unwrap_or_default();
    let (old, new) = match step.action {
        Action::Create => (String::new(), yaml(&want)),
        Action::Delete => (yaml(&want), String::new()),
        Action::Update => {
            let (mut old, mut new) = (want.clone(), want);
            for change in &step.fields {
                put(&mut old, change, &change.have);
                put(&mut new, change, &change.want);
            }
            (yaml(&old), yaml(&new))
        }
    };
    let name = |there: bool, side: &str| if there { format!("{side}/{}", step.resource) } else { "/dev/null".into() };
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    let hunks = diff.unified_diff();
    let mut first = true;
    for hunk in hunks.iter_hunks() {
        if first {
            let _ = writeln!(out, "{}", paint.strong(&format!("--- {}", name(!old.is_empty(), "live"))));
            let _ = writeln!(out, "{}", paint.strong(&format!("+++ {}", name(!new.is_empty(), "manifest"))));
            first = false;
        }
        let _ = writeln!(out, "{}", paint.mark(&hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let text = clean(change.value().trim_end_matches('\n'));
            let _ = match change.tag() {
                ChangeTag::Delete => writeln!(out, "{}", paint.bad(&format!("-{text}"))),
                ChangeTag::Insert => writeln!(out, "{}", paint.good(&format!("+{text}"))),
                ChangeTag::Equal => writeln!(out, " {text}"),
            };
        }
    }
}

fn yaml(value: &Value) -> String {
    if value.as_object().is_some_and(Map::is_empty) {
        return String::new();
    }
    serde_yaml::to_string(value).unwrap_or_else(|e| format!("# cannot be shown: {e}\n"))
}

/// Sets the changed field in a document; null takes it out.
fn put(document: &mut Value, change: &FieldChange, to: &Value) {
    let mut here = document;
    let mut keys = change.path.split('.').peekable();
    while let Some(key) = keys.next() {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        let Some(entries) = here.as_object_mut() else { return };
        if keys.peek().is_none() {
            if to.is_null() {
                entries.shift_remove(key);
            } else {
                entries.insert(key.to_owned(), to.clone());
            }
            return;
        }
        here = entries.entry(key).or_insert_with(|| Value::Object(Map::new()));
    }
}
