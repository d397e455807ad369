//! `reeve explain`: a kind or a field in words, from the same schema that checks and compares.

use std::fmt::Write as _;

use crate::base::Disruption;
use crate::cli::args::Explain;
use crate::cli::error::{CliError, Exit, Result};
use crate::cli::render::paint::Paint;
use crate::cli::render::{self, plan::phrase};
use crate::cli::session::Session;
use crate::drivers::storage;
use crate::kinds::{KindName, Shape};

/// Explains.
pub fn run(session: &Session, args: &Explain) -> Result {
    let Some(path) = &args.path else {
        print!("{}", kinds());
        return Ok(Exit::Done);
    };
    let (kind, rest) = path.split_once('.').unwrap_or((path, ""));
    let rest = rest.strip_prefix("spec").map_or(rest, |r| r.strip_prefix('.').unwrap_or(r));
    let kind = KindName::find(kind).ok_or_else(|| {
        CliError::with_help(format!("{kind:?} is no kind"), format!("the kinds are {}", KindName::shorts()))
    })?;
    if kind.short() == "storage"
        && let Some((driver, option)) =
            rest.split_once('.').or(Some((rest, ""))).filter(|(d, _)| storage::find(d).is_some())
        && let Some(found) = storage::find(driver)
    {
        print!("{}", one(path, found.shape(), option, args.recursive, session.paint)?);
        return Ok(Exit::Done);
    }
    print!("{}", one(path, kind.shape(), rest, args.recursive, session.paint)?);
    Ok(Exit::Done)
}

fn kinds() -> String {
    let rows = KindName::ALL.iter().map(|kind| {
        let words = kind.shape().description.clone().unwrap_or_default();
        let first = words.lines().next().unwrap_or_default().to_owned();
        vec![kind.as_str().to_owned(), kind.short().to_owned(), first]
    });
    render::table::table(&["kind", "short", "what it is"], rows.collect())
}

fn one(full: &str, shape: &Shape, path: &str, recursive: bool, paint: Paint) -> Result<String> {
    let (found, change) = shape.find(path).ok_or_else(|| unknown(full, shape, path))?;
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", paint.strong(full), found.type_words());
    if let Some(words) = &found.description {
        let _ = writeln!(out, "  {}", words.replace('\n', "\n  "));
    }
    for (label, text) in facts(found, change, path) {
        let _ = writeln!(out, "  {}: {text}", paint.mark(label));
    }
    let inside = if found.is_map() { found.entries.as_deref() } else { Some(found) };
    let inside = inside.or(found.items.as_deref()).filter(|s| !s.fields.is_empty());
    if let Some(inside) = inside {
        let key = if found.is_map() { "NAME." } else { "" };
        let _ = writeln!(out, "\n{}", paint.strong("Fields:"));
        fields(&mut out, inside, change, &format!("  {key}"), recursive, paint);
    }
    Ok(out)
}

fn facts(shape: &Shape, change: Disruption, path: &str) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(default) = &shape.default {
        facts.push(("default", render::plan::value(default)));
    }
    if let Some(rule) = &shape.rule {
        facts.push(("rule", rule.clone()));
    }
    if let (Some(min), Some(max)) = (shape.minimum, shape.maximum) {
        facts.push(("range", format!("{min} to {max}")));
    }
    if let Some(example) = &shape.example {
        facts.push(("example", render::plan::value(example)));
    }
    if !path.is_empty() {
        facts.push(("changing it", format!("{change}: {}", phrase(change))));
    }
    facts
}

fn fields(out: &mut String, shape: &Shape, change: Disruption, indent: &str, recursive: bool, paint: Paint) {
    for (name, field) in &shape.fields {
        let change = field.change.unwrap_or(change);
        let must = if shape.required.contains(name) { ", required" } else { "" };
        let default =
            field.default.as_ref().map(|d| format!(", default {}", render::plan::value(d))).unwrap_or_default();
        let _ = writeln!(
            out,
            "{indent}{}  {}",
            paint.strong(name),
            paint.faint(&format!("{}{must}{default}; changing it: {change}", field.type_words()))
        );
        if let Some(words) = field.description.as_deref().and_then(|d| d.lines().next()) {
            let _ = writeln!(out, "{indent}    {words}");
        }
        let inside = field.entries.as_deref().or(field.items.as_deref()).unwrap_or(field);
        if recursive && !inside.fields.is_empty() {
            fields(out, inside, change, &format!("{indent}    "), recursive, paint);
        }
    }
}

fn unknown(full: &str, shape: &Shape, path: &str) -> CliError {
    let mut here = shape;
    let mut good = String::new();
    for key in path.split('.') {
        match here.below(key).or(here.items.as_deref()) {
            Some(below) => {
                here = below;
                good = format!("{good}.{key}");
            }
            None => break,
        }
    }
    let names: Vec<&str> = here.fields.iter().map(|(n, _)| n.as_str()).collect();
    let at = if good.is_empty() { "there".to_owned() } else { format!("below `{}`", good.trim_start_matches('.')) };
    CliError::with_help(format!("{full} is no field"), format!("the fields {at} are {}", names.join(", ")))
}
