//! `kill -9` while it writes, again and again in one directory: every acknowledged commit is there, and none is there in part.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use reeve::store::{Store, Txn};

use super::{open, options};
use crate::store::text;

const DIR: &str = "REEVE_TEST_STORE_KILL_DIR";
const ROUNDS: u32 = 30;
const WRITERS: u32 = 4;
/// Small, so that kills meet snapshots being written too.
const SNAPSHOT_AFTER: u64 = 32 * 1024;

/// Not a test by itself: the process that is killed. It does nothing unless the test below starts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_of_the_kill_test() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Arc::new(open(Path::new(&dir), options(SNAPSHOT_AFTER)));
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write_for_ever(store.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Writes a number in two entries at once, says that it did, and goes on.
async fn write_for_ever(store: Arc<reeve::store::Embedded>, writer: u32) {
    let (first, second) = (format!("first/{writer}"), format!("second/{writer}"));
    let start = store.get(&first).await.unwrap().map_or(0, |entry| text(&entry).trim().parse::<u64>().unwrap());
    for n in start + 1.. {
        let value = format!("{n}{}", " ".repeat((n % 700) as usize)).into_bytes();
        store.commit(Txn::new().put(&first, value.clone()).put(&second, value)).await.unwrap();
        // One write call, so that lines of the writers do not mix.
        std::io::stdout().lock().write_all(format!("\nack {writer} {n}\n").as_bytes()).unwrap();
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::kill::child_of_the_kill_test", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child when it has acknowledged so many commits, and says the last one of each writer.
fn kill_after(mut child: Child, commits: u32, pause: Duration) -> BTreeMap<u32, u64> {
    let mut acknowledged = BTreeMap::new();
    let mut killed = false;
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        // The last line may be cut short by the kill: only whole ones count, and a number cut short is a smaller one.
        if let (Some("ack"), Some(writer), Some(n)) = (words.next(), words.next(), words.next()) {
            let last = acknowledged.entry(writer.parse().unwrap()).or_insert(0);
            *last = n.parse::<u64>().unwrap().max(*last);
            seen += 1;
        }
        if seen >= commits && !killed {
            std::thread::sleep(pause);
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself after {seen} commits");
    acknowledged
}

#[tokio::test]
async fn every_acknowledged_commit_survives_kill_9() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    let (mut total, mut snapshots) = (0, 0);
    for round in 0..ROUNDS {
        let acknowledged = kill_after(start(&dir), 1 + round * 7 % 200, Duration::from_micros(u64::from(round) * 137));
        let store = open(&dir, options(SNAPSHOT_AFTER));
        for (writer, last) in acknowledged {
            let [first, second] = ["first", "second"].map(|half| format!("{half}/{writer}"));
            let (first, second) =
                (store.get(&first).await.unwrap().unwrap(), store.get(&second).await.unwrap().unwrap());
            assert_eq!((&first.value, first.modified), (&second.value, second.modified), "half a transaction");
            let found: u64 = text(&first).trim().parse().unwrap();
            assert!(found == last || found == last + 1, "writer {writer}: {last} acknowledged, {found} found");
            assert_eq!(first.version, found);
        }
        total = store.list("").await.unwrap().revision;
        snapshots += u32::from(dir.join("snapshot").exists());
        store.put("opened", vec![]).await.unwrap();
        store.delete("opened").await.unwrap();
    }
    assert!(total > 500 && snapshots > ROUNDS / 2, "{total} commits, {snapshots} rounds with a snapshot");
}
