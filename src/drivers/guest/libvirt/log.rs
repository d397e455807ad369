//! Why a machine does not run, from what libvirt wrote into the machine's log: after libvirtd was started anew it does not
//! know itself, and a guest that shut itself down must not be taken for one that was never started.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use uuid::Uuid;

use crate::base::Fault;
use crate::drivers::guest::{Domain, Stop};

/// Where the system's libvirt keeps the logs.
const FOLDER: &str = "/var/log/libvirt/qemu";
/// How much of a log's end is read: a start with its command line and what QEMU said since.
const TAIL: u64 = 128 * 1024;

/// Fills in why those machines of ours do not run of which libvirt does not know it.
pub async fn recall(found: &mut BTreeMap<String, Result<Domain, Fault>>) {
    let forgotten = |domain: &Domain| domain.stop == Some(Stop::Never) && domain.record.is_some();
    let asked: Vec<(String, Uuid)> =
        found.values().flatten().filter(|d| forgotten(d)).map(|d| (d.name.clone(), d.uuid)).collect();
    if asked.is_empty() {
        return;
    }
    let told = tokio::task::spawn_blocking(move || {
        let read = |(name, uuid): (String, Uuid)| Some((read(Path::new(FOLDER), &name, uuid)?, name));
        asked.into_iter().filter_map(read).collect::<Vec<_>>()
    });
    for (stop, name) in told.await.unwrap_or_default() {
        if let Some(Ok(domain)) = found.get_mut(&name) {
            domain.stop = Some(stop);
        }
    }
}

/// What the log of this machine says; `None` when there is none, or it does not say.
fn read(folder: &Path, name: &str, uuid: Uuid) -> Option<Stop> {
    if name.contains('/') {
        return None;
    }
    let mut file = File::open(folder.join(format!("{name}.log"))).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    stop(&String::from_utf8_lossy(&bytes), uuid)
}

/// Why the last run of the machine with this identifier ended.
fn stop(log: &str, uuid: Uuid) -> Option<Stop> {
    let begun = log.rfind(": starting up libvirt version")?;
    let run = &log[begun..];
    // A machine of the same name that was there before is another one.
    if !run.contains(&format!("-uuid {uuid}")) {
        return None;
    }
    let Some(end) = run.rfind(": shutting down, reason=") else {
        // It ran when the host or libvirtd went down.
        return Some(Stop::Crashed);
    };
    let reason = run[end..].split_once('=')?.1.lines().next()?.trim();
    Some(match reason {
        "shutdown" => Stop::Shutdown,
        "destroyed" => Stop::Destroyed,
        "migrated" => Stop::Migrated,
        "saved" | "from snapshot" => Stop::Saved,
        "crashed" | "failed" | "daemon" => Stop::Crashed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7840863a-7874-4b15-a955-2f5892582fe4";

    /// A log as libvirt 9 writes it, of one run.
    fn run(uuid: &str, end: &str) -> String {
        format!(
            "2026-11-22 23:56:45.729+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4 (Debian)\n\
             LC_ALL=C \\\n/usr/bin/qemu-system-x86_64 \\\n-name guest=web-1,debug-threads=on \\\n-uuid {uuid} \\\n\
             -no-user-config\nchar device redirected to /dev/pts/0 (label charserial0)\n{end}"
        )
    }

    fn ended(reason: &str) -> String {
        run(UUID, &format!("2026-11-23 02:44:59.633+0000: shutting down, reason={reason}\n"))
    }

    #[test]
    fn the_last_run_of_the_same_machine_counts() {
        let uuid = Uuid::parse_str(UUID).unwrap();
        for (reason, expected) in [
            ("shutdown", Stop::Shutdown),
            ("destroyed", Stop::Destroyed),
            ("crashed", Stop::Crashed),
            ("failed", Stop::Crashed),
            ("migrated", Stop::Migrated),
        ] {
            assert_eq!(stop(&ended(reason), uuid), Some(expected), "{reason}");
        }
        assert_eq!(stop(&format!("{}{}", ended("shutdown"), ended("crashed")), uuid), Some(Stop::Crashed));
        assert_eq!(stop(&run(UUID, ""), uuid), Some(Stop::Crashed), "it ran when everything ended");
        assert_eq!(stop(&ended("of a kind not known"), uuid), None);
        assert_eq!(stop("", uuid), None);
        let another = Uuid::parse_str("00000000-7874-4b15-a955-2f5892582fe4").unwrap();
        assert_eq!(stop(&ended("shutdown"), another), None, "the log of a machine that had the name before");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let uuid = Uuid::parse_str(UUID).unwrap();
        let noise = "qemu-system-x86_64: warning: something\n".repeat(20_000);
        std::fs::write(dir.path().join("web-1.log"), format!("{noise}{}", ended("shutdown"))).unwrap();
        assert_eq!(read(dir.path(), "web-1", uuid), Some(Stop::Shutdown));
        std::fs::write(dir.path().join("web-1.log"), format!("{}{noise}", ended("shutdown"))).unwrap();
        assert_eq!(read(dir.path(), "web-1", uuid), None, "what is not seen is not guessed");
        assert_eq!(read(dir.path(), "web-2", uuid), None);
        assert_eq!(read(dir.path(), "../web-1", uuid), None);
    }
}
