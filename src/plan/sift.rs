//! Takes out of what was loaded what is not valid, so that one broken file holds up its own resources only.
//!
//! What is refused is not removed: what was accepted of it before stays in force, and whoever needs a new one that is
//! refused is refused with it.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::Desired;
use crate::base::{Diagnostic, Place};
use crate::kinds::{Catalog, Ref, Resource};
use crate::manifest::Loaded;

/// What is valid of a source, and what is not.
#[derive(Debug, Clone, Default)]
pub struct Sifted {
    /// What is valid, over what was accepted before.
    pub desired: Desired,
    /// What is not, and why.
    pub refused: BTreeMap<Ref, String>,
}

/// Sifts what was loaded until what is left has no error.
pub fn sift(loaded: &Loaded, base: &Catalog) -> Sifted {
    let mut left = loaded.clone();
    let mut refused: BTreeMap<Ref, String> = BTreeMap::new();
    for (reference, place) in &loaded.broken {
        refused.insert(reference.clone(), why_broken(loaded, place));
    }
    loop {
        let (desired, found) = Desired::build(&left, base);
        let mut bad = blame(&left, base, found.0.iter().filter(|d| d.is_error()));
        bad.extend(stranded(&left, base, &refused));
        if bad.is_empty() {
            return Sifted { desired, refused };
        }
        left.resources.retain(|r| !bad.contains_key(&r.reference()));
        for (reference, why) in bad {
            let place = Place { file: "".into(), line: 0, column: 0, length: 0 };
            left.broken.push((reference.clone(), place));
            refused.entry(reference).or_insert(why);
        }
    }
}

/// The first problem at or after the place of a document that is not valid.
fn why_broken(loaded: &Loaded, place: &Place) -> String {
    let errors = || loaded.diagnostics.0.iter().filter(|d| d.is_error());
    let there = |d: &&Diagnostic| d.place.as_ref().is_some_and(|p| p.file == place.file && p.line >= place.line);
    let in_file = |d: &&Diagnostic| d.place.as_ref().is_some_and(|p| p.file == place.file);
    let found = errors().find(there).or_else(|| errors().find(in_file));
    found.map_or_else(|| format!("{}:{}: it is not valid", place.file, place.line), ToString::to_string)
}

/// Whose each error is: the resource in whose document it stands; one of no document is of all that is new.
fn blame<'a>(left: &Loaded, base: &Catalog, errors: impl Iterator<Item = &'a Diagnostic>) -> BTreeMap<Ref, String> {
    let mut starts: BTreeMap<(&str, u32), &Resource> = BTreeMap::new();
    for resource in &left.resources {
        if let (Some(file), Some(line)) = (&resource.places.file, resource.places.first_line()) {
            starts.insert((file, line), resource);
        }
    }
    let mut bad = BTreeMap::new();
    for error in errors {
        let place = error.place.as_ref();
        let owner = place.and_then(|p| {
            starts.range(..=(&*p.file, p.line)).next_back().filter(|((file, _), _)| **file == *p.file).map(|(_, r)| r)
        });
        match owner {
            Some(resource) => drop(bad.entry(resource.reference()).or_insert_with(|| error.to_string())),
            None => {
                let new = |r: &&std::sync::Arc<Resource>| base.get(&r.reference()).is_none_or(|b| b.spec != r.spec);
                let all = left.resources.iter().filter(new).map(|r| (r.reference(), error.to_string()));
                bad.extend(all.collect::<Vec<_>>());
            }
        }
    }
    bad
}

/// What needs a resource that is refused and was never accepted.
fn stranded(left: &Loaded, base: &Catalog, refused: &BTreeMap<Ref, String>) -> BTreeMap<Ref, String> {
    let given: BTreeSet<Ref> = left.resources.iter().map(|r| r.reference()).collect();
    let mut bad = BTreeMap::new();
    for resource in &left.resources {
        let missing = |to: &Ref| refused.contains_key(to) && base.get(to).is_none() && !given.contains(to);
        if let Some(need) = resource.spec.references().into_iter().find(|n| n.required && missing(&n.to)) {
            bad.insert(resource.reference(), format!("it needs {}, whose manifest is not valid", need.to));
        }
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::load_str;

    const LAN: &str =
        "apiVersion: reeve/v1\nkind: Network\nmetadata: {name: lan}\nspec: {type: nat, cidr: 10.40.0.1/24}\n";
    const VM: &str = "apiVersion: reeve/v1\nkind: VirtualMachine\nmetadata: {name: NAME}\nspec:\n  memory: {size: 1Gi}\n  nics: {eth0: {network: NET}}\n";

    fn vm(name: &str, network: &str) -> String {
        VM.replace("NAME", name).replace("NET", network)
    }

    fn sifted(documents: &[String]) -> (Vec<String>, Vec<String>) {
        let sifted = sift(&load_str("a.yaml", &documents.join("---\n")), &Catalog::default());
        let names = |r: &Ref| r.to_string();
        (sifted.desired.order.iter().map(names).collect(), sifted.refused.keys().map(names).collect())
    }

    #[test]
    fn a_broken_document_holds_up_itself_and_who_needs_it() {
        let bad = LAN.replace("lan", "bad").replace("10.40.0.1/24", "nonsense");
        let (kept, refused) = sifted(&[LAN.into(), vm("a", "lan"), bad, vm("b", "bad")]);
        assert_eq!(kept, ["network/lan", "vm/a"]);
        assert_eq!(refused, ["network/bad", "vm/b"]);
    }

    #[test]
    fn an_error_between_documents_is_of_the_one_it_stands_in() {
        let (kept, refused) = sifted(&[vm("a", "lan"), LAN.into(), vm("b", "none"), vm("c", "lan")]);
        assert_eq!(kept, ["network/lan", "vm/a", "vm/c"]);
        assert_eq!(refused, ["vm/b"]);
    }

    #[test]
    fn what_was_accepted_before_stays() {
        let before = sift(&load_str("a.yaml", LAN), &Catalog::default()).desired.catalog;
        let broken = LAN.replace("10.40.0.1/24", "nonsense");
        let after = sift(&load_str("a.yaml", &[broken, vm("a", "lan")].join("---\n")), &before);
        assert_eq!(after.desired.order.iter().map(ToString::to_string).collect::<Vec<_>>(), ["vm/a"]);
        assert!(after.desired.catalog.get(&"network/lan".parse().unwrap()).is_some());
        assert!(after.refused.values().all(|why| why.starts_with("a.yaml:")), "{:?}", after.refused);
    }
}
