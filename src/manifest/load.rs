//! All files and documents, in parallel and in a stable order, and what is wrong across them: two of one name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::found::{Found, MOST_PROBLEMS};
use super::parse::{self, Piece};
use super::source::{self, Source};
use super::{envelope, partial, resolve};
use crate::base::{Diagnostic, Diagnostics, Name, Place, for_each};
use crate::kinds::{KindName, Ref, Resource};

/// How many pieces of a file are read before the problems are counted; more than this is read in parallel.
const BATCH: usize = 512;

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SourceFile {
    /// The file as the user named it, or `<stdin>`.
    pub path: Arc<str>,
    /// The hash of its bytes, in hexadecimal.
    pub sha256: String,
}

/// What the files say, and everything that is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The valid resources, in the order of the files.
    pub resources: Vec<Arc<Resource>>,
    /// Resources that are named but not valid, so that nobody calls them missing too.
    pub broken: Vec<(Ref, Place)>,
    /// What could be read of those among them that have wrong fields; such a field counts as left out.
    pub partial: Vec<Arc<Resource>>,
    /// Every problem found, in the order of the files.
    pub diagnostics: Diagnostics,
    /// Whether every source was read whole and is valid; pruning asks for it.
    pub complete: bool,
    /// The files that were read.
    pub sources: Vec<SourceFile>,
}

/// Reads files, directories and `-` (standard input).
pub fn load(paths: &[PathBuf]) -> Loaded {
    let mut loaded = Loaded::default();
    let sources = source::find(paths, &mut loaded.diagnostics);
    loaded.complete = !loaded.diagnostics.has_errors();
    join(loaded, for_each(&sources, file))
}

/// Reads manifests from a text that goes by `name`.
pub fn load_str(name: &str, text: &str) -> Loaded {
    let part = content(&name.into(), text.as_bytes());
    join(Loaded { complete: true, ..Loaded::default() }, vec![part])
}

/// Lets this thread make all that it keeps for itself when it reads manifests.
pub fn ready() {
    drop(load_str("", "apiVersion: reeve/v1\nkind: Volume\nmetadata: {name: a}\nspec: {storage: b, size: 1Mi}\n"));
    super::check::matches("^a$", "a");
}

/// What one file, or one piece of it, comes to.
#[derive(Default)]
struct Part {
    resources: Vec<Arc<Resource>>,
    broken: Vec<(Ref, Place)>,
    partial: Vec<Arc<Resource>>,
    problems: Vec<Diagnostic>,
    incomplete: bool,
    source: Option<SourceFile>,
}

fn join(mut loaded: Loaded, parts: Vec<Part>) -> Loaded {
    for part in parts {
        loaded.resources.extend(part.resources);
        loaded.broken.extend(part.broken);
        loaded.partial.extend(part.partial);
        loaded.diagnostics.extend(part.problems);
        loaded.sources.extend(part.source);
        loaded.complete &= !part.incomplete;
    }
    drop_repeated(&mut loaded);
    loaded.diagnostics.sort();
    loaded.complete &= !loaded.diagnostics.has_errors();
    loaded
}

/// Reports resources of the same kind and name; the first stays.
fn drop_repeated(loaded: &mut Loaded) {
    let Loaded { resources, broken, diagnostics, .. } = loaded;
    let placed = |r: &Arc<Resource>| Some((r.reference(), r.place("metadata.name")?));
    let declared: Vec<(Ref, Place)> = resources.iter().filter_map(placed).chain(broken.iter().cloned()).collect();
    let mut first: HashMap<&Ref, &Place> = HashMap::with_capacity(declared.len());
    for (reference, place) in &declared {
        first.entry(reference).and_modify(|p| *p = (*p).min(place)).or_insert(place);
    }
    if first.len() == declared.len() {
        return;
    }
    for (reference, place) in declared.iter().filter(|(reference, place)| first.get(reference) != Some(&place)) {
        diagnostics.push(
            Diagnostic::error("manifest/duplicate-resource", format!("{reference} is declared a second time"))
                .at(place.clone())
                .related(first.get(reference).map(|p| (*p).clone()), "it is declared here first")
                .help("rename or remove one of the two"),
        );
    }
    resources.retain(|r| placed(r).is_none_or(|(reference, place)| first.get(&reference) == Some(&&place)));
}

