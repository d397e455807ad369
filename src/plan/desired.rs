//! What is wanted: the manifests given over those accepted earlier, checked against each other and put in order.
//!
//! References must resolve, must not go in rings, and what only one resource may have must not be taken twice. Each
//! kind's own rules run here too, since they need the other manifests. Everything is found in one pass over the
//! manifests; nothing looks at every pair of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::graph;
use crate::base::{Diagnostic, Diagnostics, Place, for_each};
use crate::kinds::{Catalog, Claim, KindName, Ref, Reference, Report, Resource, Scope};
use crate::manifest::{self, Loaded};

/// How many misspelt names get a suggestion; beyond that the search would cost more than it helps.
const MOST_SUGGESTIONS: usize = 200;
/// How many known names are compared with misspelt ones in all.
const MOST_COMPARED: usize = 100_000;
/// How many problems are told; beyond that each is another of the same.
const MOST_PROBLEMS: usize = 1_000;

/// Every manifest in force, and the order in which they can be made true.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Those given over those accepted earlier.
    pub catalog: Catalog,
    /// Those given, each after those it refers to.
    pub order: Vec<Ref>,
}

impl Desired {
    /// Puts what was loaded over `base` and checks it; gives the problems found here, not those of the load.
    pub fn build(loaded: &Loaded, base: &Catalog) -> (Self, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        let mut catalog = base.clone();
        let mut given = HashSet::with_capacity(loaded.resources.len());
        for resource in &loaded.resources {
            given.insert(resource.reference());
            catalog.insert(Arc::clone(resource));
        }
        let mut all: Vec<Entry<'_>> = catalog.iter().map(|resource| Entry::new(resource, &given)).collect();
        add_partial(&mut all, loaded);
        let index: HashMap<&Ref, usize> = all.iter().enumerate().map(|(at, entry)| (&entry.reference, at)).collect();
        let broken: HashSet<&Ref> = loaded.broken.iter().map(|(reference, _)| reference).collect();
        unresolved(&all, &index, &broken, &mut diagnostics);
        let sorted = sort(&all, &index, &mut diagnostics);
        taken_twice(&all, &mut diagnostics);
        check(&all, &index, &catalog, &mut diagnostics);
        diagnostics.sort();
        cut(&mut diagnostics);
        let in_order = || sorted.iter().filter_map(|at| all.get(*at));
        let order =
            in_order().filter(|entry| entry.given && entry.whole).map(|entry| entry.reference.clone()).collect();
        (Self { catalog, order }, diagnostics)
    }
}

/// Keeps as many problems as anybody reads, errors before warnings, and says how many there were.
fn cut(found: &mut Diagnostics) {
    let all = found.0.len();
    if all <= MOST_PROBLEMS {
        return;
    }
    found.0.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    found.0.truncate(MOST_PROBLEMS);
    found.sort();
    let place = found.0.last().and_then(|last| last.place.clone());
    let message = format!("the manifests have {all} problems with each other; {MOST_PROBLEMS} are shown");
    found.push(Diagnostic::error("manifest/too-many-problems", message).at(place).help("mend these first"));
}

/// Every resource of a catalog, each after those it refers to.
pub fn order(catalog: &Catalog) -> Vec<Ref> {
    let none = HashSet::new();
    let all: Vec<Entry<'_>> = catalog.iter().map(|resource| Entry::new(resource, &none)).collect();
    let index: HashMap<&Ref, usize> = all.iter().enumerate().map(|(at, entry)| (&entry.reference, at)).collect();
    let sorted = sort(&all, &index, &mut Diagnostics::default());
    sorted.iter().filter_map(|at| all.get(*at)).map(|entry| entry.reference.clone()).collect()
}

/// A resource while it is checked.
struct Entry<'a> {
    resource: &'a Resource,
    reference: Ref,
    references: Vec<Reference>,
    /// Whether it was given now, so that its problems are this run's.
    given: bool,
    /// Whether all of it could be read; of the rest only what it names is looked at.
    whole: bool,
}

