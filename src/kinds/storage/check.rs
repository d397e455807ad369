//! Rules for storages that the schema cannot say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Content, StorageKind, StorageSpec};
use crate::base::{Diagnostic, Name};
use crate::drivers::storage::{self as drivers, StorageType, TYPES};
use crate::kinds::{AsKind, Catalog, KindName, Report, Resource, Scope};

/// Reports everything that is wrong with one storage.
pub fn check(name: &Name, spec: &StorageSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    check_nodes(spec, report);
    let Some(driver) = drivers::find(&spec.driver) else {
        return unknown_driver(&spec.driver, report);
    };
    check_content(driver, spec, report);
    check_base(driver, spec, scope, report);
    let problems = driver.check(spec);
    for problem in &problems {
        let path = if problem.option.is_empty() { "driver".to_owned() } else { format!("options.{}", problem.option) };
        report.error("storage/bad-option", &path, problem.message.as_str(), problem.help.as_str());
    }
    match driver.canonical(&spec.options) {
        Err(why) => {
            let help = format!("`reeve explain storage.{}` shows the options", driver.name());
            report.error("storage/bad-option", "options", why, help);
        }
        Ok(_) if problems.is_empty() => check_place(name, spec, driver, scope, report),
        Ok(_) => {}
    }
}

fn unknown_driver(driver: &str, report: &mut Report<'_>) {
    let known: Vec<&str> = TYPES.iter().map(|t| t.name()).filter(|n| *n != "fake").collect();
    let near = known.iter().copied().min_by_key(|k| strsim::damerau_levenshtein(k, driver));
    let near = near.filter(|k| strsim::damerau_levenshtein(k, driver) <= 2);
    let list = known.join(", ");
    let help = match near {
        Some(near) => format!("did you mean {near}? The drivers are {list}"),
        None => format!("the drivers are {list}"),
    };
    let shown: String = driver.chars().take(60).collect();
    report.error("storage/unknown-driver", "driver", format!("there is no storage driver {shown:?}"), help);
}

fn check_content(driver: &dyn StorageType, spec: &StorageSpec, report: &mut Report<'_>) {
    let able = driver.abilities().content;
    let Some(content) = &spec.content else { return };
    if content.is_empty() {
        let help = format!("name some of {}, or leave `content` out for all of them", Content::words(able));
        report.error("storage/no-content", "content", "the storage may keep nothing", help);
    }
    for (i, one) in content.iter().enumerate() {
        let path = format!("content.{i}");
        if !able.contains(one) {
            let message = format!("a storage of the type {} cannot keep {one}", driver.name());
            report.error(
                "storage/content-not-possible",
                &path,
                message,
                format!("it can keep {}", Content::words(able)),
            );
        } else if content[..i].contains(one) {
            report.warning("storage/twice", &path, format!("{one} is listed twice"), "remove one");
        }
    }
}

/// What a storage is made on must be one that has disks for it.
fn check_base(driver: &dyn StorageType, spec: &StorageSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(base) = driver.base(spec) else { return };
    let Some(below) = scope.resource(KindName::Storage, &base).and_then(|found| storage(found)) else { return };
    if drivers::find(&below.driver).is_some_and(|kind| kind.abilities().provisions) {
        let message = format!("storage/{base}, of the type {}, has no disks to make a group of", below.driver);
        report.error("storage/bad-option", "options.base", message, "name a storage of the type iscsi");
    }
}

fn check_nodes(spec: &StorageSpec, report: &mut Report<'_>) {
    for (i, node) in spec.nodes.iter().enumerate() {
        if spec.nodes[..i].contains(node) {
            report.warning("storage/twice", &format!("nodes.{i}"), format!("{node} is listed twice"), "remove one");
        }
    }
}

/// How many storages around it a storage is told of; each of them is told in its turn.
const MOST_OTHERS: usize = 8;

/// The places of all storages that have one, in order, so that those inside another follow it.
struct Nested(BTreeMap<String, Vec<Name>>);

impl Nested {
    fn find(catalog: &Catalog) -> Self {
        let mut places: BTreeMap<String, Vec<Name>> = BTreeMap::new();
        for resource in catalog.of(KindName::Storage) {
            if let Some(place) = storage(resource).and_then(|spec| drivers::find(&spec.driver)?.place(spec)) {
                places.entry(format!("{place}/")).or_default().push(resource.name().clone());
            }
        }
        Self(places)
    }
}

/// The spec of a resource that is a storage.
fn storage(resource: &Resource) -> Option<&Arc<StorageSpec>> {
    AsKind::<StorageKind>::as_kind(&resource.spec)
}

/// A storage inside another's directory would show up among the other's files.
fn check_place(name: &Name, spec: &StorageSpec, driver: &dyn StorageType, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(place) = driver.place(spec) else { return };
    let places = scope.catalog().view(Nested::find);
    let around = place.match_indices('/').filter_map(|(at, _)| places.0.get_key_value(&place[..=at]));
    let others = around.flat_map(|(outer, names)| names.iter().map(move |other| (outer, other)));
    let meeting = others.filter(|(_, other)| *other != name).filter_map(|(outer, other)| {
        let resource = scope.resource(KindName::Storage, other)?;
        storage(resource).is_some_and(|other| meet(spec, other)).then_some((outer, resource))
    });
    for (outer, resource) in meeting.take(MOST_OTHERS) {
        let other = resource.reference();
        let message = format!("storage/{name}, {place}, is inside {other}, {}", outer.trim_end_matches('/'));
        report.push(
            Diagnostic::error("storage/nested-place", message)
                .at(report.place("options"))
                .help("give each storage a place of its own")
                .related(resource.place("spec.options"), format!("{other} is here")),
        );
    }
}

/// Whether some node has both.
fn meet(a: &StorageSpec, b: &StorageSpec) -> bool {
    a.nodes.is_empty() || b.nodes.is_empty() || a.nodes.iter().any(|n| b.nodes.contains(n))
}
