//! A plan for people: as text in a terminal, as markdown in a pull request.

use std::fmt::Write as _;

use serde_json::Value;

use super::diagnostics::is_unsafe;
use super::paint::Paint;
use crate::base::Disruption;
use crate::plan::model::{Action, Cause, FieldChange, Plan, Readiness, Step, short};

/// Which fields of what is created are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Those that are not at their documented default.
    Telling,
    /// All of them.
    All,
}

/// The fields of a step to show, and how many are left out.
fn shown(step: &Step, shown: Shown) -> (Vec<&FieldChange>, usize) {
    let all = shown == Shown::All || step.action != Action::Create;
    let fields: Vec<&FieldChange> = step.fields.iter().filter(|field| all || !is_default(step, field)).collect();
    let hidden = step.fields.len() - fields.len();
    (fields, hidden)
}

/// Whether a field of a new resource is as it would be without being written; a list left out is empty.
fn is_default(step: &Step, field: &FieldChange) -> bool {
    let default = step.resource.kind.shape().find(&field.path).and_then(|(shape, _)| shape.default.as_ref());
    default.map_or_else(|| field.want.as_array().is_some_and(Vec::is_empty), |default| *default == field.want)
}

/// How many fields are left out, in words.
fn and_defaults(hidden: usize) -> Option<String> {
    match hidden {
        0 => None,
        1 => Some("… and 1 default".into()),
        n => Some(format!("… and {n} defaults")),
    }
}

/// The plan as a person reads it in a terminal.
pub fn text(plan: &Plan, which: Shown, paint: Paint) -> String {
    let mut out = String::new();
    if plan.is_empty() {
        let _ = writeln!(out, "Nothing to do: {} as the manifests say.", resources(plan.summary.unchanged));
        return out;
    }
    for step in &plan.steps {
        head(&mut out, step, paint);
        let (fields, hidden) = shown(step, which);
        let width = fields.iter().map(|f| f.path.chars().count()).max().unwrap_or(0).min(44);
        for field in fields {
            line(&mut out, step, field, width, paint);
        }
        if let Some(rest) = and_defaults(hidden) {
            let _ = writeln!(out, "      {}", paint.faint(&rest));
        }
        if let Some((word, why)) = note(step) {
            let _ = writeln!(out, "      {} {}", paint.warn(word), clean(why));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}  {}", paint.strong(&summary(plan)), paint.faint(&format!("plan {}", short(&plan.hash))));
    out
}

fn resources(count: usize) -> String {
    match count {
        1 => "1 resource is".into(),
        n => format!("{n} resources are"),
    }
}

/// The counts of a plan in one sentence.
pub fn summary(plan: &Plan) -> String {
    let s = &plan.summary;
    let mut parts =
        vec![format!("{} to create", s.create), format!("{} to update", s.update), format!("{} to delete", s.delete)];
    if s.pending > 0 {
        parts.push(format!("{} pending", s.pending));
    }
    if s.blocked > 0 {
        parts.push(format!("{} blocked", s.blocked));
    }
    format!("Plan: {}, {} unchanged.", parts.join(", "), s.unchanged)
}

fn sign(step: &Step) -> &'static str {
    match (&step.readiness, step.action) {
        (Readiness::Blocked(_), _) => "!",
        (Readiness::Pending(_), _) => "·",
        (_, Action::Create) => "+",
        (_, Action::Update) => "~",
        (_, Action::Delete) => "-",
    }
}

fn colour(step: &Step, text: &str, paint: Paint) -> String {
    match sign(step) {
        "+" => paint.good(text),
        "-" | "!" => paint.bad(text),
        _ => paint.warn(text),
    }
}

/// The word for what happens to a step.
pub fn word(step: &Step) -> &'static str {
    match (&step.readiness, step.action) {
        (Readiness::Blocked(_), _) => "blocked",
        (Readiness::Pending(_), _) => "pending",
        (_, Action::Create) => "create",
        (_, Action::Update) => "update",
        (_, Action::Delete) => "delete",
    }
}

