//! Every field that the schema calls live is changed on a running guest by the suite, or is on the short list of those
//! that are not, with the reason. A new live field fails the suite until it has its case.

use std::collections::BTreeSet;

use reeve::base::Disruption;
use reeve::kinds::{KindName, Shape};

/// Live fields without a case here, and why.
const ELSEWHERE: [(&str, &str); 3] = [
    ("cloudInit", "the seed is the kind's own: src/kinds/vm/tests, on the fake hypervisor"),
    ("usb", "needs a USB device of the host"),
    ("nics.*.vlan", "needs a bridge that filters VLANs; an ordinary one is refused by libvirt"),
];
/// Needs a kernel that shapes traffic.
const RATE: &str = "nics.*.rate";

/// The paths of everything the schema calls live; a map of devices stands for plugging one in and out.
fn live_paths() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(KindName::VirtualMachine.shape(), "", &mut found);
    found
}

fn walk(shape: &Shape, path: &str, found: &mut BTreeSet<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let live = shape.change == Some(Disruption::Live);
    for (name, field) in &shape.fields {
        walk(field, &below(name), found);
    }
    if let Some(entry) = shape.entries.as_deref().filter(|_| shape.is_map()) {
        if live {
            found.insert(below("*"));
        }
        walk(entry, &below("*"), found);
    } else if live && shape.fields.is_empty() {
        found.insert(path.to_owned());
    }
}

fn elsewhere(path: &str) -> bool {
    ELSEWHERE.iter().any(|(known, _)| path == *known || path.strip_prefix(known).is_some_and(|r| r.starts_with('.')))
}

/// Fails with the live fields that no running guest took.
pub fn assert_all_proven(taken: &BTreeSet<String>, shapes: bool) {
    let open: Vec<String> =
        live_paths().into_iter().filter(|p| !taken.contains(p) && !elsewhere(p) && (shapes || p != RATE)).collect();
    assert!(open.is_empty(), "called live, and not shown on a running guest: {open:?}");
}

#[test]
fn the_list_of_exceptions_holds_live_fields_only() {
    let live = live_paths();
    assert!(live.len() > 20, "{live:?}");
    for (path, why) in ELSEWHERE {
        let there = live.iter().any(|l| l == path || l.starts_with(&format!("{path}.")));
        assert!(there, "{path} is not live any more ({why})");
    }
    assert!(live.contains(RATE) && live.contains("disks.*.size") && live.contains("cpu.weight"), "{live:?}");
}
