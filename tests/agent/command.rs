//! `reeve agent` as its user runs it: a process, a folder of manifests, fakes that keep their state in files.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{Place, STORAGE};

const VM: &str = "apiVersion: reeve/v1
kind: VirtualMachine
metadata: {name: NAME}
spec:
  runStrategy: Always
  cpu: {weight: WEIGHT}
  memory: {size: 128Mi}
  disks:
    root: {storage: local, size: 1Mi, format: raw}
";

/// A guest's manifest.
pub fn vm(name: &str, weight: u32) -> String {
    VM.replace("NAME", name).replace("WEIGHT", &weight.to_string())
}

/// An agent that is killed when a test ends.
pub struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    /// One that follows the folder `manifests`.
    pub fn begin(place: &Place) -> Self {
        Self::with(place, "agent manifests")
    }

    /// One with these words.
    pub fn with(place: &Place, words: &str) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(place.path("agent.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
        command.args(words.split(' ')).current_dir(place.path("")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("REEVE_CONFIG", place.path("config.yaml")).env("REEVE_LOG", "reeve=debug,warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, and gives its exit status.
    pub fn end(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

/// What the hypervisor keeps of a guest.
pub fn domain(place: &Place, name: &str) -> Option<Value> {
    let state: Value = serde_json::from_slice(&std::fs::read(place.path("vms.json")).ok()?).ok()?;
    state["domains"].get(name).cloned()
}

/// The weight that the hypervisor has for a guest that runs.
pub fn weight(place: &Place, name: &str) -> Option<u64> {
    domain(place, name)?["running"]["spec"]["cpu"]["weight"].as_u64()
}

/// Waits until something is so, and shows the agent's log when it is not.
#[track_caller]
pub fn wait(place: &Place, what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !done() {
        let log = || std::fs::read_to_string(place.path("agent.log")).unwrap_or_default();
        assert!(Instant::now() < until, "{what} did not happen:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path("storage")).unwrap();
    place.write("manifests/local.yaml", STORAGE);
    place.write("manifests/a.yaml", &vm("a", 100));
    place
}

#[test]
fn a_folder_is_followed_whatever_is_done_to_it() {
    let place = place();
    let agent = Agent::begin(&place);
    wait(&place, "the first reading", || weight(&place, "a") == Some(100));
    place.write("manifests/.a.yaml.swp", &vm("a", 200));
    std::fs::rename(place.path("manifests/.a.yaml.swp"), place.path("manifests/a.yaml")).unwrap();
    wait(&place, "an editor's rename", || weight(&place, "a") == Some(200));
    place.write("manifests/b.yaml", "kind: VirtualMachine\nmetadata: {name: b}\nspec: {memory: nonsense}\n");
    place.write("manifests/a.yaml", &vm("a", 300));
    wait(&place, "an edit beside a broken file", || weight(&place, "a") == Some(300));
    std::fs::rename(place.path("manifests"), place.path("old")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    place.write("manifests/deep/er/a.yaml", &vm("a", 400));
    place.write("manifests/local.yaml", STORAGE);
    wait(&place, "a folder deleted and made again", || weight(&place, "a") == Some(400));
    place.write("manifests/deep/er/c.yaml", &vm("c", 1));
    wait(&place, "a new file below a new folder", || weight(&place, "c") == Some(1));
    assert_eq!(agent.end(), Some(0));
    place.expect(0, "plan");
    let events = place.expect(0, "events").out;
    assert!(events.contains("its manifest is not valid"), "{events}");
    assert!(!events.contains("deleted"), "nothing was removed: {events}");
    let status = place.expect(0, "get vm/a -o json").out;
    assert!(status.contains(r#""type": "Ready""#), "{status}");
}

#[test]
fn a_link_is_swapped_as_config_maps_are() {
    let place = Place::new();
    std::fs::create_dir(place.path("storage")).unwrap();
    for (version, weight) in [("v1", 100), ("v2", 200)] {
        place.write(&format!("mount/{version}/a.yaml"), &vm("a", weight));
        place.write(&format!("mount/{version}/local.yaml"), STORAGE);
    }
    let link = |from: &str, to: &str| std::os::unix::fs::symlink(from, place.path(to)).unwrap();
    link("v1", "mount/..data");
    std::fs::create_dir(place.path("manifests")).unwrap();
    link("../mount/..data/a.yaml", "manifests/a.yaml");
    link("../mount/..data/local.yaml", "manifests/local.yaml");
    let agent = Agent::begin(&place);
    wait(&place, "the first reading", || weight(&place, "a") == Some(100));
    link("v2", "mount/..new");
    std::fs::rename(place.path("mount/..new"), place.path("mount/..data")).unwrap();
    wait(&place, "the swap", || weight(&place, "a") == Some(200));
    assert_eq!(agent.end(), Some(0));
}

/// Kills the agent so many times at any moment while files change; fakes stand for the hypervisor, because a real one
/// would take minutes and adds nothing to when a process is killed.
fn killed(times: u64) {
    let place = place();
    let mut chance = fastrand::Rng::with_seed(times);
    let mut reached = std::collections::BTreeSet::new();
    for round in 0..times {
        let agent = Agent::begin(&place);
        for _ in 0..chance.u8(1..3) {
            std::thread::sleep(Duration::from_millis(chance.u64(0..120)));
            let name = if chance.bool() { "a" } else { "b" };
            place.write(&format!("manifests/{name}.yaml"), &vm(name, u32::try_from(round + 2).unwrap()));
        }
        std::thread::sleep(Duration::from_millis(chance.u64(0..120)));
        drop(agent);
        reached.extend(weight(&place, "a"));
    }
    assert!(reached.len() > 20, "the agents were killed at their work, and not only before it: {reached:?}");
    place.write("manifests/a.yaml", &vm("a", 5_000));
    place.write("manifests/b.yaml", &vm("b", 6_000));
    let agent = Agent::begin(&place);
    wait(&place, "the last edit", || weight(&place, "a") == Some(5_000) && weight(&place, "b") == Some(6_000));
    assert_eq!(agent.end(), Some(0));
    place.expect(0, "plan");
    // What the last kill left is cleared once a resource is seen to be as it shall be; the agent was ended before that.
    wait(&place, "an empty journal", || {
        let agent = Agent::begin(&place);
        std::thread::sleep(Duration::from_secs(1));
        agent.end() == Some(0) && open_effects(&place).is_empty()
    });
    for name in ["a", "b"] {
        assert_eq!(domain(&place, name).unwrap()["starts"], 1, "{name} was never restarted");
    }
    let volumes = std::fs::read_dir(place.path("storage/images")).unwrap().flatten();
    let names: Vec<String> = volumes.map(|e| e.file_name().into_string().unwrap()).collect();
    let disks = names.iter().filter(|n| n.starts_with("vm-") && n.ends_with(".raw")).count();
    assert_eq!(disks, 2, "no volume is left over: {names:?}");
}

fn open_effects(place: &Place) -> Vec<String> {
    use reeve::base::clock::SystemClock;
    use reeve::store::{Embedded, embedded::Options};
    let clock = std::sync::Arc::new(SystemClock);
    let store = Embedded::open(&place.path("data/store"), Options::default(), clock.clone()).unwrap();
    let ledger = reeve::engine::records::Ledger::new(std::sync::Arc::new(store), clock);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(ledger.journal()).unwrap().into_iter().map(|r| format!("{} {}", r.resource, r.op)).collect()
}

#[test]
fn killed_two_hundred_times_it_converges() {
    killed(200);
}

/// So long after a reading another one would have been, if it was to be.
const SETTLED: Duration = Duration::from_secs(1);

/// How often the agent has read its source so far, and how many manifests were valid each time.
fn readings(place: &Place) -> Vec<usize> {
    let log = std::fs::read_to_string(place.path("agent.log")).unwrap();
    let valid = |line: &str| line.split_once(" valid=")?.1.split(' ').next()?.parse().ok();
    log.lines().filter(|line| line.contains("files read")).filter_map(valid).collect()
}

#[test]
fn a_queue_of_notifications_that_overflows_loses_no_edit() {
    let place = place();
    let agent = Agent::begin(&place);
    wait(&place, "the first reading", || weight(&place, "a") == Some(100));
    let before = readings(&place).len();
    let pid = rustix::process::Pid::from_raw(i32::try_from(agent.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: u32 = most.trim().parse().unwrap();
    let [one, other] = ["a", "local"].map(|name| place.path(&format!("manifests/{name}.yaml")));
    // The kernel makes one of two equal notifications in a row.
    for n in 0..=most {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(if n % 4 < 2 { 0o600 } else { 0o644 });
        std::fs::set_permissions(if n % 2 == 0 { &one } else { &other }, mode).unwrap();
    }
    place.write("manifests/a.yaml", &vm("a", 200));
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    wait(&place, "the edit that nobody was told of", || weight(&place, "a") == Some(200));
    wait(&place, "its reading", || readings(&place).len() > before);
    std::thread::sleep(SETTLED);
    assert_eq!(readings(&place).len(), before + 1, "one reading for all of it");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_checkout_of_hundreds_of_files_is_one_whole_reading() {
    const FILES: usize = 200;
    let place = place();
    let bare = |n: usize, weight| {
        let text = vm(&format!("m{n}"), weight).replace("Always", "Halted");
        text.replace("  disks:\n    root: {storage: local, size: 1Mi, format: raw}\n", "")
    };
    let git = |words: &str| {
        let user = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        let mut git = Command::new("git");
        let ran = git.args(user).args(words.split(' ')).current_dir(place.path("manifests")).output().unwrap();
        assert!(ran.status.success(), "{words}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    git("init --quiet --initial-branch=first");
    for (branch, weight) in [("first", 10), ("second", 20)] {
        if branch != "first" {
            git("checkout --quiet -b second");
        }
        (0..FILES).for_each(|n| place.write(&format!("manifests/m{n}.yaml"), &bare(n, weight)));
        git("add --all");
        git(&format!("commit --quiet -m {branch}"));
    }
    git("checkout --quiet first");
    let agent = Agent::begin(&place);
    let all = |weight: u32| place.run("export").out.matches(&format!("weight: {weight}\n")).count();
    wait(&place, "the first branch", || all(10) == FILES);
    let before = readings(&place).len();
    let begun = Instant::now();
    git("checkout --quiet second");
    let took = begun.elapsed();
    wait(&place, "the second branch", || all(20) == FILES);
    wait(&place, "its reading", || readings(&place).len() > before);
    std::thread::sleep(SETTLED);
    let since = readings(&place).split_off(before);
    assert!(since.iter().all(|valid| *valid == FILES + 2), "each of them whole: {since:?}");
    // What takes longer than the longest wait is read more than once.
    let most = 1 + usize::try_from(took.as_secs()).unwrap();
    assert!(since.len() <= most, "{since:?} in {took:?}");
    assert_eq!(agent.end(), Some(0));
}

#[test]
fn a_folder_in_which_something_happens_all_the_time_is_read_nevertheless() {
    let place = place();
    let agent = Agent::begin(&place);
    wait(&place, "the first reading", || weight(&place, "a") == Some(100));
    let busy = std::sync::atomic::AtomicBool::new(true);
    let going = || busy.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0;
            while going() {
                n += 1;
                place.write("manifests/notes.txt", &n.to_string());
                std::fs::rename(place.path("manifests/notes.txt"), place.path(&format!("manifests/notes-{}", n % 2)))
                    .unwrap();
                std::thread::sleep(Duration::from_millis(15));
            }
            n
        });
        place.write("manifests/a.yaml", &vm("a", 200));
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait(&place, "the edit, while it goes on", || weight(&place, "a") == Some(200));
        }));
        busy.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(writer.join().unwrap() > 20, "something happened all the time");
        read.unwrap();
    });
    assert_eq!(agent.end(), Some(0));
}
