//! Whatever the manifests, whatever is there, whatever goes wrong: once it works again, one plan and one apply bring the
//! node to its manifests, the next plan is empty, and a second apply does nothing.
//!
//! ```text
//! foreign things -> a world, applied with faults and deaths -> calm, checked -> drift
//!                -> another world, applied likewise -> calm, checked
//! ```
//! A case is made from one number. A case that fails is made smaller and printed with its number:
//! `REEVE_SEED=N REEVE_CASES=1 cargo nextest run convergence` does it again. `REEVE_CASES` does more or fewer.

mod fragile;
mod node;
mod trouble;
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner};
use reeve::base::Size;
use reeve::drivers::container::CtDriver as _;
use reeve::drivers::guest::VmDriver as _;
use reeve::drivers::storage::Attachment;
use reeve::engine::recover::Unfinished;
use reeve::kinds::Ref;
use reeve::plan::model::Readiness;
use reeve::store::Store as _;

use self::node::Node;
use self::trouble::{Drift, Foreign, Round};
use self::worlds::{SECRET, World};

/// Everything that happens to one node.
#[derive(Debug, Clone)]
struct Case {
    foreign: Vec<Foreign>,
    first: World,
    rounds: Vec<Round>,
    drift: Vec<Drift>,
    second: World,
    prune: bool,
    more_rounds: Vec<Round>,
}

fn case() -> impl Strategy<Value = Case> {
    let again = (worlds::world(2), any::<bool>(), trouble::rounds());
    (trouble::foreigners(), worlds::world(0), trouble::rounds(), trouble::drifts(), again).prop_map(
        |(foreign, first, rounds, drift, (second, prune, more_rounds))| Case {
            foreign,
            first,
            rounds,
            drift,
            second,
            prune,
            more_rounds,
        },
    )
}

/// The storages' volumes with their sizes: what must not be lost.
type Volumes = Vec<BTreeMap<String, Size>>;

/// What a check compares with.
struct Before {
    foreign: Vec<String>,
    volumes: Volumes,
}

async fn play(case: &Case, durable: bool) {
    let mut node = Node::new(durable);
    case.foreign.iter().for_each(|f| f.plant(&node));
    let mut before = Before { foreign: foreign(&node).await, volumes: vec![BTreeMap::new(); 2] };
    faulty(&mut node, &case.first, false, &case.rounds).await;
    node.apply(Some(&case.first), false, None).await;
    check(&mut node, case, &before).await;
    before.volumes = volumes(&node);
    case.drift.iter().for_each(|d| d.happen(&node));
    // What others take away is not lost by us, and what they do to their own is theirs.
    before.foreign = foreign(&node).await;
    if case.drift.iter().any(|d| matches!(d, Drift::VolumeGone(_))) {
        before.volumes = volumes(&node);
    }
    faulty(&mut node, &case.second, case.prune, &case.more_rounds).await;
    node.apply(Some(&case.second), case.prune, None).await;
    if !case.prune {
        node.apply(None, false, None).await;
    }
    check(&mut node, case, &before).await;
}

/// Applies while things go wrong.
async fn faulty(node: &mut Node, world: &World, prune: bool, rounds: &[Round]) {
    for round in rounds {
        node.vms.forget_calls();
        node.cts.forget_calls();
        round.troubles.iter().for_each(|t| t.arm(node));
        node.apply(Some(world), prune, round.death).await;
    }
    trouble::calm(node);
}

async fn check(node: &mut Node, case: &Case, before: &Before) {
    settled(node, case).await;
    let (calls, files, revision) = (node.calls(), node.files(), node.store.list("").await.unwrap().revision);
    node.apply(None, false, None).await;
    let again = node.calls();
    assert_eq!(again[calls.len().min(again.len())..], [] as [String; 0], "a second apply changed something");
    assert_eq!(node.files(), files, "a second apply changed files");
    assert_eq!(node.store.list("").await.unwrap().revision, revision, "a second apply wrote to the store");
    assert_eq!(foreign(node).await, before.foreign, "something foreign was touched");
    for (now, then) in volumes(node).iter().zip(&before.volumes) {
        for (name, size) in then {
            assert!(now.get(name).is_some_and(|n| n >= size), "the volume {name} of {size} was lost or shrank");
        }
    }
    let unfinished = Unfinished::read(&node.ledger()).await.unwrap();
    assert!(unfinished.is_empty(), "the journal is not empty: {unfinished:?}");
    nothing_twice(node).await;
    nothing_half_made(node, case);
    no_secret(node).await;
}

/// The plan is empty, save for what something foreign stands in the way of.
async fn settled(node: &Node, case: &Case) {
    let plan = node.plan().await;
    let accepted = node.ledger().accepted().await.unwrap();
    let mut stuck: BTreeSet<Ref> = case.foreign.iter().filter_map(|f| f.blocks()).collect();
    for reference in reeve::plan::desired::order(&accepted.catalog) {
        let needs = accepted.catalog.get(&reference).unwrap().spec.references();
        if needs.iter().any(|n| n.required && stuck.contains(&n.to)) {
            stuck.insert(reference);
        }
    }
    for step in &plan.steps {
        let excused = stuck.contains(&step.resource) && matches!(step.readiness, Readiness::Blocked(_));
        let fields = step.fields.iter().map(|f| format!("  {}: {} -> {} {:?}\n", f.path, f.have, f.want, f.cause));
        let why = format!("{} {:?} {:?}\n{}", step.resource, step.action, step.readiness, fields.collect::<String>());
        assert!(excused, "the plan is not empty: {why}said last:\n{}", last(node));
    }
}

