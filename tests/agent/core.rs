//! One behaviour of the core a test, on a calm node.

use std::time::Duration;

use reeve::agent::windows::Window;
use reeve::base::{Disruption, FaultKind, Size};
use reeve::drivers::guest::Stop;
use reeve::drivers::guest::fake::Trouble;
use reeve::engine::events::Retention;
use reeve::engine::publish::Aspect;
use reeve::kinds::vm::Reconcile;
use serde_json::json;

use super::stage::{Stage, guest};

#[test]
fn what_is_wanted_is_made_in_order_and_told() {
    let mut stage = Stage::new(1);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    assert!(stage.plan().is_empty(), "{:#?}", stage.plan().steps);
    assert_eq!(stage.odd(&vm), Vec::<String>::new());
    assert_eq!(stage.events(&vm), ["created"]);
    assert_eq!(stage.guests.calls().iter().filter(|c| c.starts_with("start")).count(), 1);
}

#[test]
fn an_idle_agent_changes_and_writes_nothing() {
    let mut stage = Stage::new(2);
    (0..40).for_each(|n| drop(stage.say(&format!("vm/a{n}"), guest(100, &["root"]))));
    stage.begin();
    stage.seconds(60);
    assert!(stage.plan().is_empty());
    let revision = stage.revision();
    stage.guests.forget_calls();
    stage.seconds(3_600);
    assert_eq!(stage.guests.calls(), Vec::<String>::new());
    assert_eq!(stage.revision(), revision, "nothing was written");
    assert!(stage.agent.counters().read().looked > 50, "it did look");
}

#[test]
fn what_was_just_changed_is_looked_at_alone() {
    let mut stage = Stage::new(35);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    let before = stage.chaos.listings();
    stage.say("vm/a", guest(200, &["root"]));
    stage.seconds(5);
    assert_eq!((stage.weight("a"), stage.odd(&vm)), (200, Vec::new()));
    assert_eq!(stage.chaos.listings(), before + 1, "one look before the change, and none at all machines after it");
}

#[test]
fn old_events_and_those_that_are_too_many_go() {
    let mut stage = Stage::new(34);
    stage.settings.retention = Retention { keep: 40, age: Duration::from_secs(3_600) };
    let (vm, other) = (stage.say("vm/a", guest(1, &[])), stage.say("vm/b", guest(1, &[])));
    stage.begin();
    for n in 0..20 {
        stage.seconds(5);
        stage.say("vm/a", guest(10 + n, &[]));
    }
    stage.seconds(70);
    assert_eq!(stage.events(&vm), ["updated"; 4], "a tenth of 40");
    assert_eq!(stage.events(&other), ["created"], "one that changes often hides no other");
    stage.seconds(3_600);
    assert_eq!((stage.events(&vm), stage.events(&other)), (Vec::new(), Vec::new()));
}

#[test]
fn what_comes_from_a_source_that_only_warns_is_told_and_left() {
    let mut stage = Stage::new(30);
    stage.settings.policies.insert("watched".into(), Reconcile::Warn);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    stage.guests.forget_calls();
    stage.say_from(Some("watched"), "vm/a", guest(200, &["root"]));
    let new = stage.say_from(Some("watched"), "vm/b", guest(100, &["root"]));
    stage.seconds(700);
    assert_eq!(stage.guests.calls(), Vec::<String>::new(), "nothing is done");
    assert_eq!(stage.odd(&vm), ["Ready=False:Pending"]);
    assert_eq!(stage.odd(&new), ["Ready=False:Pending"]);
    stage.settings.policies.clear();
    stage.begin();
    stage.seconds(5);
    assert!(stage.plan().is_empty(), "it is done once the source says so");
}

#[test]
fn an_edit_is_done_at_once_and_drift_with_an_event_or_the_next_full_look() {
    let mut stage = Stage::new(3);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    stage.say("vm/a", guest(200, &["root", "data"]));
    stage.seconds(1);
    assert!(stage.plan().is_empty());
    assert_eq!(stage.events(&vm), ["created", "updated"]);
    stage.guests.meddle("a", |machine| machine.spec = serde_json::from_value(guest(300, &["root", "data"])).unwrap());
    stage.agent.hint(&vm);
    stage.seconds(1);
    assert!(stage.plan().is_empty());
    assert!(stage.events(&vm).contains(&"drifted".to_owned()));
    stage.guests.end("a", Stop::Crashed);
    stage.seconds(301);
    assert!(stage.plan().is_empty(), "without an event the timer finds it");
}

