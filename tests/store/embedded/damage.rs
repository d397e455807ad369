//! Torn ends are left out, damage is refused, and a file that is refused stays as it is.

use std::fs;
use std::path::Path;

use reeve::store::{Error, Store};
use tempfile::TempDir;

use super::{NEVER, OFTEN, contents, names, open, options, try_open};
use crate::store::keys;

/// A store of a snapshot and a log after it, closed in good order.
async fn with_snapshot() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), options(OFTEN));
    for n in 0..60 {
        store.put(&format!("k/{n}"), vec![b'x'; 40]).await.unwrap();
    }
    drop(store);
    let store = open(dir.path(), options(NEVER));
    for n in 60..70 {
        store.put(&format!("k/{n}"), vec![b'x'; 40]).await.unwrap();
    }
    drop(store);
    assert!(dir.path().join("snapshot").exists());
    dir
}

/// A store of one log that no one closed, and how long the log was after each commit.
async fn crashed(commits: u64) -> (TempDir, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let live = tempfile::tempdir().unwrap();
    let store = open(live.path(), options(NEVER));
    let mut lengths = vec![fs::metadata(live.path().join(LOG)).unwrap().len()];
    for n in 0..commits {
        store.put(&format!("k/{n}"), format!("value {n}").into_bytes()).await.unwrap();
        lengths.push(fs::metadata(live.path().join(LOG)).unwrap().len());
    }
    super::crash_copy(live.path(), dir.path());
    (dir, lengths)
}

const LOG: &str = "log-00000001";

/// Opens what is expected to be refused, and checks that no file was touched.
fn refused(dir: &Path) -> Error {
    let before = contents(dir);
    let error = try_open(dir, options(OFTEN)).err().expect("the damage was not seen");
    assert_eq!(contents(dir), before);
    error
}

#[tokio::test]
async fn a_log_cut_anywhere_keeps_what_is_whole() {
    let (dir, lengths) = crashed(6).await;
    let log = dir.path().join(LOG);
    let whole = fs::read(&log).unwrap();
    let first = usize::try_from(lengths[0]).unwrap();
    for cut in first..=whole.len() {
        fs::write(&log, &whole[..cut]).unwrap();
        let commits = lengths.iter().filter(|length| **length <= cut as u64).count() - 1;
        let store = open(dir.path(), options(NEVER));
        assert_eq!(store.list("").await.unwrap().revision, commits as u64, "cut at {cut}");
        // It goes on, and comes back once more, with nothing of the torn batch.
        store.put("after", vec![]).await.unwrap();
        drop(store);
        let listing = open(dir.path(), options(NEVER)).list("").await.unwrap();
        assert_eq!((listing.entries.len(), listing.revision), (commits + 1, commits as u64 + 1), "cut at {cut}");
        for name in names(dir.path()).into_iter().filter(|name| name != LOG) {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
    for cut in 0..first {
        fs::write(&log, &whole[..cut]).unwrap();
        assert!(matches!(refused(dir.path()), Error::Corrupt { .. }), "cut at {cut}");
    }
}

#[tokio::test]
async fn zeros_after_the_end_are_a_torn_end() {
    let (dir, _) = crashed(3).await;
    let log = dir.path().join(LOG);
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend([0; 5000]);
    fs::write(&log, bytes).unwrap();
    assert_eq!(open(dir.path(), options(NEVER)).list("").await.unwrap().revision, 3);
}

#[tokio::test]
async fn a_flipped_bit_is_refused_unless_it_is_in_the_last_batch() {
    let (dir, lengths) = crashed(6).await;
    let log = dir.path().join(LOG);
    let whole = fs::read(&log).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&log, &bytes).unwrap();
        if (at as u64) < lengths[5] {
            assert!(matches!(refused(dir.path()), Error::Corrupt { .. }), "flipped at {at}");
        } else {
            let store = open(dir.path(), options(NEVER));
            assert_eq!(store.list("").await.unwrap().revision, 5, "flipped at {at}");
        }
    }
}