fn head(out: &mut String, step: &Step, paint: Paint) {
    let sign = sign(step);
    let title = format!("{sign} {}", step.resource);
    let cost = match step.disruption {
        Disruption::None => String::new(),
        cost => format!(", {}", phrase(cost)),
    };
    let _ = writeln!(
        out,
        "  {}  {}{}: {}",
        colour(step, &paint.strong(&title), paint),
        word(step),
        cost,
        paint.faint(&clean(&step.reason))
    );
}

/// What a disruption means for the guest.
pub fn phrase(disruption: Disruption) -> &'static str {
    match disruption {
        Disruption::None => "nothing is disturbed",
        Disruption::Live => "done while it runs",
        Disruption::Restart => "the guest stops or restarts",
        Disruption::Migrate => "the guest moves",
        Disruption::Destroy => "DATA IS LOST",
    }
}

fn line(out: &mut String, step: &Step, field: &FieldChange, width: usize, paint: Paint) {
    let path = format!("{:width$}", field.path);
    let body = if step.action == Action::Create {
        paint.good(&value(&field.want))
    } else {
        format!("{} → {}", paint.bad(&value(&field.have)), paint.good(&value(&field.want)))
    };
    let mut notes = Vec::new();
    if field.disruption != Disruption::None {
        notes.push(field.disruption.word());
    }
    if field.pending {
        notes.push("configured, waits for a restart");
    } else if field.cause == Cause::Drift {
        notes.push("drift");
    }
    let notes = if notes.is_empty() { String::new() } else { format!("  {}", paint.faint(&notes.join(", "))) };
    let _ = writeln!(out, "      {path}  {body}{notes}");
}

fn note(step: &Step) -> Option<(&'static str, &str)> {
    match &step.readiness {
        Readiness::Ready => None,
        Readiness::Partly(why) => Some(("in part:", why)),
        Readiness::Pending(why) => Some(("waits:", why)),
        Readiness::Blocked(why) => Some(("blocked:", why)),
    }
}

/// A value in one line; long ones are shortened.
pub fn value(value: &Value) -> String {
    let text = match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    };
    let text = if text.chars().count() > 100 { text.chars().take(99).chain(['…']).collect() } else { text };
    clean(&text)
}

/// Text in which what a terminal would obey, or show in another order, is written out.
pub(super) fn clean(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_unsafe(c) {
            out.extend(c.escape_unicode())
        } else {
            out.push(c)
        }
        out
    })
}

fn plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_control() && c != '"' && c != '→') && text.trim() == text
}

/// The plan as markdown, for a pull request.
pub fn markdown(plan: &Plan, which: Shown) -> String {
    let mut out = String::from("### Reeve plan\n\n");
    if plan.is_empty() {
        let _ = writeln!(out, "Nothing to do: {} as the manifests say.", resources(plan.summary.unchanged));
        return out;
    }
    let _ = writeln!(out, "{}\n", summary(plan));
    out.push_str("| | Resource | Action | Cost to the guest | Why |\n|---|---|---|---|---|\n");
    for step in &plan.steps {
        let why = note(step).map_or(String::new(), |(word, why)| format!("; **{word}** {}", cell(why)));
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {} | {}{why} |",
            sign(step),
            step.resource,
            word(step),
            phrase(step.disruption),
            cell(&step.reason)
        );
    }
    for step in plan.steps.iter().filter(|s| !s.fields.is_empty()) {
        let _ = writeln!(out, "\n<details><summary><code>{}</code></summary>\n\n```diff", step.resource);
        let (fields, hidden) = shown(step, which);
        for field in fields {
            let cost = match field.disruption {
                Disruption::None => String::new(),
                cost => format!("  # {cost}"),
            };
            let last = if field.want.is_null() { cost.as_str() } else { "" };
            if !field.have.is_null() {
                let _ = writeln!(out, "- {}: {}{last}", field.path, value(&field.have));
            }
            if !field.want.is_null() {
                let _ = writeln!(out, "+ {}: {}{cost}", field.path, value(&field.want));
            }
        }
        if let Some(rest) = and_defaults(hidden) {
            let _ = writeln!(out, "# {rest}");
        }
        out.push_str("```\n</details>\n");
    }
    let _ = writeln!(out, "\nPlan `{}`", short(&plan.hash));
    out
}

fn cell(text: &str) -> String {
    clean(&text.replace('|', "\\|").replace('\n', " "))
}