#[test]
fn a_failure_is_told_and_tried_again() {
    let mut stage = Stage::new(4);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    (1..4).for_each(|n| stage.guests.trouble(n, Trouble::Fails(FaultKind::Unavailable)));
    stage.begin();
    stage.seconds(0);
    assert_eq!(stage.odd(&vm), ["Ready=False:Failed", "Progressing=True:Retrying"]);
    stage.seconds(20);
    assert_eq!(stage.odd(&vm), Vec::<String>::new());
    assert!(stage.ledger_is_clean());
}

#[test]
fn what_is_suspended_is_looked_at_and_left_alone() {
    let mut stage = Stage::new(5);
    let mut spec = guest(100, &["root"]);
    spec["reconcile"] = json!("Suspend");
    let vm = stage.say("vm/a", spec);
    let other = stage.say("vm/b", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    assert_eq!(stage.odd(&vm), ["Ready=False:Pending"]);
    assert_eq!(stage.odd(&other), Vec::<String>::new());
    assert!(stage.guests.calls().iter().all(|c| !c.ends_with(" a")));
}

#[test]
fn what_is_blocked_blocks_its_users_and_nobody_else() {
    let mut stage = Stage::new(6);
    stage.say(
        "storage/bad",
        json!({"driver": "fake", "options": {"id": format!("bad-{:p}", &stage), "fail": ["active"]}}),
    );
    let mut spec = guest(100, &["root"]);
    spec["disks"]["root"]["storage"] = json!("bad");
    let stuck = stage.say("vm/a", spec);
    let fine = stage.say("vm/b", guest(100, &["root"]));
    stage.begin();
    stage.seconds(60);
    assert!(stage.odd(&stuck).contains(&"Blocked=True:Refused".to_owned()), "{:?}", stage.odd(&stuck));
    assert_eq!(stage.odd(&fine), Vec::<String>::new());
}

#[test]
fn a_delete_that_was_broken_off_is_finished() {
    let mut stage = Stage::new(7);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    stage.begin_delete(&vm);
    stage.begin();
    stage.seconds(30);
    assert!(!stage.there("a"));
    assert!(stage.status(&vm).is_none(), "nothing is told of it any more");
    assert!(stage.ledger_is_clean());
}

#[test]
fn stopping_ends_the_agent() {
    let mut stage = Stage::new(8);
    stage.say("vm/a", guest(100, &["root"]));
    stage.guests.trouble(1, Trouble::Fails(FaultKind::Unavailable));
    stage.begin();
    stage.seconds(0);
    stage.agent.stop();
    let until = Duration::from_secs(10);
    assert!(stage.pass(until), "it ended");
}

#[test]
fn what_needs_a_restart_waits_for_its_window() {
    let mut stage = Stage::new(9);
    // The virtual clock begins on a Sunday at midnight.
    let window =
        Window { allow: Disruption::Restart, opens: "Sun 03:00".parse().unwrap(), lasts: Duration::from_secs(7_200) };
    stage.settings.windows.list.push(window);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(60);
    let mut spec = guest(100, &["root"]);
    spec["memory"]["size"] = json!("256Mi");
    stage.say("vm/a", spec);
    stage.seconds(600);
    assert!(stage.odd(&vm).contains(&"PendingRestart=True:NeedsRestart".to_owned()), "{:?}", stage.odd(&vm));
    let waits = stage.status(&vm).unwrap().get(Aspect::PendingRestart).unwrap().message.clone();
    assert!(waits.ends_with("the next window for it opens on Sun 2026-11-22 03:00 UTC"), "{waits}");
    let restarts = |stage: &Stage| stage.guests.calls().iter().filter(|c| c.starts_with("shutdown")).count();
    stage.seconds(3 * 3_600 - 720);
    assert_eq!(restarts(&stage), 0, "not before the window");
    stage.chaos.may_end("a", true);
    stage.seconds(120);
    assert_eq!(restarts(&stage), 1);
    assert_eq!(stage.odd(&vm), Vec::<String>::new());
}

#[test]
fn guests_lend_memory_while_the_host_is_short_and_are_as_declared() {
    let mut stage = Stage::new(31);
    let mut spec = guest(100, &["root"]);
    spec["memory"] = json!({"size": "2Gi", "balloonMin": "1Gi"});
    let vm = stage.say("vm/a", spec);
    stage.say("vm/b", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    stage.guests.forget_calls();
    let balance = |stage: &Stage| {
        (0..10).for_each(|_| super::stage::block_on(stage.agent.balance_memory()).unwrap());
        stage.guests.memory_of("a").unwrap()
    };
    stage.guests.host_memory(Size(16 << 30), Size(1 << 30));
    assert_eq!(balance(&stage), Size(1 << 30), "it lends all it may");
    assert!(stage.guests.calls().iter().all(|call| call.starts_with("lend a ")), "{:?}", stage.guests.calls());
    stage.seconds(700);
    assert!(stage.plan().is_empty(), "what it lends is no difference: {:#?}", stage.plan().steps);
    assert_eq!(stage.odd(&vm), Vec::<String>::new());
    stage.guests.host_memory(Size(16 << 30), Size(8 << 30));
    assert_eq!(balance(&stage), Size(2 << 30), "it gets it back");
    stage.guests.forget_calls();
    balance(&stage);
    assert_eq!(stage.guests.calls(), Vec::<String>::new());
}

#[test]
fn an_override_is_kept_until_its_time_is_over_and_then_the_manifest_is() {
    let mut stage = Stage::new(32);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    stage.over(&vm, "spec.cpu.weight", json!(300), 3_600).unwrap();
    stage.over(&vm, "cpu.units", json!(3), 60).unwrap_err();
    stage.seconds(1);
    assert_eq!(stage.weight("a"), 300);
    assert!(stage.plan().is_empty(), "it is no drift: {:#?}", stage.plan().steps);
    stage.guests.forget_calls();
    stage.begin();
    stage.seconds(600);
    assert_eq!(stage.guests.calls(), Vec::<String>::new(), "a new agent takes it back");
    stage.say("vm/a", guest(150, &["root"]));
    stage.guests.meddle("a", |machine| machine.spec = serde_json::from_value(guest(400, &["root"])).unwrap());
    assert!(stage.plan().steps[0].reason.contains("cpu.weight is overridden until "), "{:#?}", stage.plan().steps);
    stage.seconds(301);
    assert_eq!(stage.weight("a"), 300, "what drifts from an override is taken back");
    stage.seconds(3_600 - 905);
    assert_eq!(stage.weight("a"), 300);
    stage.seconds(5);
    assert_eq!(stage.weight("a"), 150, "its time is over");
    assert!(stage.plan().is_empty());
    assert!(stage.events(&vm).contains(&"no longer overrides spec.cpu.weight".to_owned()), "{:?}", stage.events(&vm));
    assert!(super::stage::block_on(stage.ledger.accepted()).unwrap().overrides.is_empty(), "its record is gone");
}

#[test]
fn what_could_not_be_taken_back_or_is_no_manifest_is_not_overridden() {
    let mut stage = Stage::new(33);
    let vm = stage.say("vm/a", guest(100, &["root"]));
    stage.begin();
    stage.seconds(5);
    let says =
        |stage: &Stage, field: &str, value: serde_json::Value| stage.over(&vm, field, value, 60).unwrap_err().message;
    for (field, value, why) in [
        ("spec.memory.size", json!("lots"), "lots"),
        ("spec.memory.sizes", json!("1Gi"), "sizes"),
        ("spec.disks.root.size", json!("2Gi"), "could not be taken back"),
        ("spec.disks.data.cache", json!("none"), "its manifest has no \"data\""),
        ("spec.nics.eth0.network", json!("wan"), "wan"),
        ("spec.node", json!("n2"), "it would tie the resource to others"),
        ("spec.memory", json!("big"), "memory"),
    ] {
        let said = says(&stage, field, value);
        assert!(said.contains(why) && said.contains(field) && said.contains("vm/a"), "{field}: {said}");
    }
    let said = stage.over(&vm, "cpu.weight", json!(1), 32 * 86_400).unwrap_err().message;
    assert!(said.contains("at most 31 days"), "{said}");
    let said = stage.over(&"vm/b".parse().unwrap(), "cpu.weight", json!(1), 60).unwrap_err().message;
    assert!(said.contains("no accepted manifest"), "{said}");
    stage.over(&vm, "cpu.weight", json!(300), 600).unwrap();
    stage.seconds(1);
    stage.begin_delete(&vm);
    stage.begin();
    stage.seconds(30);
    stage.say("vm/a", guest(100, &["root"]));
    stage.seconds(5);
    assert_eq!(stage.weight("a"), 100, "another machine of that name is not overridden");
}
