//! The order in which guests start when the node has booted.

use std::time::Duration;

use reeve::base::FaultKind;
use reeve::drivers::guest::Stop;
use reeve::drivers::guest::fake::Trouble;
use serde_json::{Value, json};

use super::stage::{Stage, guest};

fn turn(startup: Value) -> Value {
    let mut spec = guest(100, &["root"]);
    (spec["startup"], spec["runStrategy"]) = (startup, json!("Always"));
    spec
}

/// A node whose guests were made and run, and that lost its power then.
fn after_a_power_cut(seed: u64, guests: &[(&str, Value)]) -> Stage {
    let mut stage = Stage::new(seed);
    stage.settings.boot = Some("first".into());
    guests.iter().for_each(|(name, startup)| drop(stage.say(&format!("vm/{name}"), turn(startup.clone()))));
    stage.begin();
    stage.seconds(700);
    assert!(stage.plan().is_empty(), "{:#?}", stage.plan().steps);
    stage.halt();
    guests.iter().for_each(|(name, _)| stage.guests.end(name, Stop::Crashed));
    stage.guests.forget_calls();
    stage
}

/// Which guests were started since.
fn started(stage: &Stage) -> Vec<String> {
    let calls = stage.guests.calls();
    calls.iter().filter_map(|call| call.strip_prefix("start ")).map(str::to_owned).collect()
}

fn three() -> [(&'static str, Value); 3] {
    // By name the last would come first.
    [("z", json!({"order": 1, "upDelay": "30s"})), ("m", json!({"order": 2, "upDelay": "10s"})), ("a", json!({}))]
}

#[test]
fn guests_start_in_their_turns_when_the_node_has_booted() {
    let mut stage = after_a_power_cut(60, &three());
    stage.settings.boot = Some("second".into());
    stage.begin();
    stage.seconds(29);
    assert_eq!(started(&stage), ["z"]);
    let told = stage.odd(&"vm/m".parse().unwrap());
    assert!(told.contains(&"Progressing=True:WaitsForTurn".to_owned()), "{told:?}");
    stage.seconds(2);
    assert_eq!(started(&stage), ["z", "m"]);
    stage.seconds(11);
    assert_eq!(started(&stage), ["z", "m", "a"]);
    stage.seconds(1);
    assert!(stage.plan().is_empty());
    assert_eq!(stage.odd(&"vm/m".parse().unwrap()), Vec::<String>::new());
}

#[test]
fn nothing_waits_when_only_the_agent_was_started_again() {
    let mut stage = after_a_power_cut(61, &three());
    stage.begin();
    stage.seconds(2);
    assert_eq!(started(&stage).len(), 3);
}

#[test]
fn an_agent_that_is_started_again_meanwhile_goes_on_with_the_order() {
    let mut stage = after_a_power_cut(62, &three());
    stage.settings.boot = Some("second".into());
    stage.begin();
    stage.seconds(35);
    assert_eq!(started(&stage), ["z", "m"]);
    stage.begin();
    stage.seconds(2);
    assert_eq!(started(&stage), ["z", "m", "a"], "what runs delays nobody, and is not started twice");
}

#[test]
fn a_guest_that_does_not_start_holds_up_nobody() {
    let mut stage = after_a_power_cut(63, &three());
    stage.settings.boot = Some("second".into());
    stage.guests.trouble(1, Trouble::Fails(FaultKind::Unavailable));
    stage.begin();
    stage.seconds(0);
    assert_eq!(started(&stage), ["m"], "what was not started needs no delay");
    stage.seconds(700);
    assert_eq!(started(&stage).len(), 3, "and each is started once");
    assert!(stage.plan().is_empty(), "it is tried again");
}

#[test]
fn a_guest_whose_start_hangs_is_waited_for_for_five_minutes() {
    let mut stage = after_a_power_cut(64, &three());
    stage.settings.boot = Some("second".into());
    stage.guests.trouble(1, Trouble::Slow(Duration::from_secs(3_600)));
    stage.begin();
    stage.seconds(299);
    assert_eq!(started(&stage), Vec::<String>::new());
    stage.seconds(32);
    assert_eq!(started(&stage), ["m", "a"]);
}
