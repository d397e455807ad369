//! A crash before and after every effect of create, update and delete: the next run finishes, and nothing leaks.

use serde_json::{Value, json};

use super::stage::{Crashing, Stage};
use crate::base::Disruption;
use crate::drivers::guest::{Power, VmDriver as _};

/// What is done to a stage, and broken off.
type Act = for<'a> fn(&'a mut Stage, &'a Crashing) -> futures::future::LocalBoxFuture<'a, bool>;

fn full() -> Value {
    json!({
        "runStrategy": "Always",
        "disks": {
            "root": {"storage": "fast", "size": "20Gi"},
            "data": {"storage": "fast", "size": "5Gi"},
            "cd": {"media": "cdrom"}
        },
        "nics": {"eth0": {"network": "lan"}},
        "cloudInit": {"reconcile": {"hostname": "one"}}
    })
}

fn changed() -> Value {
    let mut spec = full();
    spec["disks"]["root"]["size"] = json!("30Gi");
    spec["disks"]["data"] = Value::Null;
    spec["disks"].as_object_mut().unwrap().shift_remove("data");
    spec["disks"]["more"] = json!({"storage": "slow", "size": "1Gi"});
    spec["disks"]["cd"]["path"] = json!("/srv/x.iso");
    spec["nics"]["eth1"] = json!({"network": "dmz"});
    spec["cpu"] = json!({"model": "EPYC", "limit": 0.5});
    spec["cloudInit"]["reconcile"]["hostname"] = json!("two");
    spec["tags"] = json!(["x"]);
    spec
}

/// Runs `act` on fresh stages with a crash at every point, before and after; gives the number of points.
async fn at_every_point(prepare: Act, act: Act, settle: Act) -> usize {
    let mut stage = Stage::new();
    prepare(&mut stage, &Crashing::default()).await;
    let whole = Crashing::default();
    assert!(act(&mut stage, &whole).await);
    for point in 1..=whole.points() {
        for before in [true, false] {
            let mut stage = Stage::new();
            prepare(&mut stage, &Crashing::default()).await;
            let journal =
                Crashing { before: before.then_some(point), after: (!before).then_some(point), ..Crashing::default() };
            let whole = act(&mut stage, &journal).await;
            assert!(!whole, "point {point} is reached");
            assert!(settle(&mut stage, &journal).await, "point {point}, before: {before}");
        }
    }
    whole.points()
}

#[tokio::test]
async fn create_converges_from_every_point() {
    let act: Act = |stage, journal| {
        Box::pin(async {
            stage.want(full());
            stage.apply_with(journal).await.is_ok()
        })
    };
    let settle: Act = |stage, journal| {
        Box::pin(async {
            stage.apply().await.unwrap();
            stage.recover(journal, false).await;
            assert_eq!(stage.shelf.volumes().len(), 2);
            assert_eq!(stage.seeds().len(), 1);
            assert_eq!(stage.live().await.power, Power::Running);
            stage.assert_settled().await;
            true
        })
    };
    let points = at_every_point(|_, _| Box::pin(async { true }), act, settle).await;
    assert_eq!(points, 6, "the whole, two volumes, a seed, the domain, its start");
}

#[tokio::test]
async fn a_create_that_is_given_up_leaves_nothing() {
    let act: Act = |stage, journal| {
        Box::pin(async {
            stage.want(full());
            stage.apply_with(journal).await.is_ok()
        })
    };
    let settle: Act = |stage, journal| {
        Box::pin(async {
            // The manifest is taken back, as a delete with its data.
            stage.options.destroy_data = true;
            stage.delete_with(&Crashing::default()).await.unwrap();
            stage.recover(journal, true).await;
            assert!(stage.shelf.volumes().is_empty(), "{:?}", stage.shelf.volumes());
            assert_eq!(stage.seeds(), [""; 0]);
            assert!(stage.fake.find("web-1").await.unwrap().is_none());
            true
        })
    };
    at_every_point(|_, _| Box::pin(async { true }), act, settle).await;
}

