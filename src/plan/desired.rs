//! What is wanted: the manifests given, over those accepted earlier, checked together and put in order.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::{Diagnostic, Diagnostics};
use crate::kinds::{Catalog, Ref, Report, Scope};
use crate::manifest::Loaded;

/// The manifests in force and the ones to work on.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// All manifests in force.
    pub catalog: Catalog,
    /// The resources given, each after what it refers to.
    pub order: Vec<Ref>,
}

impl Desired {
    /// Puts what was loaded over `base` and checks it.
    pub fn build(loaded: &Loaded, base: &Catalog) -> (Self, Diagnostics) {
        let mut catalog = base.clone();
        let mut given = BTreeSet::new();
        for resource in &loaded.resources {
            given.insert(resource.reference());
            catalog.insert(Arc::clone(resource));
        }
        let mut found = Vec::new();
        let scope = Scope::of(&catalog);
        for resource in &loaded.resources {
            let place = |path: &str| resource.place(path);
            let mut report = Report::new(&place, &mut found);
            for reference in resource.spec.references().iter().filter(|r| r.required) {
                if catalog.get(&reference.to).is_none() {
                    report.push(
                        Diagnostic::error("reference/unknown", format!("{} is in no manifest", reference.to))
                            .at(report.place(&reference.path)),
                    );
                }
            }
            resource.spec.check(resource.name(), &scope, &mut report);
        }
        let mut order = order(&catalog);
        order.retain(|r| given.contains(r));
        (Self { catalog, order }, Diagnostics(found))
    }
}

/// Every resource, each after those it refers to.
pub fn order(catalog: &Catalog) -> Vec<Ref> {
    let mut done = BTreeSet::new();
    let mut order = Vec::with_capacity(catalog.len());
    for resource in catalog.iter() {
        visit(catalog, resource.reference(), &mut done, &mut order, 0);
    }
    order
}

fn visit(catalog: &Catalog, reference: Ref, done: &mut BTreeSet<Ref>, order: &mut Vec<Ref>, depth: usize) {
    if depth > 64 || !done.insert(reference.clone()) {
        return;
    }
    let Some(resource) = catalog.get(&reference) else { return };
    for needed in resource.spec.references() {
        visit(catalog, needed.to, done, order, depth + 1);
    }
    order.push(reference);
}
