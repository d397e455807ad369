//! The YAML library's errors in words for people, each with what to do.

use granit_parser::{ErrorKind as K, Marker, ScanError, Tag};

use super::build::too_deep;
use super::{Piece, Spot, place};
use crate::manifest::found::Found;
use crate::manifest::suggest::quoted;

/// Reports an error of the library.
pub fn report(error: &ScanError, piece: Piece<'_>, found: &mut Found) {
    let spot = within(piece, *error.marker());
    if let Some(tab) = tab(error, piece, spot) {
        found.error(
            "manifest/tab",
            tab,
            "a tab stands where the line is indented; YAML allows only spaces there",
            "indent with spaces, two for each level",
        );
        return;
    }
    match error.kind() {
        K::RecursionLimitExceeded => too_deep(spot, found),
        K::DirectiveDisallowed => found.error(
            "manifest/directive",
            spot,
            "directives such as %YAML are not supported",
            "take the line out, or put a text that starts with % in quotes",
        ),
        kind => {
            let (message, help) = words(kind);
            found.error("manifest/syntax", spot, message, help);
        }
    }
}

/// Reports a tag, which manifests never need.
pub fn tag(tag: &Tag, spot: Spot, found: &mut Found) {
    found.error(
        "manifest/tag",
        spot,
        format!("tags such as {} are not supported", quoted(&tag.original())),
        "take the tag out; write text in quotes and numbers without, and put a text that starts with ! in quotes",
    );
}

/// An error at the end of the text is shown behind the last character there is.
fn within(piece: Piece<'_>, mark: Marker) -> Spot {
    let text = piece.text.trim_end();
    if mark.byte_offset().is_none_or(|at| at < text.len()) {
        return place(piece, mark, 1);
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let newlines = text.bytes().filter(|b| *b == b'\n').count();
    let width = text.lines().next_back().unwrap_or_default().chars().count();
    Spot { line: piece.line.saturating_add(number(newlines)), column: number(width).saturating_add(1), length: 0 }
}

/// The first tab in the indentation of the line the error is on, or of the line after it.
fn tab(error: &ScanError, piece: Piece<'_>, spot: Spot) -> Option<Spot> {
    let about_tabs = matches!(
        error.kind(),
        K::TabNotAllowed
            | K::TabInBlockIndentation
            | K::TabAtBlockScalarStart
            | K::TabInIndentation
            | K::TabInPlainScalar
    );
    let at = error.marker().byte_offset().unwrap_or(0).min(piece.text.len());
    let start = piece.text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    for (line, text) in (spot.line..).zip(piece.text.get(start..)?.lines().take(2)) {
        let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
        if let Some(column) = text[..indent].find('\t').and_then(|at| u32::try_from(at).ok()) {
            return Some(Spot { line, column: column + 1, length: 1 });
        }
    }
    about_tabs.then_some(spot)
}

/// What is wrong and what to do.
fn words(kind: &K) -> (String, &'static str) {
    let (what, help) = match kind {
        K::UnclosedQuotedScalar | K::DocumentIndicatorInQuotedScalar => {
            ("a quotation mark is opened here and never closed", "close it, or take it out")
        }
        K::UnclosedFlowCollection { open } => {
            return (format!("the bracket {open} is never closed"), "add the closing bracket");
        }
        K::MismatchedFlowCollectionEnd { open, close } => {
            return (format!("the bracket {open} is closed by {close}"), "close each bracket with its own kind");
        }
        K::UnexpectedEofFlowSequence | K::UnexpectedEofFlowMapping | K::UnexpectedEofImplicitFlowMapping => {
            ("the document ends before its brackets are closed", "add the closing bracket")
        }
        K::MisplacedFlowCollectionEnd => {
            ("a closing bracket stands where none is open", "take it out, or add the opening bracket")
        }
        K::ExpectedFlowMappingSeparator => {
            ("a ',' or '}' is missing", "put a comma between entries, and close the brace")
        }
        K::ExpectedFlowSequenceSeparator => {
            ("a ',' or ']' is missing", "put a comma between items, and close the bracket")
        }
        K::MappingValueNotAllowed | K::InvalidColonPlacement | K::MappingKeyNotAllowed => (
            "a ':' stands where no key can be",
            "put a text that contains ': ' in quotes, or start the key on a line of its own with the right indentation",
        ),
        K::SimpleKeyExpected | K::InvalidSimpleKey => (
            "a ':' is missing after this key, or the key is longer than a line",
            "write `name: value`, with a space after the colon; a text of several lines needs quotes or |",
        ),
        K::InvalidIndentation | K::ExpectedBlockMappingKey | K::ExpectedBlockSequenceEntry => (
            "the line is indented differently from those it belongs with",
            "give every entry of one map or list the same indentation; list items start with '- '",
        ),
        K::BlockSequenceEntryNotAllowed | K::BlockEntryInFlowCollection => {
            ("a list item ('- ') stands where none can be", "start the list on a line of its own below its key")
        }
        K::UnknownQuotedScalarEscape | K::InvalidQuotedScalarHexEscape | K::InvalidUnicodeEscape => {
            ("an escape in this text is not known", "double the backslash, or use single quotes")
        }
        K::UnexpectedCharacter { character } => {
            return (
                format!("the character {character:?} cannot stand here"),
                "put the text in quotes, or take the character out",
            );
        }
        K::BomInsideDocument => {
            ("a byte-order mark stands within the document", "take it out; it is an invisible character")
        }
        K::InvalidTrailingSingleQuotedScalar | K::InvalidTrailingDoubleQuotedScalar => (
            "something follows the closing quotation mark",
            "put the whole text within one pair of quotes; a quotation mark within is written twice in single quotes",
        ),
        other => {
            return (format!("this is not valid YAML: {other}"), "see https://yaml.org/spec/1.2.2 or quote the text");
        }
    };
    (what.to_owned(), help)
}
