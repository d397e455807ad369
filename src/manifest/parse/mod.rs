//! Text to trees of nodes: the only place that knows the YAML library.
//!
//! A file is first cut at its `---` lines, which YAML allows nowhere but between documents; so a syntax error in one
//! document cannot hide the others, and documents are read in parallel. Each piece runs through the library's event
//! parser into a [`Tree`]. What manifests do not need is refused with a word on what to write instead: tags, merge
//! keys, directives, keys that are no text. Anchors and aliases are taken, under a budget.

mod build;
mod tree;
mod words;

use granit_parser::{Event, Marker, Parser, Span, StrInput};

use self::build::{Builder, Stop};
pub use self::tree::{Entries, Key, Seen, Spot, Tree, View};
use super::found::Found;

/// How deep a document may be nested.
pub const MOST_DEPTH: usize = 64;
/// How many nodes a document may have, those that aliases repeat counted each time.
pub const MOST_NODES: usize = 200_000;

/// The text between two `---` lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    /// The text, its own `---` line included.
    pub text: &'t str,
    /// The line of the file it starts on, from 1.
    pub line: u32,
}

/// Cuts a file at its document markers; pieces with nothing in them are left out.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut at, mut line) = (0, 1);
    loop {
        let rest = &text[at..];
        if at > start && is_marker(rest) {
            push(&mut pieces, &text[start..at], start_line);
            (start, start_line) = (at, line);
        }
        let Some(end) = rest.find('\n') else { break };
        at += end + 1;
        line += 1;
    }
    push(&mut pieces, &text[start..], start_line);
    pieces
}

fn push<'t>(pieces: &mut Vec<Piece<'t>>, text: &'t str, line: u32) {
    let body = if is_marker(text) { &text[3..] } else { text };
    if body.bytes().any(|b| !b.is_ascii_whitespace()) {
        pieces.push(Piece { text, line });
    }
}

/// Whether a line that starts here is `---`.
fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Reads the documents of one piece; those that cannot be read are reported and left out.
pub fn documents<'t>(piece: Piece<'t>, found: &mut Found) -> Vec<Tree<'t>> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: MOST_DEPTH,
        block_nesting_limit: MOST_DEPTH,
    };
    let mut parser = Parser::new_from_str_with_options(piece.text, options);
    let mut trees = Vec::new();
    loop {
        match document(&mut parser, piece, found) {
            Ok(Some(tree)) => trees.push(tree),
            Ok(None) => return trees,
            Err(Stop) => {
                if found.is_full() || !parser.proceed_next_document().unwrap_or(false) {
                    return trees;
                }
            }
        }
    }
}

/// Reads the next document of the stream.
fn document<'t>(
    parser: &mut Parser<'t, StrInput<'t>>,
    piece: Piece<'t>,
    found: &mut Found,
) -> Result<Option<Tree<'t>>, Stop> {
    let mut builder = Builder::for_text(piece.text.len());
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            words::report(&error, piece, found);
            Stop
        })?;
        let spot = spot(piece, &span);
        let empty = span.start == span.end;
        if let Some(tag) = event.tag() {
            let start = span.tag_start().unwrap_or(span.start);
            let at = place(piece, start, tag.original().chars().count());
            words::tag(tag, at, found);
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == granit_parser::ScalarStyle::Plain;
                let text = if plain && empty { "".into() } else { text };
                builder.scalar(spot, text, plain, anchor, found)?;
            }
            Event::SequenceStart(_, anchor, _) => builder.open(spot, false, anchor, found)?,
            Event::MappingStart(_, anchor, _) => builder.open(spot, true, anchor, found)?,
            Event::SequenceEnd | Event::MappingEnd => builder.close(found),
            Event::Alias(target) => builder.alias(spot, target, found)?,
            Event::UnresolvedAlias(name) => builder.unknown_alias(spot, &name, found)?,
            Event::DocumentEnd => return Ok(Some(builder.finish())),
            Event::StreamEnd => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

/// Where a span of the piece stands in the file; a span of several lines counts to the end of its first.
fn spot(piece: Piece<'_>, span: &Span) -> Spot {
    let length = if span.end.line() == span.start.line() {
        span.end.index().saturating_sub(span.start.index())
    } else {
        let rest = span.start.byte_offset().and_then(|at| piece.text.get(at..)).unwrap_or_default();
        rest.lines().next().unwrap_or_default().trim_end().chars().count()
    };
    place(piece, span.start, length)
}

fn place(piece: Piece<'_>, mark: Marker, length: usize) -> Spot {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Spot {
        line: piece.line.saturating_add(number(mark.line()).saturating_sub(1)),
        column: number(mark.col()).saturating_add(1),
        length: number(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_at_its_markers_only() {
        let text = "a: 1\n---\nb: |\n  ---\n--- # c\nc: ---x\n---x: 1\n---\n\n---";
        let cut: Vec<_> = pieces(text).iter().map(|p| (p.line, p.text)).collect();
        assert_eq!(cut, [(1, "a: 1\n"), (2, "---\nb: |\n  ---\n"), (5, "--- # c\nc: ---x\n---x: 1\n")]);
        assert_eq!(pieces("").len(), 0);
        assert_eq!(pieces("---\n---\n").len(), 0);
    }

    #[test]
    fn nodes_know_where_they_stand() {
        let text = "# é\nkey: {ü: [1, \"zwei\"]}\n";
        let mut found = Found::new("x".into());
        let trees = documents(pieces(text)[0], &mut found);
        let Seen::Map(entries) = trees[0].root().see() else { panic!("no map") };
        let (key, value) = entries.get("key").unwrap();
        assert_eq!((key.spot.line, key.spot.column, key.spot.length), (2, 1, 3));
        let Seen::Map(inner) = value.see() else { panic!("no map") };
        let (_, list) = inner.get("ü").unwrap();
        let Seen::List(items) = list.see() else { panic!("no list") };
        let spots: Vec<_> = items.iter().map(|i| (i.spot().line, i.spot().column, i.spot().length)).collect();
        assert_eq!(spots, [(2, 11, 1), (2, 14, 6)]);
        assert_eq!(found.errors(), 0);
    }
}
