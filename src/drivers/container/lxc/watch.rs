//! Notices containers that change: appeared, gone, started, stopped, configured anew.
//!
//! LXC's own events need a daemon of its own per path and are lost while nobody listens; a look at the table of sockets
//! and at the files' times costs less than a millisecond, and misses nothing that lasts.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use futures::Stream;

use super::host::Paths;
use crate::base::Name;

const PAUSE: Duration = Duration::from_millis(500);

type Mark = (Option<String>, Option<SystemTime>, Option<SystemTime>);

/// The names of containers that changed, for as long as it is read.
pub fn watch(paths: Paths) -> impl Stream<Item = Name> + Send + 'static {
    let state = (paths, None::<BTreeMap<Name, Mark>>, VecDeque::<Name>::new());
    futures::stream::unfold(state, |(paths, mut known, mut queue)| async move {
        loop {
            if let Some(name) = queue.pop_front() {
                return Some((name, (paths, known, queue)));
            }
            if known.is_some() {
                tokio::time::sleep(PAUSE).await;
            }
            let now = look(&paths);
            if let Some(before) = &known {
                let names = before.keys().chain(now.keys().filter(|n| !before.contains_key(*n)));
                queue.extend(names.filter(|n| before.get(*n) != now.get(*n)).cloned());
            }
            known = Some(now);
        }
    })
}

fn look(paths: &Paths) -> BTreeMap<Name, Mark> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let front = format!("@{}/", paths.root().display());
    // The socket's number is another for each run, so a restart between two looks is noticed.
    let socket = |line: &str| {
        let mut words = line.split_whitespace();
        let number = words.nth(6)?.to_owned();
        let name = words.next()?.strip_prefix(&front)?.strip_suffix("/command")?;
        Some((name.to_owned(), number))
    };
    let running: BTreeMap<String, String> = sockets.lines().filter_map(socket).collect();
    let time = |path: std::path::PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let entries = std::fs::read_dir(paths.root()).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().to_str().and_then(|n| Name::new(n).ok()));
    let mark = |name: Name| {
        let mark = (running.get(name.as_str()).cloned(), time(paths.config(&name)), time(paths.record(&name)));
        mark.1.is_some().then_some((name, mark))
    };
    names.filter_map(mark).collect()
}
