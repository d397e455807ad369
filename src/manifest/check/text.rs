//! Scalars against a shape: what a plain one is taken for, and the rules for texts and numbers.

use std::cell::RefCell;
use std::collections::HashMap;

use regex_lite::Regex;
use serde_json::{Number, Value};

use super::{Path, whole, wrong_type};
use crate::base::id::{NAME_PATTERN, NAME_RULE};
use crate::kinds::Shape;
use crate::manifest::found::Found;
use crate::manifest::parse::Spot;
use crate::manifest::scalar::{self, Plain};
use crate::manifest::suggest::{list, nearest, quoted};
use crate::manifest::{quantity, suggest};

/// What the field wants, for people.
pub fn wanted(shape: &Shape) -> String {
    match &shape.format {
        Some(format) if format == "duration" => "a time span such as 30s".to_owned(),
        Some(format) if format == "size" => "a size such as 20Gi".to_owned(),
        Some(format) if format == "rate" => "a rate such as 100Mbps".to_owned(),
        _ if !shape.words.is_empty() => format!("one of {}", list(shape.words.iter().map(String::as_str), 20)),
        _ => match shape.type_words() {
            _ if !shape.fields.is_empty() => "a map of its fields".to_owned(),
            words if words == "text" || words.starts_with("true") => words,
            words => format!("a {words}"),
        },
    }
}

/// A scalar without quotes.
pub fn plain(text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let types = shape.types;
    let read = scalar::read(text);
    match read {
        Plain::Null if types.null => return Value::Null,
        Plain::Null if text.is_empty() => return no_value(shape, path, found),
        Plain::Bool(value) if types.boolean => return Value::Bool(value),
        Plain::Int(n) if types.integer || types.number => return integer(n, text, shape, spot, path, found),
        Plain::Float(n) if types.number => return number(n, text, shape, spot, path, found),
        _ => {}
    }
    if let Some(format) = shape.format.as_deref().filter(|f| quantity::is_quantity(f)) {
        return quantity(format, text, spot, path, found);
    }
    if types.string {
        let reading = match shape.words.iter().any(|word| word == text) {
            // A word of the list is what it says, unless every YAML program reads it as something else.
            true => scalar::surprise(text).filter(|_| read != Plain::Text),
            false if shape.words.is_empty() => scalar::surprise(text),
            false => None,
        };
        return match reading {
            Some(reading) => surprise(text, reading, shape, spot, path, found),
            None => check_text(text, shape, spot, path, found),
        };
    }
    if types.boolean
        && let Some(value) = scalar::old_bool(text)
    {
        let message = format!("{path} is {text}, which is a text; true or false is needed");
        found.error("manifest/wrong-type", spot, message, format!("write {value}"));
        return Value::Null;
    }
    if types.integer || types.number {
        return not_a_number(text, shape, spot, path, found);
    }
    wrong_type(&described(text, read), shape, spot, path, found)
}

/// A scalar in quotes or of several lines.
pub fn quoted_text(text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let types = shape.types;
    if let Some(format) = shape.format.as_deref().filter(|f| quantity::is_quantity(f)) {
        return quantity(format, text, spot, path, found);
    }
    if types.string {
        return check_text(text, shape, spot, path, found);
    }
    let bare = match scalar::read(text) {
        Plain::Int(_) => types.integer || types.number,
        Plain::Float(_) => types.number,
        Plain::Bool(_) => types.boolean,
        _ => false,
    };
    if bare {
        let message = format!("{path} is the text {} where {} is needed", quoted(text), wanted(shape));
        found.error("manifest/wrong-type", spot, message, format!("take the quotes away: {text}"));
        return Value::Null;
    }
    wrong_type(&format!("the text {}", quoted(text)), shape, spot, path, found)
}

fn described(text: &str, read: Plain) -> String {
    match read {
        Plain::Null => "null".to_owned(),
        Plain::Bool(_) => text.to_owned(),
        Plain::Int(_) | Plain::Float(_) => format!("the number {text}"),
        Plain::Text => format!("the text {}", quoted(text)),
    }
}

fn no_value(shape: &Shape, path: Path<'_>, found: &mut Found) -> Value {
    let message = format!("{path} has no value; {} is needed", wanted(shape));
    let help = match (&shape.default, shape.types.object) {
        (Some(default), _) => format!("write a value, or take the field out for its default, {default}"),
        (None, true) => "write its fields below it, further indented, or {} for none".to_owned(),
        (None, false) => "write a value, or take the field out".to_owned(),
    };
    found.error("manifest/wrong-type", path.spot, message, help);
    Value::Null
}

/// A plain scalar that would not stay the text it is meant to be.
fn surprise(text: &str, reading: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let message = format!("{path} is a text, but {text} without quotes is read as {reading}");
    let mut help = format!("write it in quotes: {text:?}");
    if matches!(scalar::read(text), Plain::Null) {
        help += if shape.required.is_empty() { ", or take the field out" } else { "" };
    }
    found.error("manifest/write-in-quotes", spot, message, help);
    Value::Null
}

