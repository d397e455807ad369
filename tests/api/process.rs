//! A real agent with its socket, and the commands that find it: they say what they say without one.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::agent::command::{Agent, domain, vm, wait, weight};
use crate::cli::{Place, STORAGE};

fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path("storage")).unwrap();
    place.write("manifests/local.yaml", STORAGE);
    place.write("manifests/a.yaml", &vm("a", 100));
    place
}

/// What the agent answers, head and all; nothing when none is there.
fn ask(place: &Place, path: &str) -> Option<String> {
    let mut stream = UnixStream::connect(place.path("data/reeve.sock")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: reeve\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn json(place: &Place, path: &str) -> Value {
    let answer = ask(place, path).expect("the agent answers");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// An agent that has brought the machine `a`, and has nothing left to do.
fn begin(place: &Place) -> Agent {
    let agent = Agent::begin(place);
    wait(place, "the socket", || ask(place, "/v1/health").is_some_and(|a| a.starts_with("HTTP/1.1 200")));
    wait(place, "the machine", || weight(place, "a") == Some(100));
    wait(place, "rest", || {
        let conditions = &json(place, "/v1/resources/vm/a")["status"]["conditions"];
        let all = conditions.as_array().cloned().unwrap_or_default();
        let says = |aspect, truth| all.iter().any(|c| c["type"] == aspect && c["status"] == truth);
        says("Ready", "True") && says("Progressing", "False")
    });
    agent
}

#[test]
fn what_is_read_through_the_agent_is_byte_for_byte_the_same() {
    let place = place();
    let agent = begin(&place);
    let words = [
        // A storage tells how full it is, and that changes by itself.
        "get vm",
        "get vm -o wide",
        "get vm -o json",
        "get vm/a -o yaml",
        "get volumes",
        "describe vm/a",
        "events -o json",
        "events vm/a",
        "export",
        "plan",
        "plan -o json",
        "plan manifests --all",
        "diff manifests",
    ];
    let say = || words.map(|words| place.run(words)).map(|ran| (ran.status, ran.out, ran.err));
    let through = say();
    let metrics = ask(&place, "/metrics").unwrap();
    assert_eq!(agent.end(), Some(0));
    for route in ["/v1/live", "/v1/records"] {
        assert!(metrics.contains(&format!("route=\"{route}\",status=\"200\"")), "nobody asked {route}: {metrics}");
    }
    for name in
        ["reconciles_total", "failures_total", "queue_waiting", "reconcile_seconds_total", "drifted", "store_revision"]
    {
        assert!(metrics.contains(&format!("\nreeve_{name} ")), "{name} is missing: {metrics}");
    }
    assert!(!place.path("data/reeve.sock").exists(), "the socket was left behind");
    for ((words, through), alone) in words.iter().zip(through).zip(say()) {
        assert_eq!(through, alone, "reeve {words}");
    }
}

#[test]
fn apply_and_delete_through_the_agent_do_and_say_what_they_do_alone() {
    let (with, alone) = (place(), place());
    alone.expect(0, "apply manifests --yes");
    let agent = begin(&with);
    for (status, file, words) in [
        (0, Some(vm("b", 7)), "apply by-hand --yes"),
        (0, None, "apply by-hand --yes"),
        (0, Some(vm("b", 8)), "apply by-hand --yes"),
        (1, Some(vm("b", 8).replace("128Mi", "many")), "apply by-hand --yes"),
        (1, None, "delete vm/none --yes"),
        (0, None, "delete vm/b --yes"),
    ] {
        let ran = [&with, &alone].map(|place| {
            if let Some(text) = &file {
                place.write("by-hand/b.yaml", text);
            }
            let ran = place.expect(status, words);
            (ran.out, ran.err, domain(place, "b").map(|b| b["configured"]["spec"]["cpu"].clone()))
        });
        assert_eq!(ran[0], ran[1], "reeve {words}");
    }
    let tasks = json(&with, "/v1/tasks");
    assert!(tasks["tasks"].as_array().is_some_and(|all| all.len() >= 4), "{tasks}");
    assert_eq!(agent.end(), Some(0));
    with.expect(0, "plan");
}

/// Puts a running machine that nobody manages beside the others.
fn stranger(place: &Place) {
    let text = std::fs::read_to_string(place.path("vms.json")).unwrap();
    let mut state: Value = serde_json::from_str(&text).unwrap();
    let (mut one, other) = (state["domains"]["m"].clone(), uuid::Uuid::from_u128(7).to_string());
    one["record"] = Value::Null;
    one["uuid"] = other.into();
    state["domains"]["old"] = one;
    std::fs::write(place.path("vms.json"), state.to_string()).unwrap();
}

#[test]
fn power_adoption_and_orphans_through_the_agent_are_done_and_told_as_alone() {
    let (with, alone) = (place(), place());
    let manual = vm("m", 5)
        .replace("Always", "Manual")
        .replace("  disks:\n    root: {storage: local, size: 1Mi, format: raw}\n", "");
    for place in [&with, &alone] {
        place.write("by-hand/m.yaml", &manual);
        place.write("by-hand/gone.yaml", &vm("gone", 1));
        place.write("by-hand/local.yaml", STORAGE);
        place.expect(0, "apply by-hand --yes");
        place.expect(0, "delete vm/gone --yes");
    }
    alone.expect(0, "apply manifests --yes");
    let agent = begin(&with);
    for (status, words) in [
        (0, "start vm/m"),
        (0, "stop vm/m --force"),
        (1, "start vm/none vm/m storage/local"),
        (0, "restart vm/m --force"),
        (1, "start vm/old"),
        (0, "adopt vm/old --dry-run"),
        (0, "adopt vm/old"),
        (1, "adopt vm/old"),
        (0, "stop vm/old --force"),
        (1, "delete --orphan local/vm-none-root --destroy-data --yes"),
        (0, "delete --orphan local/vm-gone-root --destroy-data --yes"),
    ] {
        let ran = [&with, &alone].map(|place| {
            if words == "start vm/old" {
                stranger(place);
            }
            let ran = place.expect(status, words);
            let power = |name| domain(place, name).map(|d| (d["power"].clone(), d["record"].is_null()));
            (ran.out, ran.err, power("m"), power("old"), place.path("storage/vm-gone-root.raw").exists())
        });
        assert_eq!(ran[0], ran[1], "reeve {words}");
    }
    let what = |place: &Place| {
        let events: Value = serde_json::from_str(&place.expect(0, "events vm/old -o json").out).unwrap();
        events["events"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(what(&with), what(&alone));
    assert!(what(&with).iter().any(|what| what == "adopted"), "{:?}", what(&with));
    let tasks = json(&with, "/v1/tasks")["tasks"].as_array().unwrap().len();
    assert!(tasks >= 9, "the agent was asked for {tasks} tasks");
    assert_eq!(agent.end(), Some(0));
    with.expect(0, "plan");
}

/// Text without the moments in it.
fn timeless(text: &str) -> String {
    let digit = |c: char| if c.is_ascii_digit() { '0' } else { c };
    text.lines().map(|line| line.chars().map(digit).collect::<String>() + "\n").collect()
}

#[test]
fn overrides_through_the_agent_are_done_and_told_as_alone() {
    let (with, alone) = (place(), place());
    alone.expect(0, "apply manifests --yes");
    let agent = begin(&with);
    for (status, words) in [
        (0, "override list"),
        (0, "override set vm/a spec.cpu.weight=300 --ttl 2h --reason test"),
        (1, "override set vm/a spec.cpu.wait=300 --ttl 2h --reason test"),
        (1, "override set vm/none spec.cpu.weight=300 --ttl 2h --reason test"),
        (0, "override list vm/a"),
        (0, "override list -o yaml"),
        (0, "get vm/a -o yaml"),
        (0, "describe vm/a"),
        (0, "plan"),
        (0, "override set vm/a cpu.weight=400 --ttl 10s --reason again"),
        (1, "override clear vm/a spec.memory.size"),
        (0, "override clear vm/a spec.cpu.weight"),
        (1, "override clear vm/a"),
    ] {
        let ran = [&with, &alone].map(|place| {
            let ran = place.expect(status, words);
            if words.starts_with("override set") && status == 0 {
                let brought = if words.contains("300") { 300 } else { 400 };
                if std::ptr::eq(place, &alone) {
                    let plan = place.expect(2, "plan").out;
                    assert!(plan.contains("cpu.weight is overridden until ") && plan.contains(" by "), "{plan}");
                    place.expect(0, "apply --yes");
                }
                wait(place, "the override", || weight(place, "a") == Some(brought));
                wait(place, "rest", || place.run("plan").status == 0);
            }
            // Who asks is the user that the kernel knows, or the one that the environment names.
            (timeless(&ran.out).replace("tester", "root"), timeless(&ran.err))
        });
        match words {
            "describe vm/a" => ran.iter().for_each(|(out, _)| {
                assert!(out.contains("Overrides:\n  spec.cpu.weight is 000 until "), "{out}");
            }),
            "get vm/a -o yaml" => ran.iter().for_each(|(out, _)| assert!(out.contains("overrides:"), "{out}")),
            "override list vm/a" => ran.iter().for_each(|(out, _)| assert!(out.contains("spec.cpu.weight"), "{out}")),
            _ => assert_eq!(ran[0], ran[1], "reeve {words}"),
        }
    }
    wait(&with, "the manifest", || weight(&with, "a") == Some(100));
    let kept = with.expect(0, "export vm/a").out;
    assert!(kept.contains("weight: 100"), "an override came into the manifest: {kept}");
    assert_eq!(agent.end(), Some(0));
    alone.expect(2, "plan");
    alone.expect(0, "apply --yes");
    assert_eq!(weight(&alone, "a"), Some(100));
}

#[test]
fn health_is_answered_while_a_call_hangs_and_the_hung_task_goes_on_alone() {
    let place = place();
    let agent = begin(&place);
    let text = std::fs::read_to_string(place.path("vms.json")).unwrap();
    let mut state: Value = serde_json::from_str(&text).unwrap();
    state["delay"] = 5_000.into();
    std::fs::write(place.path("vms.json"), state.to_string()).unwrap();
    place.write("by-hand/b.yaml", &vm("b", 7));
    let mut apply = place.command("apply by-hand --yes", &[]);
    let mut apply = apply.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let running = || json(&place, "/v1/tasks")["tasks"].as_array().unwrap().iter().any(|t| t["state"] == "running");
    wait(&place, "the task", || running() && !json(&place, "/v1/tasks")["tasks"][0]["plan"].is_null());
    for path in ["/v1/health", "/metrics", "/v1/events", "/v1/records"] {
        assert!(ask(&place, path).unwrap().starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(running(), "the call has ended before health was answered");
    // Who watches leaves, and the task goes on.
    let pid = rustix::process::Pid::from_child(&apply);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(apply.wait().unwrap().code(), Some(2));
    assert!(running(), "the task ended with who watched it");
    wait(&place, "the end of the task", || !running());
    assert_eq!(json(&place, "/v1/tasks")["tasks"][0]["state"], "done");
    assert!(domain(&place, "b").is_some());
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_socket_that_was_left_behind_is_no_agent() {
    let place = place();
    drop(begin(&place));
    assert!(place.path("data/reeve.sock").exists(), "a killed agent leaves its socket");
    assert!(place.expect(0, "get vm/a").out.contains("Ready"));
    place.write("by-hand/b.yaml", &vm("b", 7));
    place.expect(0, "apply by-hand --yes");
    assert_eq!(begin(&place).end(), Some(0));
}

/// Runs git in a repository of the test's own.
fn git(place: &Place, words: &[&str]) {
    let user = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
    let mut git = std::process::Command::new("git");
    let ran = git.args(user).args(words).current_dir(place.path("origin")).output().unwrap();
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn sync_brings_in_what_a_repository_has_now() {
    let place = Place::new();
    assert!(place.expect(1, "sync").err.contains("no agent runs"));
    std::fs::create_dir(place.path("storage")).unwrap();
    place.write("origin/local.yaml", STORAGE);
    place.write("origin/a.yaml", &vm("a", 100));
    git(&place, &["init", "--quiet", "--initial-branch=main"]);
    git(&place, &["add", "-A"]);
    git(&place, &["commit", "--quiet", "-m", "first"]);
    let config = std::fs::read_to_string(place.path("config.yaml")).unwrap();
    let source = format!("agent:\n  sources:\n    - git: {}\n      interval: 1h\n", place.path("origin").display());
    place.write("config.yaml", &format!("{config}{source}"));
    let agent = Agent::with(&place, "agent");
    wait(&place, "the socket", || ask(&place, "/v1/health").is_some_and(|a| a.starts_with("HTTP/1.1 200")));
    wait(&place, "the machine", || weight(&place, "a") == Some(100));
    place.write("origin/a.yaml", &vm("a", 200));
    git(&place, &["commit", "--quiet", "-am", "second"]);
    let said = place.expect(0, "sync").out;
    assert!(said.contains("2 resources in force at commit "), "{said}");
    wait(&place, "the edit", || weight(&place, "a") == Some(200));
    place.write("origin/a.yaml", &vm("a", 300).replace("128Mi", "many"));
    git(&place, &["commit", "--quiet", "-am", "third"]);
    let said = place.expect(2, "sync").out;
    assert!(said.contains("vm/a is refused") && said.contains("many"), "{said}");
    std::fs::rename(place.path("origin"), place.path("elsewhere")).unwrap();
    let said = place.expect(1, "sync").out;
    assert!(said.contains("what was in force stays in force"), "{said}");
    assert_eq!(weight(&place, "a"), Some(200));
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_suspended_source_gives_nothing_until_it_is_resumed_whatever_is_restarted() {
    let place = place();
    for words in ["suspend manifests", "resume manifests", "sources"] {
        assert!(place.expect(1, words).err.contains("no agent runs"));
    }
    let agent = begin(&place);
    assert!(place.expect(0, "sources").out.ends_with("manifests: 2 resources in force\n"));
    let ran = place.expect(1, "suspend nowhere");
    assert!(ran.err.contains("no source nowhere is followed") && ran.err.contains("[DIR]/manifests"), "{}", ran.err);
    let says = |out: &str| out.contains("it is suspended since 2") && out.contains(" by root: nothing new is taken");
    assert!(says(&place.expect(0, "suspend manifests").out));
    assert!(says(&place.expect(0, "suspend manifests").out), "once more changes nothing");
    place.write("manifests/a.yaml", &vm("a", 200));
    assert!(says(&place.expect(0, "sync").out));
    let ran = place.expect(0, "get vm");
    assert!(ran.err.contains("warning: [DIR]/manifests is suspended since "), "{}", ran.err);
    let status = json(&place, "/v1/resources/vm/a")["status"]["source"].to_string();
    assert!(status.contains("manifests is suspended since "), "{status}");
    assert!(place.expect(0, "describe vm/a").out.contains("manifests is suspended since "));
    assert_eq!(agent.end(), Some(0));
    // Another agent keeps to it, and what was accepted stays in force.
    let agent = begin(&place);
    std::fs::remove_file(place.path("manifests/a.yaml")).unwrap();
    assert!(says(&place.expect(0, "sync").out));
    assert_eq!(weight(&place, "a"), Some(100));
    place.write("manifests/a.yaml", &vm("a", 200));
    assert!(place.expect(0, "resume manifests").out.ends_with("manifests: 2 resources in force\n"));
    wait(&place, "the edit", || weight(&place, "a") == Some(200));
    assert_eq!(place.expect(0, "get vm").err, "");
    let events = place.expect(0, "events node/n1").out;
    assert!(
        events.contains("suspended the source [DIR]/manifests") && events.contains("resumed the source"),
        "{events}"
    );
    assert_eq!(agent.end(), Some(0));
}