fn file(source: &Source) -> Part {
    match source::read(source) {
        Ok(bytes) => content(&source.name, &bytes),
        Err(problem) => Part { problems: vec![*problem], ..Part::default() },
    }
}

/// Reads the bytes of one file.
fn content(name: &Arc<str>, bytes: &[u8]) -> Part {
    let mut part = Part {
        source: Some(SourceFile { path: name.clone(), sha256: hex(&Sha256::digest(bytes)) }),
        ..Part::default()
    };
    let Some(text) = source::text(name, bytes, &mut part.problems) else { return part };
    if text.trim().is_empty() {
        part.incomplete = true;
        let place = Place { file: name.clone(), line: 1, column: 1, length: 0 };
        let problem = Diagnostic::warning("source/empty-file", format!("{name} is empty"));
        part.problems.push(problem.at(place).help("delete the file, or write a manifest into it"));
        return part;
    }
    let pieces = parse::pieces(text);
    for batch in pieces.chunks(BATCH) {
        for read in for_each(batch, |piece| self::piece(name, *piece)) {
            part.resources.extend(read.resources);
            part.broken.extend(read.broken);
            part.partial.extend(read.partial);
            part.problems.extend(read.problems);
        }
        if part.problems.len() > MOST_PROBLEMS {
            too_many(&mut part);
            break;
        }
    }
    part
}

/// Says that the rest of the file was not looked at.
fn too_many(part: &mut Part) {
    part.problems.sort_by(|a, b| a.place.cmp(&b.place));
    part.problems.truncate(MOST_PROBLEMS);
    // Right behind the last one, so that it is shown after it.
    let mut place = part.problems.last().and_then(|last| last.place.clone());
    if let Some(place) = &mut place {
        (place.column, place.length) = (place.column.saturating_add(place.length), 0);
    }
    let message = format!("more than {MOST_PROBLEMS} problems in this file; those after this line are not shown");
    part.problems.push(
        Diagnostic::error("manifest/too-many-problems", message).at(place).help("correct these first, and run again"),
    );
}

/// Reads the documents of one piece.
fn piece(name: &Arc<str>, piece: Piece<'_>) -> Part {
    let mut found = Found::new(name.clone());
    let mut part = Part::default();
    let trees = parse::documents(piece, &mut found);
    let sound = found.errors() == 0;
    if !sound && trees.is_empty() {
        let place = Place { file: name.clone(), line: piece.line, column: 1, length: 0 };
        part.broken.extend(guess(piece.text).map(|reference| (reference, place)));
    }
    for tree in &trees {
        let before = found.errors();
        let Some(document) = envelope::read(tree, &mut found) else { continue };
        let (reference, place) = (document.reference(), found.place(document.spot));
        let resource = if sound && found.errors() == before {
            resolve::resource(document, tree, &mut found)
        } else {
            // What the types refuse of it follows from what was reported already.
            let unheard = &mut Found::new(name.clone());
            let mut document = document;
            partial::fill(&mut document.spec, document.kind.shape());
            part.partial.extend(resolve::resource(document, tree, unheard).map(Arc::new));
            None
        };
        match resource {
            Some(resource) => part.resources.push(Arc::new(resource)),
            None => part.broken.extend(reference.map(|reference| (reference, place))),
        }
    }
    part.problems = found.into_list();
    part
}

/// What a document that is not valid YAML most likely names, so that references to it are not called wrong too.
fn guess(text: &str) -> Option<Ref> {
    let value = |line: &str| line.trim().trim_matches(['"', '\'', '}', ' ']).to_owned();
    let kind = text.lines().find_map(|line| line.strip_prefix("kind:")).map(value)?;
    let kind = KindName::ALL.iter().copied().find(|k| k.as_str() == kind)?;
    let after = &text[text.find("\nmetadata:")?..];
    let name = after.get(after.find("name:")? + 5..)?.lines().next()?;
    let name = value(name.split([',', '}', '#']).next()?);
    Name::new(&name).ok().map(|name| Ref::new(kind, name))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
