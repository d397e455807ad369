//! Linked clones, where a type declares them.

use std::rc::Rc;

use reeve::base::{Fault, FaultKind, Mark};
use reeve::drivers::storage::{Clones, Format, VolumeInfo};

use super::subject::{Subject, new, owner, refused};

/// The clones of the type; it must offer them exactly when it declares them.
fn clones(s: &Subject) -> Option<&dyn Clones> {
    let offered = s.storage.clones();
    assert_eq!(offered.is_some(), !s.storage.abilities().linked_clones.is_empty());
    if offered.is_none() {
        s.not_applicable("it has no linked clones");
    }
    offered
}

fn format(s: &Subject) -> Format {
    s.near(Format::Raw)
}

/// A volume with a snapshot `one` that holds the byte 1, and the byte 2 in the volume since.
async fn origin(s: &Subject, us: &Mark) {
    s.make("base", format(s), s.size(8), us).await.unwrap();
    s.put("base", 1).await;
    s.storage.snapshots().unwrap().take("base", us, "one").await.unwrap();
    s.put("base", 2).await;
}

async fn clone(s: &Subject, name: &str, of: &str, units: u64, us: &Mark) -> Result<VolumeInfo, Fault> {
    let wanted = new(name, format(s), s.size(units), us);
    s.storage.clones().unwrap().create_from(&wanted, of, "one").await
}

pub async fn a_clone_starts_as_the_snapshot(s: Rc<Subject>) {
    if clones(&s).is_none() {
        return;
    }
    let (us, them) = (owner("vm/a"), owner("vm/b"));
    origin(&s, &us).await;
    for (name, units) in [("same", 8), ("larger", 16)] {
        let made = clone(&s, name, "base", units, &them).await.unwrap();
        assert_eq!((made.name.as_str(), made.size, made.mark.as_ref()), (name, s.size(units), Some(&them)));
        assert!(s.has(name, 1).await, "{name}");
        s.put(name, 3).await;
    }
    assert!(s.has("base", 2).await && s.has("same", 3).await);
    assert_eq!(s.storage.list().await.unwrap().len(), 3);
    assert_eq!(s.storage.leftovers().await.unwrap(), [""; 0]);
}

pub async fn what_has_clones_stays(s: Rc<Subject>) {
    if clones(&s).is_none() {
        return;
    }
    let (us, them) = (owner("vm/a"), owner("vm/b"));
    origin(&s, &us).await;
    clone(&s, "clone", "base", 8, &them).await.unwrap();
    let stays = s.clones_hold;
    if stays {
        refused(s.storage.delete("base", &us, s.size(8)).await, FaultKind::Busy);
        refused(s.storage.snapshots().unwrap().remove("base", &us, "one").await, FaultKind::Busy);
        assert_eq!(s.storage.snapshots().unwrap().list("base").await.unwrap(), ["one"]);
        assert!(s.has("base", 2).await && s.has("clone", 1).await);
        s.storage.delete("clone", &them, s.size(8)).await.unwrap();
        s.storage.delete("base", &us, s.size(8)).await.unwrap();
    } else {
        s.storage.delete("base", &us, s.size(8)).await.unwrap();
        assert!(s.has("clone", 1).await);
        s.storage.delete("clone", &them, s.size(8)).await.unwrap();
    }
    assert_eq!(s.storage.list().await.unwrap(), []);
}

pub async fn a_clone_of_a_clone_stands(s: Rc<Subject>) {
    if clones(&s).is_none() {
        return;
    }
    let us = owner("vm/a");
    origin(&s, &us).await;
    clone(&s, "child", "base", 8, &us).await.unwrap();
    s.put("child", 4).await;
    s.storage.snapshots().unwrap().take("child", &us, "one").await.unwrap();
    clone(&s, "grandchild", "child", 8, &us).await.unwrap();
    assert!(s.has("grandchild", 4).await && s.has("base", 2).await);
    for name in ["grandchild", "child", "base"] {
        s.storage.delete(name, &us, s.size(8)).await.unwrap();
    }
}

pub async fn a_clone_is_made_once(s: Rc<Subject>) {
    if clones(&s).is_none() {
        return;
    }
    let us = owner("vm/a");
    origin(&s, &us).await;
    let first = clone(&s, "clone", "base", 8, &us).await.unwrap();
    s.put("clone", 5).await;
    let again = clone(&s, "clone", "base", 8, &us).await.unwrap();
    assert_eq!((again.name, again.mark), (first.name, first.mark));
    assert!(s.has("clone", 5).await);
    refused(clone(&s, "clone", "base", 8, &owner("vm/b")).await, FaultKind::Identity);
}

pub async fn a_clone_of_nothing_is_refused(s: Rc<Subject>) {
    if clones(&s).is_none() {
        return;
    }
    let us = owner("vm/a");
    refused(clone(&s, "clone", "base", 8, &us).await, FaultKind::NotFound);
    s.make("base", format(&s), s.size(8), &us).await.unwrap();
    refused(clone(&s, "clone", "base", 8, &us).await, FaultKind::NotFound);
    s.storage.snapshots().unwrap().take("base", &us, "one").await.unwrap();
    refused(clone(&s, "clone", "base", 4, &us).await, FaultKind::Invalid);
    assert_eq!(s.storage.list().await.unwrap().len(), 1);
}
