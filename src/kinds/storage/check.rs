//! Rules for storages that the schema cannot say.

use super::{Content, StorageSpec};
use crate::base::{Diagnostic, Name};
use crate::drivers::storage::{self as drivers, StorageType, TYPES};
use crate::kinds::{KindName, Ref, Report, Scope, Spec};

/// Reports everything that is wrong with one storage.
pub fn check(name: &Name, spec: &StorageSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
    check_nodes(spec, report);
    let Some(driver) = drivers::find(&spec.driver) else {
        return unknown_driver(&spec.driver, report);
    };
    check_content(driver, spec, report);
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

fn check_nodes(spec: &StorageSpec, report: &mut Report<'_>) {
    for (i, node) in spec.nodes.iter().enumerate() {
        if spec.nodes[..i].contains(node) {
            report.warning("storage/twice", &format!("nodes.{i}"), format!("{node} is listed twice"), "remove one");
        }
    }
}

/// Two storages on one place would each take the other's volumes for foreign ones.
fn check_place(name: &Name, spec: &StorageSpec, driver: &dyn StorageType, scope: &Scope<'_>, report: &mut Report<'_>) {
    let Some(place) = driver.place(spec) else { return };
    for resource in scope.catalog().of(KindName::Storage) {
        let Spec::Storage(other) = &resource.spec else { continue };
        // Each pair is reported once, at the later of the two.
        if resource.name() >= name || !meet(spec, other) {
            continue;
        }
        let Some(there) = drivers::find(&other.driver).and_then(|d| d.place(other)) else { continue };
        let (how, inside) = if there == place {
            ("on the same place as", false)
        } else if within(&place, &there) {
            ("inside", true)
        } else if within(&there, &place) {
            ("around", true)
        } else {
            continue;
        };
        let other = Ref::new(KindName::Storage, resource.name().clone());
        let code = if inside { "storage/nested-place" } else { "storage/same-place" };
        let message = format!("storage/{name}, {place}, is {how} {other}, {there}");
        report.push(
            Diagnostic::error(code, message)
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

fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