impl<'a> Entry<'a> {
    fn new(resource: &'a Arc<Resource>, given: &HashSet<Ref>) -> Self {
        let reference = resource.reference();
        let given = given.contains(&reference);
        Self { references: resource.spec.references(), resource, reference, given, whole: true }
    }

    /// Where a field below `spec` stands, or else the whole resource.
    fn place(&self, path: &str) -> Option<Place> {
        self.resource.place(&format!("spec.{path}")).or_else(|| self.resource.place("metadata.name"))
    }
}

/// Adds what could be read of the resources with wrong fields, in place of what was accepted of them earlier.
fn add_partial<'a>(all: &mut Vec<Entry<'a>>, loaded: &'a Loaded) {
    let mut seen: HashSet<Ref> = loaded.resources.iter().map(|resource| resource.reference()).collect();
    let partial = loaded.partial.iter().filter(|resource| seen.insert(resource.reference()));
    let partial: Vec<Entry<'a>> =
        partial.map(|resource| Entry { given: true, whole: false, ..Entry::new(resource, &HashSet::new()) }).collect();
    if partial.is_empty() {
        return;
    }
    let replaced: HashSet<&Ref> = partial.iter().map(|entry| &entry.reference).collect();
    all.retain(|entry| !replaced.contains(&entry.reference));
    all.extend(partial);
}

/// Reports references to what is in no manifest.
fn unresolved(all: &[Entry<'_>], index: &HashMap<&Ref, usize>, broken: &HashSet<&Ref>, found: &mut Diagnostics) {
    let mut names: BTreeMap<KindName, Vec<&str>> = BTreeMap::new();
    for entry in all {
        names.entry(entry.reference.kind).or_default().push(entry.reference.name.as_str());
    }
    let mut helps: HashMap<&Ref, String> = HashMap::new();
    let mut compared = 0;
    for entry in all.iter().filter(|entry| entry.given) {
        let missing = |r: &&Reference| r.required && !index.contains_key(&r.to) && !broken.contains(&r.to);
        for Reference { to, path, .. } in entry.references.iter().filter(missing) {
            let known = names.get(&to.kind).map_or(&[][..], Vec::as_slice);
            let suggest = helps.len() < MOST_SUGGESTIONS && compared < MOST_COMPARED;
            let help = helps.entry(to).or_insert_with(|| {
                compared += known.len();
                help_for(to, known, suggest)
            });
            let message = format!("{} refers to {to}, which is in no manifest", entry.reference);
            found.push(Diagnostic::error("reference/unresolved", message).at(entry.place(path)).help(help.as_str()));
        }
    }
}

fn help_for(to: &Ref, known: &[&str], suggest: bool) -> String {
    let kind = to.kind;
    let near = if suggest { manifest::nearest(to.name.as_str(), known.iter().copied()) } else { None };
    match (near, known) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, []) => format!("there is no {kind} at all; add one, or give its file on the command line too"),
        (None, known) if known.len() <= 8 => {
            format!("the {kind} manifests are {}; add one, or give its file on the command line too", known.join(", "))
        }
        _ => format!("add a {kind} of that name, or give its file on the command line too"),
    }
}

