//! Snapshots: taken, gone back to, removed, and refused.

use std::rc::Rc;

use reeve::base::FaultKind;
use reeve::drivers::storage::{Format, RollBack, Snapshots};

use super::subject::{Subject, owner, refused};

fn snapshots(s: &Subject) -> &dyn Snapshots {
    s.storage.snapshots().expect("this driver should have snapshots")
}

/// Whether the type has snapshots; it must then say so and offer them.
fn has_snapshots(s: &Subject) -> bool {
    let said = !s.storage.abilities().snapshots.is_empty();
    assert_eq!(s.storage.snapshots().is_some(), said, "what is offered and what is declared must agree");
    if !said {
        s.not_applicable("it has no snapshots");
    }
    said
}

pub async fn snapshots_come_and_go(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    let mut names = vec!["one", "two", "a b'c\"ü"];
    for name in names.clone() {
        match snapshots(&s).take("v", &us, name).await {
            Err(fault) if !s.any_name && fault.kind == FaultKind::Invalid => names.retain(|n| *n != name),
            taken => taken.unwrap(),
        }
    }
    assert_eq!(snapshots(&s).list("v").await.unwrap(), names);
    if s.storage.abilities().roll_back == RollBack::Newest {
        refused(snapshots(&s).roll_back("v", &us, "one").await, FaultKind::Unsupported);
        assert_eq!(snapshots(&s).list("v").await.unwrap(), names);
        while let Some(later) = names.pop_if(|n| *n != "one") {
            snapshots(&s).remove("v", &us, later).await.unwrap();
        }
    }
    snapshots(&s).roll_back("v", &us, "one").await.unwrap();
    assert_eq!(snapshots(&s).list("v").await.unwrap(), names);
    snapshots(&s).remove("v", &us, "one").await.unwrap();
    assert_eq!(snapshots(&s).list("v").await.unwrap(), names[1..]);
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
    assert_eq!(s.storage.find("v").await.unwrap(), None);
}

pub async fn a_snapshot_keeps_what_was_there(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    if !s.has_bytes() {
        return s.not_applicable("it keeps no bytes");
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(8), &us).await.unwrap();
    s.put("v", 1).await;
    snapshots(&s).take("v", &us, "one").await.unwrap();
    s.put("v", 2).await;
    snapshots(&s).roll_back("v", &us, "one").await.unwrap();
    assert!(s.has("v", 1).await);
    s.storage.grow("v", &us, s.size(16)).await.unwrap();
    assert!(s.has("v", 1).await);
    s.storage.delete("v", &us, s.size(16)).await.unwrap();
}

pub async fn deleting_a_volume_in_use_keeps_its_snapshots(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    snapshots(&s).take("v", &us, "one").await.unwrap();
    let held = s.hold("v").await;
    refused(s.storage.delete("v", &us, s.size(1)).await, FaultKind::Busy);
    drop(held);
    assert_eq!(snapshots(&s).list("v").await.unwrap(), ["one"]);
    s.storage.delete("v", &us, s.size(1)).await.unwrap();
}

pub async fn a_second_snapshot_of_a_name_is_refused(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    snapshots(&s).take("v", &us, "one").await.unwrap();
    refused(snapshots(&s).take("v", &us, "one").await, FaultKind::Exists);
    assert_eq!(snapshots(&s).list("v").await.unwrap(), ["one"]);
}

pub async fn rolling_back_to_nothing_is_refused(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    refused(snapshots(&s).roll_back("v", &us, "none").await, FaultKind::NotFound);
}

pub async fn removing_a_snapshot_that_is_not_there_succeeds(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    snapshots(&s).remove("v", &us, "none").await.unwrap();
}

pub async fn formats_without_snapshots_say_so(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    let able = s.storage.abilities().snapshots;
    for format in s.formats().into_iter().filter(|f| !able.contains(f)) {
        let name = format!("v-{format}");
        s.make(&name, format, s.size(1), &us).await.unwrap();
        refused(snapshots(&s).take(&name, &us, "one").await, FaultKind::Unsupported);
        assert_eq!(snapshots(&s).list(&name).await.unwrap(), [""; 0]);
    }
}

pub async fn snapshots_of_what_is_not_ours_are_refused(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let (us, them) = (owner("vm/a"), owner("vm/b"));
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    snapshots(&s).take("v", &us, "one").await.unwrap();
    refused(snapshots(&s).take("v", &them, "two").await, FaultKind::Identity);
    refused(snapshots(&s).roll_back("v", &them, "one").await, FaultKind::Identity);
    refused(snapshots(&s).remove("v", &them, "one").await, FaultKind::Identity);
    assert_eq!(snapshots(&s).list("v").await.unwrap(), ["one"]);
}

pub async fn snapshot_names_that_mislead_are_refused(s: Rc<Subject>) {
    if !has_snapshots(&s) {
        return;
    }
    let us = owner("vm/a");
    s.make("v", s.near(Format::Qcow2), s.size(1), &us).await.unwrap();
    for name in ["", "-a", "a\nb", &"x".repeat(64)] {
        refused(snapshots(&s).take("v", &us, name).await, FaultKind::Invalid);
    }
    assert_eq!(snapshots(&s).list("v").await.unwrap(), [""; 0]);
}
