//! Guests start and stop in the order of their `startup`, on a clock that moves only when someone waits for it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reeve::engine::execute::{Ending, Outcome, Run, execute};
use reeve::engine::observe::observe;
use reeve::engine::records::Ledger;
use reeve::kinds::{KindName, Options, Progress, Ref};
use reeve::plan::make::{Goal, make};
use reeve::store::HistoryLimits;
use reeve::store::memory::Memory;
use serde_json::{Value, json};

use crate::scene::Scene;

struct Silent;

impl Progress for Silent {
    fn step(&self, _resource: &Ref, _what: &str, _done: u64, _total: u64) {}
}

/// A machine with this `startup`.
fn machine(scene: &mut Scene, name: &str, startup: Value) -> Ref {
    scene.say(KindName::VirtualMachine, name, json!({"runStrategy": "Always", "startup": startup}))
}

/// Plans and carries out; gives what was done, with the seconds that had gone by.
async fn run(scene: &Scene, order: &[Ref], remove: &[Ref], parallel: usize) -> (Vec<(String, i64)>, Vec<Outcome>) {
    let clock = Arc::clone(&scene.world.clock);
    let ledger = Ledger::new(Arc::new(Memory::new(clock.clone(), HistoryLimits::default())), clock.clone());
    let live = observe(&scene.world, &scene.catalog).await;
    let options = Options { allow: reeve::base::Disruption::Restart, ..Options::default() };
    let plan = make(&Goal { catalog: &scene.catalog, order, remove, options }, &live);
    let begun = clock.now();
    let stop = AtomicBool::new(false);
    let run = Run {
        world: &scene.world,
        ledger: &ledger,
        catalog: &scene.catalog,
        live: &live,
        uids: &scene.uids,
        who: "test",
        parallel,
        stop: &stop,
        progress: &Silent,
    };
    let ended = std::sync::Mutex::new(Vec::new());
    let report = |outcome: &Outcome| {
        let word = if outcome.ending == Ending::Done { "" } else { "!" };
        let at = clock.now().duration_since(begun).as_secs();
        ended.lock().unwrap().push((format!("{word}{}", outcome.resource.name), at));
    };
    let outcomes = execute(&run, &plan, &report).await;
    (ended.into_inner().unwrap(), outcomes)
}

fn list(ended: &[(String, i64)]) -> Vec<(&str, i64)> {
    ended.iter().map(|(name, at)| (name.as_str(), *at)).collect()
}

#[tokio::test]
async fn starts_follow_the_order_and_wait() {
    let mut scene = Scene::new();
    let all = [
        machine(&mut scene, "apps", json!({"upDelay": "1h"})),
        machine(&mut scene, "cache", json!({"order": 2, "upDelay": "20s"})),
        machine(&mut scene, "database", json!({"order": 2})),
        machine(&mut scene, "zone", json!({"order": 1, "upDelay": "5s"})),
    ];
    let (ended, _) = run(&scene, &all, &[], 1).await;
    assert_eq!(list(&ended), [("zone", 0), ("cache", 5), ("database", 5), ("apps", 25)]);
}

#[tokio::test]
async fn stops_go_the_other_way() {
    let mut scene = Scene::new();
    let all = [
        machine(&mut scene, "apps", json!({})),
        machine(&mut scene, "database", json!({"order": 2, "downDelay": "2h"})),
        machine(&mut scene, "zone", json!({"order": 1, "downDelay": "1h"})),
    ];
    run(&scene, &all, &[], 4).await;
    let (ended, _) = run(&scene, &[], &all, 4).await;
    assert_eq!(ended.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["apps", "database", "zone"]);
    assert!(ended[2].1 - ended[1].1 >= 2 * 3600, "{ended:?}");
}

#[tokio::test]
async fn a_guest_that_fails_holds_no_other_up() {
    let mut scene = Scene::new();
    let disks = json!({"root": {"storage": "gone", "size": "1Gi"}});
    let startup = json!({"order": 1, "upDelay": "5s"});
    let broken = scene.say(KindName::VirtualMachine, "broken", json!({"disks": disks, "startup": startup}));
    let later = machine(&mut scene, "later", json!({"order": 2}));
    let last = machine(&mut scene, "last", json!({}));
    let (ended, outcomes) = run(&scene, &[broken, last, later], &[], 4).await;
    assert!(matches!(outcomes[0].ending, Ending::Failed(_)), "{outcomes:?}");
    assert_eq!(list(&ended), [("!broken", 0), ("later", 0), ("last", 0)]);
}

#[tokio::test]
async fn guests_without_a_number_wait_for_nobody() {
    let mut scene = Scene::new();
    let all = [machine(&mut scene, "a", json!({"upDelay": "1h"})), machine(&mut scene, "b", json!({}))];
    let (ended, _) = run(&scene, &all, &[], 1).await;
    assert_eq!(list(&ended), [("a", 0), ("b", 0)]);
}