#[tokio::test]
async fn update_converges_from_every_point() {
    let prepare: Act = |stage, _| {
        Box::pin(async {
            stage.want(full());
            stage.apply().await.is_ok()
        })
    };
    let act: Act = |stage, journal| {
        Box::pin(async {
            stage.want(changed());
            stage.allow(Disruption::Restart);
            stage.apply_with(journal).await.is_ok()
        })
    };
    let settle: Act = |stage, journal| {
        Box::pin(async {
            for _ in 0..3 {
                stage.apply().await.unwrap();
            }
            stage.recover(journal, false).await;
            assert_eq!(stage.shelf.state("vm-web-1-data"), "detached");
            assert_eq!(stage.shelf.volumes()["vm-web-1-root"].size.to_string(), "30Gi");
            assert_eq!(stage.other.volumes().keys().collect::<Vec<_>>(), ["vm-web-1-more"]);
            assert_eq!(stage.seeds().len(), 1, "{:?}", stage.seeds());
            assert_eq!(stage.live().await.power, Power::Running);
            stage.assert_settled().await;
            true
        })
    };
    let points = at_every_point(prepare, act, settle).await;
    assert!(points > 10, "{points}");
}

#[tokio::test]
async fn a_restart_that_is_broken_off_comes_up_again_whatever_the_strategy() {
    for strategy in ["RerunOnFailure", "Manual"] {
        for point in 1..12 {
            for before in [true, false] {
                let mut stage = Stage::new();
                let mut spec = full();
                spec["runStrategy"] = json!("Always");
                stage.want(spec.clone());
                stage.apply().await.unwrap();
                spec["runStrategy"] = json!(strategy);
                stage.want(spec.clone());
                stage.apply().await.unwrap();
                spec["cpu"] = json!({"model": "EPYC"});
                stage.want(spec);
                stage.allow(Disruption::Restart);
                let journal = Crashing {
                    before: before.then_some(point),
                    after: (!before).then_some(point),
                    ..Crashing::default()
                };
                let _ = stage.apply_with(&journal).await;
                stage.apply().await.unwrap();
                assert_eq!(stage.live().await.power, Power::Running, "{strategy} {point} {before}");
                stage.assert_settled().await;
            }
        }
    }
}

#[tokio::test]
async fn delete_converges_from_every_point_and_keeps_or_destroys_all() {
    let prepare: Act = |stage, _| {
        Box::pin(async {
            stage.want(full());
            stage.apply().await.is_ok()
        })
    };
    let act: Act = |stage, journal| Box::pin(async { stage.delete_with(journal).await.is_ok() });
    let gone: Act = |stage, journal| {
        Box::pin(async {
            stage.delete_with(&Crashing::default()).await.unwrap();
            stage.recover(journal, true).await;
            assert!(stage.fake.find("web-1").await.unwrap().is_none());
            assert_eq!(stage.seeds(), [""; 0]);
            assert_eq!(stage.shelf.volumes().len(), 2);
            assert_eq!(stage.shelf.state("vm-web-1-root"), "orphan");
            assert_eq!(stage.shelf.state("vm-web-1-data"), "orphan");
            true
        })
    };
    at_every_point(prepare, act, gone).await;
    let act: Act = |stage, journal| {
        Box::pin(async {
            stage.options.destroy_data = true;
            stage.delete_with(journal).await.is_ok()
        })
    };
    let gone: Act = |stage, journal| {
        Box::pin(async {
            stage.delete_with(&Crashing::default()).await.unwrap();
            stage.recover(journal, true).await;
            assert!(stage.fake.find("web-1").await.unwrap().is_none());
            assert_eq!(stage.seeds(), [""; 0]);
            assert!(stage.shelf.volumes().is_empty());
            true
        })
    };
    at_every_point(prepare, act, gone).await;
}
