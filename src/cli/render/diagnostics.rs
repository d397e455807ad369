//! Diagnostics for people, with the line of the file shown and marked, and as JSON for programs.
//!
//! Lines are read from the files only now, when they are shown. What the files contain is shown as it is, except for
//! control characters, which a terminal would obey, and the far ends of very long lines.

mod lines;

pub(super) use self::lines::is_unsafe;

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteSpanContents, SourceCode, SourceSpan};
use serde_json::{Value, json};

use self::lines::{Excerpt, Files};
use crate::base::{Diagnostic, Diagnostics, Place, Severity};

/// The width that messages are wrapped to.
const WIDTH: usize = 100;
/// How many diagnostics are shown in full; the rest takes a line each.
const MOST_IN_FULL: usize = 100;

/// Diagnostics for people, the counts last.
pub fn text(found: &Diagnostics, color: bool) -> String {
    if found.0.is_empty() {
        return String::new();
    }
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_width(WIDTH).with_links(false).without_primary_span_start();
    let mut files = Files::default();
    let mut text = String::new();
    for diagnostic in found.0.iter().take(MOST_IN_FULL) {
        let shown = Shown::new(diagnostic, &mut files);
        if handler.render_report(&mut text, &shown).is_err() {
            text += &clean(&diagnostic.to_string());
        }
        text.push('\n');
    }
    for diagnostic in found.0.iter().skip(MOST_IN_FULL) {
        text += &clean(&diagnostic.to_string());
        text.push('\n');
    }
    text += &counts(found);
    text.push('\n');
    text
}

/// How many there are, `3 errors, 1 warning`.
pub fn counts(found: &Diagnostics) -> String {
    let count = |severity: Severity| found.0.iter().filter(|d| d.severity == severity).count();
    let words = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "note")];
    let parts = words.into_iter().filter_map(|(severity, word)| match count(severity) {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Diagnostics for programs: `{"diagnostics": [{"severity", "code", "message", "file", "line", "column", "help"}]}`.
///
/// `length` says how many characters the place spans, `related` has the other places; both are left out when empty.
pub fn json(found: &Diagnostics) -> Value {
    json!({ "diagnostics": found.0.iter().map(one).collect::<Vec<_>>() })
}

fn one(diagnostic: &Diagnostic) -> Value {
    let Diagnostic { severity, code, message, place, help, related } = diagnostic;
    let mut value = json!({
        "severity": severity,
        "code": code,
        "message": message,
        "file": place.as_ref().map(|p| &*p.file),
        "line": place.as_ref().map(|p| p.line),
        "column": place.as_ref().map(|p| p.column),
        "help": help,
    });
    if let Some(length) = place.as_ref().map(|p| p.length).filter(|length| *length > 0) {
        value["length"] = length.into();
    }
    if !related.is_empty() {
        let place =
            |(p, why): &(Place, String)| json!({"message": why, "file": &*p.file, "line": p.line, "column": p.column});
        value["related"] = related.iter().map(place).collect();
    }
    value
}

/// Text without characters that a terminal would obey.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || !lines::is_unsafe(c) { c } else { '\u{fffd}' }).collect()
}

/// A diagnostic as miette shows it.
struct Shown {
    message: String,
    code: &'static str,
    severity: Severity,
    help: Option<String>,
    excerpt: Option<Source>,
    label: Option<String>,
    related: Vec<Shown>,
}

impl Shown {
    fn new(diagnostic: &Diagnostic, files: &mut Files) -> Self {
        let Diagnostic { severity, code, message, place, help, related } = diagnostic;
        let excerpt = place.as_ref().and_then(|place| Source::new(place, files));
        let mut message = clean(message);
        if let (None, Some(place)) = (&excerpt, place) {
            message += &clean(&format!("\n{}:{}:{}", place.file, place.line, place.column));
        }
        let also = related.iter().map(|(place, why)| Self::also(place, why, files)).collect();
        let help = help.as_deref().map(clean);
        Self { message, code, severity: *severity, help, excerpt, label: None, related: also }
    }

    fn also(place: &Place, why: &str, files: &mut Files) -> Self {
        let excerpt = Source::new(place, files);
        let message = match excerpt {
            Some(_) => clean(why),
            None => clean(&format!("{why} ({}:{}:{})", place.file, place.line, place.column)),
        };
        Self { message, code: "", severity: Severity::Info, help: None, excerpt, label: None, related: Vec::new() }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown {}

impl miette::Diagnostic for Shown {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.code.is_empty()).then(|| Box::new(self.code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Excerpt { offset, length, .. } = self.excerpt.as_ref()?.excerpt;
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(self.label.clone(), (offset, length)))))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let related = self.related.iter().map(|r| r as &dyn miette::Diagnostic);
        (!self.related.is_empty()).then(|| Box::new(related) as Box<dyn Iterator<Item = _>>)
    }
}

/// Lines of a file as miette reads them, numbered as in the file.
struct Source {
    name: String,
    excerpt: Excerpt,
}

impl Source {
    fn new(place: &Place, files: &mut Files) -> Option<Self> {
        let excerpt = files.excerpt(place)?;
        Some(Self { name: clean(&format!("{}:{}:{}", place.file, place.line, place.column)), excerpt })
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let read = self.excerpt.text.as_str().read_span(span, before, after)?;
        let line = self.excerpt.first_line + read.line();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            read.data(),
            *read.span(),
            line,
            read.column(),
            read.line_count(),
        )))
    }
}