/// What was said last.
fn last(node: &Node) -> String {
    let said = node.said.lock().unwrap();
    let last = said.iter().rev().filter(|s| s.starts_with("Outcome") && !s.contains("ending: Done")).take(8);
    last.map(|s| s.chars().take(600).collect::<String>()).collect::<Vec<_>>().join("\n")
}

/// Everything without our mark, in words.
async fn foreign(node: &Node) -> Vec<String> {
    let mut all = Vec::new();
    for domain in node.vms.list().await.unwrap().into_values().flatten().filter(|d| d.record.is_none()) {
        all.push(format!("{domain:?}"));
    }
    for (name, seen) in node.cts.list().await.unwrap() {
        all.extend(seen.ok().filter(|s| s.record.is_none()).map(|s| format!("{name} {s:?}")));
    }
    let networks = node.libvirt.networks().into_values().chain(node.bridges.networks().into_values());
    all.extend(networks.filter(|n| n.mark.is_none()).map(|n| format!("{n:?}")));
    let volumes = node.disks.iter().flat_map(|d| d.volumes().into_values());
    all.extend(volumes.filter(|v| !ours(v)).map(|v| format!("{v:?}")));
    all
}

fn ours(volume: &reeve::drivers::storage::VolumeInfo) -> bool {
    volume.mark.as_ref().is_some_and(|m| m.resource != "vm/another")
}

fn volumes(node: &Node) -> Volumes {
    let of = |d: &Arc<reeve::drivers::storage::fake::Fake>| {
        d.volumes().into_iter().filter(|(_, v)| ours(v)).map(|(name, v)| (name, v.size)).collect()
    };
    node.disks.iter().map(of).collect()
}

/// No two running guests have one disk, and no machine is there twice.
async fn nothing_twice(node: &Node) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut take = |what: String, by: &str| {
        if let Some(other) = taken.insert(what.clone(), by.to_owned()) {
            panic!("{what} is used by {other} and {by}");
        }
    };
    let mut uuids = BTreeSet::new();
    for (name, domain) in node.vms.list().await.unwrap() {
        let domain = domain.unwrap();
        assert!(uuids.insert(domain.uuid), "{name} is there twice");
        for (disk, attachment) in domain.running.iter().flat_map(|m| &m.disks) {
            match attachment {
                Some(Attachment::File { path, .. }) if !path.starts_with(node.data()) => {
                    take(path.display().to_string(), &format!("{name} {disk}"));
                }
                _ => {}
            }
        }
    }
    for (name, seen) in node.cts.list().await.unwrap() {
        let Some(record) = seen.unwrap().record else { continue };
        for backing in record.mounts.values().chain([&record.rootfs]) {
            if let Some(volume) = backing.volume.as_deref() {
                take(format!("{:?}/{volume}", backing.storage), name.as_str());
            }
        }
    }
}

/// No volume is there that was begun and that nobody has.
fn nothing_half_made(node: &Node, case: &Case) {
    if !case.foreign.is_empty() {
        return;
    }
    for volume in node.disks.iter().flat_map(|d| d.volumes().into_values()).filter(ours) {
        let applied = volume.mark.as_ref().and_then(|m| m.applied.as_ref());
        let state = applied.and_then(|a| a.get("state")).and_then(|s| s.as_str()).unwrap_or_default();
        assert!(!["new", "filling"].contains(&state), "{} is half made: {volume:?}", volume.name);
    }
}

/// The secret's value is nowhere that anybody reads.
async fn no_secret(node: &Node) {
    let mut all = node.said.lock().unwrap().clone();
    for entry in node.store.list("").await.unwrap().entries {
        all.push(String::from_utf8_lossy(&entry.value).into_owned());
    }
    all.extend(node.calls());
    all.push(format!("{:?} {:?}", node.vms.list().await, node.cts.list().await));
    for text in all {
        assert!(!text.contains(SECRET), "a secret is shown: {text}");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Plays one case with everything that is logged read for secrets.
fn run(case: &Case, durable: bool) -> Result<(), TestCaseError> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone());
    let played = tracing::subscriber::with_default(subscriber.finish(), || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(play(case, durable));
        }))
    });
    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    if text.contains(SECRET) {
        return Err(TestCaseError::fail(format!("a secret is logged: {text}")));
    }
    played.map_err(|why| {
        let why = why.downcast_ref::<String>().map(String::as_str).or(why.downcast_ref::<&str>().copied());
        TestCaseError::fail(why.unwrap_or("it panicked").to_owned())
    })
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |n| n.parse().unwrap())
}

/// Plays so many cases, each made from its own number.
fn play_many(first: u64, cases: u64, durable: bool) {
    let strategy = case();
    // What a case that fails says is said once, when it cannot be made smaller.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in first..first + cases {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config =
            ProptestConfig { cases: 1, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        if let Err(error) = runner.run(&strategy, |case| run(&case, durable)) {
            drop(std::panic::take_hook());
            panic!("case {seed}; again with REEVE_SEED={seed} REEVE_CASES=1\n{error}");
        }
    }
    drop(std::panic::take_hook());
}

#[test]
fn any_world_over_any_other_converges() {
    play_many(number("REEVE_SEED", 1), number("REEVE_CASES", 300), false);
}

#[test]
fn any_other_world_over_any_other_converges_too() {
    play_many(number("REEVE_SEED", 1) + 1_000_000, number("REEVE_CASES", 300), false);
}

#[test]
fn and_so_it_does_with_the_store_that_keeps() {
    play_many(number("REEVE_SEED", 1) + 2_000_000, number("REEVE_CASES", 300).div_ceil(10), true);
}
