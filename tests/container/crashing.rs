//! A run may break off at any effect, and any call may fail: the next run converges, and nothing is left over.

use reeve::base::{Disruption, FaultKind};
use reeve::drivers::container::CtDriver as _;
use reeve::drivers::container::fake::{Fake, Trouble};
use reeve::kinds::{KindName, Ref};
use serde_json::{Value, json};

use super::bench::Bench;
use super::converging::{bench, full};

/// What the second manifest says: it grows, gets a mount and loses one, and needs a restart.
fn second() -> Value {
    let mut spec = full();
    spec["rootfs"]["size"] = json!("96Mi");
    spec["memory"]["size"] = json!("512Mi");
    spec["features"] = json!({"nesting": true});
    spec["mounts"] = json!({"more": {"path": "/more", "storage": "local", "size": "32Mi"}});
    spec
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Create,
    Update,
    Delete,
    Destroy,
}

async fn act(bench: &mut Bench, ct: &Ref, act: Act) -> Result<(), reeve::base::Fault> {
    bench.options.destroy_data = act == Act::Destroy;
    match act {
        Act::Create | Act::Update => bench.apply(ct).await,
        Act::Delete | Act::Destroy => bench.delete(ct).await,
    }
}

/// A bench in which `act` is the next thing to do.
async fn before(what: Act) -> (Bench, std::sync::Arc<Fake>, Ref) {
    let (mut bench, fake) = bench().await;
    bench.options.allow = Disruption::Restart;
    let ct = bench.say(KindName::Container, "dns-1", full());
    if what != Act::Create {
        bench.apply(&ct).await.unwrap();
    }
    if what == Act::Update {
        bench.say(KindName::Container, "dns-1", second());
    }
    fake.forget_calls();
    (bench, fake, ct)
}

async fn settled(bench: &mut Bench, fake: &Fake, ct: &Ref, what: Act, when: &str) {
    bench.options.destroy_data = what == Act::Destroy;
    match what {
        Act::Create | Act::Update => {
            bench.settle(std::slice::from_ref(ct), &[]).await;
            assert_eq!(bench.changes(ct).await, Vec::<String>::new(), "{what:?} {when}");
            let seen = fake.find(&ct.name).await.unwrap().unwrap();
            assert!(seen.power.active());
            assert_eq!(seen.running.unwrap().canonical(), seen.configured.canonical());
            for volume in bench.volumes().await {
                assert!(volume.ends_with(" attached") || (what == Act::Update && volume.ends_with(" detached")), "{volume}");
            }
            assert_eq!(bench.volumes().await.len(), if what == Act::Create { 2 } else { 3 }, "{what:?} {when}");
        }
        Act::Delete | Act::Destroy => {
            bench.settle(&[], std::slice::from_ref(ct)).await;
            assert_eq!(fake.find(&ct.name).await.unwrap(), None);
            let volumes = bench.volumes().await;
            let kept = if what == Act::Destroy { 0 } else { 2 };
            assert!(volumes.len() == kept && volumes.iter().all(|v| v.ends_with(" orphan")), "{when}: {volumes:?}");
        }
    }
}

#[tokio::test]
async fn it_converges_from_every_point() {
    for what in [Act::Create, Act::Update, Act::Delete, Act::Destroy] {
        let mut points = 0;
        loop {
            let (mut bench, fake, ct) = before(what).await;
            *bench.journal.left.lock().unwrap() = Some(points);
            let done = act(&mut bench, &ct, what).await;
            settled(&mut bench, &fake, &ct, what, &format!("at point {points}")).await;
            if done.is_ok() {
                break;
            }
            points += 1;
        }
        eprintln!("{what:?}: {points} points");
        assert!(points >= 6, "{what:?} has only {points} points");
    }
}

#[tokio::test]
async fn it_converges_when_any_call_fails() {
    for trouble in [Trouble::Fails(FaultKind::Unavailable), Trouble::FailsAfter(FaultKind::Deadline)] {
        for what in [Act::Create, Act::Update, Act::Delete] {
            for call in 1.. {
                let (mut bench, fake, ct) = before(what).await;
                fake.trouble(call, trouble);
                let done = act(&mut bench, &ct, what).await;
                let reached = fake.calls().len() >= call;
                assert!(done.is_err() == reached, "{what:?} call {call}: {done:?} {:?}", fake.calls());
                fake.calm();
                settled(&mut bench, &fake, &ct, what, &format!("when call {call} fails")).await;
                if !reached {
                    break;
                }
            }
        }
    }
}
