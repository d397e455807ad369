//! The agent under everything at once for a while: its descriptors, threads and memory stay what they are.
//!
//! Fakes stand for the hypervisor, because what could leak here is the agent's own: what it keeps of files, keys, events,
//! clients and tasks. `make soak` does the same for longer.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::command::{Agent, vm, wait, weight};
use crate::cli::{Place, STORAGE};

/// How many machines there are beside those that are edited.
const OTHERS: u32 = 200;
const EDITED: [&str; 4] = ["a", "b", "c", "d"];
/// How many clients stay at a time.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(50);
const MINUTES: f64 = 5.0;

/// What the process has at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    descriptors: usize,
    threads: usize,
    kibibytes: usize,
}

impl Sample {
    fn of(pid: u32) -> Self {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kibibytes = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { descriptors: count("fd"), threads: count("task"), kibibytes }
    }
}

/// A client that follows the events, or that begins to ask and goes no further.
fn client(place: &Place, whole: bool) -> UnixStream {
    let mut stream = UnixStream::connect(place.path("data/reeve.sock")).unwrap();
    let request = "GET /v1/events HTTP/1.1\r\nhost: reeve\r\naccept: text/event-stream\r\n\r\n";
    let part = if whole { request.len() } else { 30 };
    stream.write_all(&request.as_bytes()[..part]).unwrap();
    stream
}

fn ask(place: &Place, path: &str) -> String {
    let mut stream = UnixStream::connect(place.path("data/reeve.sock")).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: reeve\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One round of what people, editors and programs do.
fn round(place: &Place, n: u32, clients: &mut VecDeque<UnixStream>) {
    let name = EDITED[n as usize % EDITED.len()];
    let file = format!("manifests/{name}.yaml");
    let text = vm(name, 100 + n % 9_000);
    match n % 20 {
        7 => place.write(&file, &text.replace("128Mi", "many")),
        13 => std::fs::remove_file(place.path(&file)).unwrap(),
        _ => {
            place.write(&format!("manifests/.{name}"), &text);
            std::fs::rename(place.path(&format!("manifests/.{name}")), place.path(&file)).unwrap();
        }
    }
    if n.is_multiple_of(3) {
        clients.push_back(client(place, !n.is_multiple_of(9)));
        clients.drain(..clients.len().saturating_sub(CLIENTS));
    }
    if n.is_multiple_of(5) {
        let routes = [("/v1/resources", 200), ("/metrics", 200), ("/v1/records", 200), ("/v1/none", 404)];
        let (route, status) = routes[n as usize / 5 % routes.len()];
        assert!(ask(place, route).starts_with(&format!("HTTP/1.1 {status}")), "{route}");
    }
    if n.is_multiple_of(50) {
        place.expect(0, "get vm");
        assert_ne!(place.run("plan").status, 1);
    }
}

/// The middle of what was seen, and the most.
fn measure(samples: &[Sample], of: impl Fn(&Sample) -> usize) -> (usize, usize) {
    let mut seen: Vec<usize> = samples.iter().map(of).collect();
    seen.sort_unstable();
    (seen[seen.len() / 2], seen[seen.len() - 1])
}

#[test]
fn what_it_holds_stays_flat_whatever_happens() {
    let minutes = std::env::var("REEVE_SOAK_MINUTES").map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let place = Place::new();
    std::fs::create_dir(place.path("storage")).unwrap();
    let config = std::fs::read_to_string(place.path("config.yaml")).unwrap();
    // So little that all of it is there soon.
    place.write("config.yaml", &format!("{config}events: {{keep: 100}}\n"));
    place.write("manifests/local.yaml", STORAGE);
    let idle = |n| {
        vm(&format!("idle-{n}"), 100)
            .replace("Always", "Halted")
            .replace("  disks:\n    root: {storage: local, size: 1Mi, format: raw}\n", "")
    };
    place.write("manifests/idle.yaml", &(0..OTHERS).map(|n| format!("---\n{}", idle(n))).collect::<String>());
    EDITED.iter().for_each(|name| place.write(&format!("manifests/{name}.yaml"), &vm(name, 99)));
    let agent = Agent::begin(&place);
    wait(&place, "the last machine", || {
        let made = place.run("get vm -o json").out.matches("\"name\": \"").count();
        made > OTHERS as usize && EDITED.iter().all(|name| weight(&place, name) == Some(99))
    });

    let (begun, mut samples, mut clients) = (Instant::now(), Vec::new(), VecDeque::new());
    let end = Duration::from_secs_f64(minutes * 60.0);
    let mut n = 0;
    while begun.elapsed() < end {
        round(&place, n, &mut clients);
        n += 1;
        std::thread::sleep(PACE);
        if begun.elapsed().as_secs() as usize >= samples.len() {
            samples.push(Sample::of(agent.id()));
        }
    }
    drop(clients);
    EDITED.iter().for_each(|name| place.write(&format!("manifests/{name}.yaml"), &vm(name, 9_999)));
    wait(&place, "the last edits", || EDITED.iter().all(|name| weight(&place, name) == Some(9_999)));
    assert_eq!(agent.end(), Some(0));
    place.expect(0, "plan");

    // The first part is for what is kept to reach its bounds.
    let (early, late) = (&samples[samples.len() * 2 / 5..samples.len() * 3 / 5], &samples[samples.len() * 4 / 5..]);
    let show = |part: &[Sample]| {
        let [fd, task, kib] =
            [measure(part, |s| s.descriptors), measure(part, |s| s.threads), measure(part, |s| s.kibibytes)];
        format!("descriptors {fd:?}, threads {task:?}, KiB {kib:?}")
    };
    let said = format!("{n} rounds; middle and most, early: {}; late: {}", show(early), show(late));
    println!("{said}");
    assert!(measure(late, |s| s.descriptors).1 <= measure(early, |s| s.descriptors).1 + 8, "{said}");
    assert!(measure(late, |s| s.threads).1 <= measure(early, |s| s.threads).1 + 4, "{said}");
    let (was, is) = (measure(early, |s| s.kibibytes).0, measure(late, |s| s.kibibytes).0);
    assert!(is <= was + was / 20 + 1_024, "{said}");
}