fn quantity(format: &str, text: &str, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    if let Err((problem, help)) = quantity::check(format, text) {
        let code = match format {
            "size" => "manifest/bad-size",
            "rate" => "manifest/bad-rate",
            _ => "manifest/bad-duration",
        };
        found.error(code, spot, format!("{path}: {problem}"), help);
        return Value::Null;
    }
    Value::String(text.to_owned())
}

fn integer(n: Option<i128>, text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let digits = text.trim_start_matches(['-', '+']);
    let Some(n) = n else {
        return out_of_range(text, shape, spot, path, found);
    };
    if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        let message =
            format!("{path} is {text}; a number that starts with 0 is octal to some programs and not to others");
        found.error("manifest/leading-zero", spot, message, format!("write {n}, or an octal number as 0o17"));
        return Value::Null;
    }
    #[allow(clippy::cast_precision_loss)]
    let close = n as f64;
    if !in_range(close, shape) {
        return out_of_range(text, shape, spot, path, found);
    }
    whole(n)
}

fn number(n: f64, text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    match Number::from_f64(n) {
        Some(number) if in_range(n, shape) => Value::Number(number),
        _ => out_of_range(text, shape, spot, path, found),
    }
}

fn in_range(n: f64, shape: &Shape) -> bool {
    shape.minimum.is_none_or(|least| n >= least) && shape.maximum.is_none_or(|most| n <= most)
}

fn out_of_range(text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let range = match (shape.minimum, shape.maximum) {
        (Some(least), Some(most)) => format!("a number from {least} to {most}"),
        (Some(least), None) => format!("a number of {least} or more"),
        (None, Some(most)) => format!("a number of {most} or less"),
        (None, None) => "a smaller number".to_owned(),
    };
    let message = format!("{path} is {}, which is out of range", suggest::quoted(text).trim_matches('"'));
    found.error("manifest/out-of-range", spot, message, format!("write {range}"));
    Value::Null
}

fn not_a_number(text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let bare = text.replace('_', "");
    let help = match scalar::read(&bare) {
        Plain::Int(Some(n)) => format!("write {n}"),
        #[allow(clippy::cast_possible_truncation)]
        Plain::Float(n) if n.fract() == 0.0 && n.abs() < 1e15 => format!("write {}", n as i64),
        _ => format!("write {}", wanted(shape)),
    };
    let what = described(text, scalar::read(text));
    found.error("manifest/wrong-type", spot, format!("{path} is {what} where {} is needed", wanted(shape)), help);
    Value::Null
}

/// The rules for texts: words, pattern, length.
fn check_text(text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    if !shape.words.is_empty() {
        return word(text, shape, spot, path, found);
    }
    if let Some(pattern) = &shape.pattern
        && !matches(pattern, text)
    {
        bad_pattern(text, pattern, shape.rule.as_deref(), spot, path, found);
        return Value::Null;
    }
    if let Some(most) = shape.max_length
        && text.chars().count() as u64 > most
    {
        let message = format!("{path} has {} characters; at most {most} are allowed", text.chars().count());
        found.error("manifest/too-long", spot, message, "write less");
        return Value::Null;
    }
    Value::String(text.to_owned())
}

fn word(text: &str, shape: &Shape, spot: Spot, path: Path<'_>, found: &mut Found) -> Value {
    let words = || shape.words.iter().map(String::as_str);
    if words().any(|word| word == text) {
        return Value::String(text.to_owned());
    }
    let help = match nearest(text, words()) {
        Some(near) => format!("did you mean `{near}`? The words are {}", list(words(), 20)),
        None => format!("write one of {}", list(words(), 20)),
    };
    found.error("manifest/unknown-word", spot, format!("{path} cannot be {}", quoted(text)), help);
    Value::Null
}

/// Reports a text that does not look as it must; names have a code of their own.
pub fn bad_pattern(text: &str, pattern: &str, rule: Option<&str>, spot: Spot, path: Path<'_>, found: &mut Found) {
    if pattern == NAME_PATTERN {
        let message = format!("{path}: {} cannot be a name", quoted(text));
        let help = match name_like(text) {
            Some(name) => format!("write {name}; a name has {NAME_RULE}"),
            None => format!("a name has {NAME_RULE}"),
        };
        found.error("manifest/bad-name", spot, message, help);
        return;
    }
    let message = format!("{path}: {} does not have the right form", quoted(text));
    let help = rule.map_or_else(|| format!("it must match {pattern}"), |rule| format!("write {rule}"));
    found.error("manifest/bad-form", spot, message, help);
}

/// A name that is close to what was written.
fn name_like(text: &str) -> Option<String> {
    let usable = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = text.chars().map(usable).collect();
    let name = name.trim_matches('-');
    (crate::base::id::is_name(name)).then(|| name.to_owned())
}

/// Whether a text has the form of a schema's pattern; a pattern that cannot be compiled is met by anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
    }
    if pattern == NAME_PATTERN {
        return crate::base::id::is_name(text);
    }
    COMPILED.with_borrow_mut(|compiled| {
        if !compiled.contains_key(pattern) {
            compiled.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        compiled.get(pattern).and_then(Option::as_ref).is_none_or(|regex| regex.is_match(text))
    })
}