/// The order in which everything can be made true; rings of references are reported.
fn sort(all: &[Entry<'_>], index: &HashMap<&Ref, usize>, found: &mut Diagnostics) -> Vec<usize> {
    let mut needs = Vec::new();
    for (at, entry) in all.iter().enumerate() {
        needs.extend(entry.references.iter().filter_map(|r| Some((at, *index.get(&r.to)?))));
    }
    let sorted = graph::sort(all.len(), &needs);
    for ring in sorted.rings {
        let ring: Vec<&Entry<'_>> = ring.iter().filter_map(|at| all.get(*at)).collect();
        // The ring starts where this run can change it.
        let turn = ring.iter().position(|entry| entry.given);
        found.extend(turn.and_then(|turn| describe(&ring, turn)));
    }
    sorted.order
}

/// A ring of references as one diagnostic: the chain in words, and the place of each link.
fn describe(ring: &[&Entry<'_>], turn: usize) -> Option<Diagnostic> {
    let links = (0..ring.len()).filter_map(|step| {
        let (one, other) = (ring[(turn + step) % ring.len()], ring[(turn + step + 1) % ring.len()]);
        let link = one.references.iter().find(|r| r.to == other.reference)?;
        Some((one, other, one.place(&link.path)))
    });
    let links: Vec<_> = links.collect();
    let (first, ..) = links.first()?;
    let mut chain = first.reference.to_string();
    for (_, other, _) in links.iter().take(20) {
        chain += &format!(" → {}", other.reference);
    }
    let message = format!("references go in a ring: {chain}{}", if links.len() > 20 { " → …" } else { "" });
    let mut problem = Diagnostic::error("reference/cycle", message)
        .at(links.first().and_then(|(.., place)| place.clone()))
        .help("take one of these references out, so that there is a first to make");
    for (one, other, place) in links.iter().skip(1).take(20) {
        problem = problem.related(place.clone(), format!("{} refers to {} here", one.reference, other.reference));
    }
    Some(problem)
}

/// Reports what is taken twice although only one may have it.
fn taken_twice(all: &[Entry<'_>], found: &mut Diagnostics) {
    let claims: Vec<Vec<Claim>> = for_each(all, |e| e.resource.spec.claims(e.resource.name()));
    let mut owners: HashMap<(&str, &str), Vec<(&Entry<'_>, &Claim)>> = HashMap::new();
    for (entry, claim) in all.iter().zip(&claims).flat_map(|(entry, claims)| claims.iter().map(move |c| (entry, c))) {
        let same = owners.entry((claim.code, claim.value.as_str())).or_default();
        let Some(owner) = same.iter().find(|(_, other)| other.meets(claim)).copied() else {
            same.push((entry, claim));
            continue;
        };
        // The one that comes later in the files is wrong; one accepted earlier is right.
        let place = |(entry, claim): (&Entry<'_>, &Claim)| entry.place(&claim.path);
        let (first, second) = match (owner.0.given, entry.given) {
            (false, false) => continue,
            (true, false) => ((entry, claim), owner),
            (true, true) if place((entry, claim)) < place(owner) => ((entry, claim), owner),
            _ => (owner, (entry, claim)),
        };
        let (this, other) = (&second.0.reference, &first.0.reference);
        let message = if this == other {
            format!("{} {} is taken twice by {this}", claim.what, claim.value)
        } else {
            format!("{} {} of {this} is taken already, by {other}", claim.what, claim.value)
        };
        found.push(
            Diagnostic::error(claim.code, message)
                .at(place(second))
                .related(place(first), format!("{other} takes it here"))
                .help(claim.help),
        );
    }
}

/// Runs each kind's own rules on what was given and on what refers to it.
fn check(all: &[Entry<'_>], index: &HashMap<&Ref, usize>, catalog: &Catalog, found: &mut Diagnostics) {
    let scope = Scope::of(catalog);
    let touched = |r: &Reference| index.get(&r.to).and_then(|at| all.get(*at)).is_some_and(|to| to.given);
    let concerned = |entry: &&Entry<'_>| entry.whole && (entry.given || entry.references.iter().any(touched));
    let concerned: Vec<&Entry<'_>> = all.iter().filter(concerned).collect();
    found.extend(for_each(&concerned, |entry| check_one(entry, &scope)).into_iter().flatten());
}

fn check_one(entry: &Entry<'_>, scope: &Scope<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let place = |path: &str| entry.resource.place(path);
    entry.resource.spec.check(entry.resource.name(), scope, &mut Report::new(&place, &mut problems));
    for problem in problems.iter_mut().filter(|problem| problem.place.is_none()) {
        problem.place = entry.resource.place("metadata.name");
    }
    problems
}
