//! Nodes and `reeve doctor`'s checks.

use std::collections::BTreeSet;
use std::sync::Arc;

use reeve::base::clock::TestClock;
use reeve::doctor::{State, examine};
use reeve::kinds::{KindName, Live, Observed};
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn a_node_is_there_with_its_facts_and_takes_words() {
    let mut scene = Scene::new();
    let node = scene.say(KindName::Node, "n1", json!({}));
    let Live::Node(live) = scene.live(&node).await else { panic!() };
    assert!(live.facts.cores > 0 && live.facts.memory.bytes() > 0);
    assert!(!live.facts.hypervisor.expect("the fake answers").accelerators.is_empty());
    assert_eq!(scene.changes(&node).await, []);
    scene.say(KindName::Node, "n1", json!({"description": "rack 4"}));
    let paths: Vec<String> = scene.changes(&node).await.into_iter().map(|c| c.path).collect();
    assert_eq!(paths, ["description"]);
    scene.apply(&node).await.unwrap();
    assert_eq!(scene.changes(&node).await, []);
    scene.delete(&node).await.unwrap();
    assert_eq!(scene.changes(&node).await.len(), 1, "its words are forgotten, and it is still there");
}

#[tokio::test]
async fn another_nodes_manifest_is_not_ours() {
    let mut scene = Scene::new();
    let other = scene.say(KindName::Node, "n2", json!({}));
    assert_eq!(scene.look(&other).await, Observed::Absent);
    let want = scene.catalog.get(&other).unwrap().spec.want(&other.name, &scene.scope());
    assert_eq!(want["node"], "n2", "which a plan on n1 leaves alone");
}

#[tokio::test]
async fn every_check_is_made_and_says_what_to_do() {
    let scene = Scene::new();
    let found = examine(&scene.world).await;
    let ids: Vec<&str> = found.iter().map(|f| f.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for id in [
        "root",
        "qemu",
        "libvirt",
        "kvm",
        "nested",
        "lxc",
        "cgroups",
        "nat",
        "bridges",
        "space",
        "clock",
        "image-build",
    ] {
        assert!(ids.contains(&id), "{id} is missing in {ids:?}");
    }
    for finding in &found {
        assert!(!finding.found.is_empty(), "{finding:?}");
        assert_eq!(finding.advice.is_some(), finding.state != State::Ok, "{finding:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_far_off_is_a_failure() {
    let mut scene = Scene::new();
    scene.world.clock = Arc::new(TestClock::at("1970-01-01T00:00:00Z".parse().unwrap()));
    let found = examine(&scene.world).await;
    let clock = found.iter().find(|f| f.id == "clock").unwrap();
    assert_eq!(clock.state, State::Fail);
    assert!(clock.found.contains("1970"), "{clock:?}");
}