#[tokio::test]
async fn after_a_close_every_flipped_bit_of_a_commit_is_refused() {
    let dir = with_snapshot().await;
    for name in names(dir.path()).into_iter().filter(|name| name != "lock") {
        let path = dir.path().join(&name);
        let whole = fs::read(&path).unwrap();
        // The closing frame itself, 16 bytes, holds nothing.
        let end = if name == "snapshot" { whole.len() } else { whole.len() - 16 };
        for at in (0..end).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let error = refused(dir.path());
            assert!(matches!(&error, Error::Corrupt { path: named, .. } if *named == path), "{name} at {at}: {error}");
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(open(dir.path(), options(NEVER)).list("").await.unwrap().revision, 70);
}

#[tokio::test]
async fn a_cut_snapshot_is_refused() {
    let dir = with_snapshot().await;
    let path = dir.path().join("snapshot");
    let whole = fs::read(&path).unwrap();
    for cut in (0..whole.len()).step_by(11) {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(matches!(refused(dir.path()), Error::Corrupt { .. }), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_missing_file_is_refused() {
    let dir = with_snapshot().await;
    for name in names(dir.path()).into_iter().filter(|name| name != "lock") {
        let path = dir.path().join(&name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = refused(dir.path());
        assert!(error.to_string().contains("missing"), "without {name}: {error}");
        fs::write(&path, bytes).unwrap();
    }
    open(dir.path(), options(NEVER));
}

#[tokio::test]
async fn a_log_in_the_middle_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = super::disk::TestDisk::new();
    let store = open(dir.path(), super::Options { disk: disk.clone(), ..options(NEVER) });
    for n in 0..3 {
        store.put(&format!("k/{n}"), vec![]).await.unwrap();
        disk.set(super::disk::Fault::SyncFails);
        store.put("lost", vec![]).await.unwrap_err();
        disk.set(super::disk::Fault::Nothing);
    }
    drop(store);
    assert_eq!(names(dir.path()), ["lock", LOG, "log-00000002", "log-00000003"]);
    fs::remove_file(dir.path().join("log-00000002")).unwrap();
    let words = format!(
        "cannot open the store: {} is damaged at byte 0: it is missing, and no snapshot covers it",
        dir.path().join("log-00000002").display()
    );
    assert_eq!(refused(dir.path()).to_string(), words);
}

#[tokio::test]
async fn a_file_that_is_something_else_is_refused() {
    for name in ["snapshot", LOG] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(name), "apiVersion: reeve/v1\nkind: VirtualMachine\n").unwrap();
        let words = format!(
            "cannot open the store: {} is damaged at byte 0: the file does not begin as a file of the store does",
            dir.path().join(name).display()
        );
        assert_eq!(refused(dir.path()).to_string(), words);
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = with_snapshot().await;
    for name in names(dir.path()).into_iter().filter(|name| name != "lock") {
        let path = dir.path().join(&name);
        let whole = fs::read(&path).unwrap();
        let mut newer = whole.clone();
        newer[8..12].copy_from_slice(&7_u32.to_le_bytes());
        let sum = crc32fast::hash(&newer[..12]);
        newer[12..16].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, newer).unwrap();
        let words = format!("cannot open the store: {} has format 7, and this version reads up to 1", path.display());
        assert_eq!(refused(dir.path()).to_string(), words);
        fs::write(&path, whole).unwrap();
    }
}

#[tokio::test]
async fn unfinished_writes_and_strangers_do_no_harm() {
    let dir = with_snapshot().await;
    for name in ["snapshot.new", "log-00000099.new", "notes.txt", "log-x", "log-7"] {
        fs::write(dir.path().join(name), "half").unwrap();
    }
    let store = open(dir.path(), options(NEVER));
    assert_eq!(store.list("").await.unwrap().revision, 70);
    let left = names(dir.path());
    assert!(!left.iter().any(|name| name.ends_with(".new")), "{left:?}");
    assert!(left.contains(&"notes.txt".to_owned()));
}

#[tokio::test]
async fn a_value_that_looks_like_a_frame_is_only_a_value() {
    let (dir, _) = crashed(2).await;
    let log = dir.path().join(LOG);
    let frames = fs::read(&log).unwrap();
    let store = open(dir.path(), options(NEVER));
    store.put("inner", frames).await.unwrap();
    let live = fs::read(&log).unwrap();
    drop(store);
    // The batch that holds it is torn: its inner frames must not be taken for frames of this log.
    fs::write(&log, &live[..live.len() - 5]).unwrap();
    assert_eq!(keys(&open(dir.path(), options(NEVER)).list("").await.unwrap()), ["k/0", "k/1"]);
}
