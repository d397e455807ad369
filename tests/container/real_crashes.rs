//! kill -9 at every point of create, update and delete of a real container: each time the next run converges, and no
//! loop device, mount, interface, control group or volume is left over.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use reeve::base::Disruption;
use reeve::drivers::container::lxc::Lxc;
use reeve::kinds::{KindName, Ref};
use serde_json::{Value, json};

use super::bench::Bench;
use crate::ct_driver::lab::{Lab, make_archive, run};

const CHILD: &str = "REEVE_TEST_CT_CHILD";

fn first(bridge_net: &str) -> Value {
    json!({
        "runStrategy": "Always", "stopTimeout": "10s", "rootfs": {"storage": "local", "size": "32Mi", "image": "small"},
        "mounts": {"data": {"path": "/srv", "storage": "local", "size": "16Mi"}},
        "memory": {"size": "64Mi"}, "nics": {"eth0": {"network": "lan", "addresses": [format!("{bridge_net}.5/24")]}}
    })
}

fn second(net: &str) -> Value {
    let mut spec = first(net);
    spec["memory"]["size"] = json!("96Mi");
    spec["features"] = json!({"nesting": true});
    spec["mounts"] = json!({"more": {"path": "/more", "storage": "local", "size": "16Mi"}});
    spec
}

/// What the child does, given as words: the root, the bridge, its network, and `create`, `update` or `delete`.
#[tokio::test]
async fn child() {
    // On its own this is no test; the others start it in a process of its own, to be killed.
    let Ok(words) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = words.split(' ').collect();
    let [root, bridge, net, act] = words[..] else { panic!("{words:?}") };
    let (mut bench, ct) = node(root, bridge, net, act != "create");
    match act {
        "create" => bench.apply(&ct).await.unwrap(),
        "update" => {
            bench.say(KindName::Container, "ct-crash", second(net));
            bench.apply(&ct).await.unwrap();
        }
        _ => bench.delete(&ct).await.unwrap(),
    }
}

fn node(root: &str, bridge: &str, net: &str, _there: bool) -> (Bench, Ref) {
    let root = std::path::Path::new(root);
    let mut bench = Bench::at(root, Arc::new(Lxc::below(root.join("l"))), bridge);
    bench.options.allow = Disruption::Restart;
    let ct = bench.say(KindName::Container, "ct-crash", first(net));
    (bench, ct)
}

/// Does one act in a child that is killed at this point; whether it was killed before it was done.
fn killed_at(lab: &Lab, act: &str, point: u32) -> bool {
    let words = format!("{} {} {} {act}", lab.dir.path().display(), lab.bridge, lab.net);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "container::real_crashes::child", "--nocapture"])
        .env(CHILD, words)
        .env("REEVE_CRASH_AT", point.to_string())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{act} at {point}: {status}");
    status.signal() == Some(9)
}

/// Everything outside that a container may leave behind.
fn leftovers(lab: &Lab) -> Vec<String> {
    let mut found = lab.loops();
    let root = lab.dir.path().display().to_string();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(&root)).map(str::to_owned));
    let links = run("ip", &["-br", "link", "show", "master", &lab.bridge]).unwrap();
    found.extend(links.lines().map(str::to_owned));
    let groups = run("find", &["/sys/fs/cgroup", "-maxdepth", "3", "-name", "lxc.*.ct-crash*"]).unwrap_or_default();
    found.extend(groups.lines().map(str::to_owned));
    found
}

async fn every_point(act: &str) {
    let lab = Lab::new();
    make_archive(&lab.path("tree"), &lab.path("root.tar"));
    let root = lab.dir.path().to_str().unwrap().to_owned();
    let begun = Instant::now();
    let mut point = 1;
    let killed = loop {
        let (mut bench, ct) = node(&root, &lab.bridge, &lab.net, false);
        bench.prepare().await;
        if act != "create" {
            bench.apply(&ct).await.unwrap();
        }
        let killed = killed_at(&lab, act, point);
        // Another process takes over, as after a reboot of Reeve.
        let (mut bench2, ct) = node(&root, &lab.bridge, &lab.net, true);
        std::mem::swap(&mut bench, &mut bench2);
        if act == "delete" {
            bench.settle(&[], std::slice::from_ref(&ct)).await;
        } else {
            if act == "update" {
                bench.say(KindName::Container, "ct-crash", second(&lab.net));
            }
            bench.settle(std::slice::from_ref(&ct), &[]).await;
            assert_eq!(bench.changes(&ct).await, Vec::<String>::new(), "{act} at point {point}");
            let mount = if act == "update" { "/more" } else { "/srv" };
            lab.inside("ct-crash", &["sh", "-c", &format!("echo x > {mount}/file && cat /run/up")]).unwrap();
            assert_eq!(lab.loops().len(), 2, "{act} at point {point}");
            bench.options.destroy_data = true;
            bench.delete(&ct).await.unwrap();
        }
        crate::ct_driver::lab::until("nothing is left outside", || leftovers(&lab).is_empty()).await;
        let volumes = bench.volumes().await;
        let expected = match act {
            "create" => volumes.is_empty(),
            "update" => volumes.len() == 1 && volumes[0].ends_with("detached"),
            _ => volumes.len() == 2 && volumes.iter().all(|v| v.ends_with("orphan")),
        };
        assert!(expected, "{act} at point {point}: {volumes:?}");
        assert_eq!(std::fs::read_dir(lab.path("l")).unwrap().count(), 0, "{act} at point {point}");
        let _ = std::fs::remove_dir_all(lab.path("local"));
        let _ = std::fs::remove_file(lab.path("journal"));
        if !killed {
            break point - 1;
        }
        point += 1;
    };
    eprintln!("{act}: killed at {killed} points in {:?}", begun.elapsed());
    assert!(killed >= 8, "{act} has only {killed} points");
}

#[tokio::test]
async fn create_survives_a_kill_at_every_point() {
    every_point("create").await;
}

#[tokio::test]
async fn update_survives_a_kill_at_every_point() {
    every_point("update").await;
}

#[tokio::test]
async fn delete_survives_a_kill_at_every_point() {
    every_point("delete").await;
}
