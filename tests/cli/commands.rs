//! What shows: get, describe, export, observe, events.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use super::{Place, STORAGE};

fn applied() -> Place {
    let place = Place::new();
    place.write("m/a.yaml", STORAGE);
    place.expect(0, "apply m --yes");
    place
}

#[test]
fn get_lists_in_four_forms() {
    let place = applied();
    assert!(place.expect(0, "get storage").out.starts_with("STORAGE"));
    assert!(place.expect(0, "get -o wide").out.contains("local"));
    let json: Value = serde_json::from_str(&place.expect(0, "get storage/local -o json").out).unwrap();
    assert_eq!(json["items"][0]["status"]["state"], "Ready");
    assert!(place.expect(0, "get storage -o yaml").out.contains("kind: Storage"));
    assert!(place.expect(1, "get pods").err.contains("is no kind"));
    assert!(place.expect(1, "get storage/none").err.contains("is not there"));
}

#[test]
fn describe_shows_the_manifest_the_state_and_what_was_done() {
    let place = applied();
    let out = place.expect(0, "describe storage/local").out;
    assert!(out.contains("driver: dir") && out.contains("state: Ready") && out.contains("created"), "{out}");
    place.expect(1, "describe storage/none");
}

#[test]
fn export_gives_manifests_that_plan_empty() {
    let place = applied();
    let out = place.expect(0, "export").out;
    place.write("again/all.yaml", &out);
    place.expect(0, "plan again");
    place.expect(1, "export storage/none");
}

#[test]
fn what_observe_writes_gives_the_plan_of_the_host() {
    let place = applied();
    place.write("m/a.yaml", &format!("{STORAGE}  content: [images]\n"));
    place.write("live.json", &place.expect(0, "observe -o json").out);
    let here = place.expect(2, "plan m -o json").out;
    let there = place.expect(2, "plan m --live live.json -o json").out;
    assert_eq!(here, there);
}

#[test]
fn events_say_who_what_and_why() {
    let place = applied();
    let json: Value = serde_json::from_str(&place.expect(0, "events storage/local -o json").out).unwrap();
    let event = &json["events"][0];
    assert_eq!((event["who"].as_str(), event["what"].as_str()), (Some("tester"), Some("created")));
    assert_eq!(event["plan_hash"].as_str().unwrap().len(), 64);
    assert!(place.expect(0, "events").out.starts_with("TIME"));
}

#[test]
fn ctrl_c_lets_a_step_finish_begins_no_other_and_says_what_is_left() {
    let place = Place::new();
    let machine = |name: &str, startup: &str| {
        format!(
            "apiVersion: reeve/v1\nkind: VirtualMachine\nmetadata: {{name: {name}}}\n\
             spec: {{runStrategy: Always, startup: {startup}}}\n"
        )
    };
    place.write("m/first.yaml", &machine("first", "{order: 1, upDelay: 1h}"));
    place.write("m/second.yaml", &machine("second", "{order: 2}"));
    let mut command = place.command("apply m --yes", &[]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("vm/first: created")), "the first machine is made");
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("vm/second: not begun")), "{rest:?}");
    assert_eq!(rest.last().map(String::as_str), Some("Applied: 1 done, 1 not begun."));
    assert!(rest.iter().any(|line| line.starts_with("Stopping: ")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(2));
    place.expect(2, "plan m");
    place.expect(0, "apply m --yes");
    place.expect(0, "plan m");
}
