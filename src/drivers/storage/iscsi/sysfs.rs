//! What the kernel knows of a target: its session and its LUNs. Everything here may wait for the array.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::{Attempt as _, Fault, FaultKind, Size};

const SESSIONS: &str = "/sys/class/iscsi_session";

/// A LUN as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lun {
    /// Its number.
    pub number: u32,
    /// Its size; nothing when the array has it no more.
    pub size: Size,
    /// Its serial number.
    pub serial: Option<String>,
}

/// The session with that target; `None` when there is none.
pub fn session(target: &str) -> Result<Option<PathBuf>, Fault> {
    for session in entries(Path::new(SESSIONS))? {
        if text(&session.join("targetname")).as_deref() == Some(target) {
            return Ok(Some(session));
        }
    }
    Ok(None)
}

/// Its LUNs, each asked anew how large it is and who it is.
pub fn luns(target: &str) -> Result<Vec<Lun>, Fault> {
    let Some(session) = session(target)? else {
        return Err(Fault::new(FaultKind::NotFound, format!("this node is not logged into {target}"))
            .help("Reeve logs in when it looks at it next; see `iscsiadm -m session`"));
    };
    let state = text(&session.join("state")).unwrap_or_default();
    if state != "LOGGED_IN" {
        return Err(Fault::new(FaultKind::Unavailable, format!("the session with {target} is {state}"))
            .help("see whether the array runs and this node reaches it; the kernel logs in again by itself"));
    }
    let mut found = Vec::new();
    for host in entries(&session.join("device"))? {
        if !name(&host).starts_with("target") {
            continue;
        }
        for device in entries(&host)? {
            let number = name(&device).rsplit(':').next().and_then(|n| n.parse().ok());
            let disk = entries(&device.join("block"))?.into_iter().next();
            if let (Some(number), Some(disk)) = (number, disk) {
                // One that cannot be asked any more has no size afterwards.
                let _ = fs::write(device.join("rescan"), "1");
                let sectors = text(&disk.join("size")).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
                found.push(Lun { number, size: Size(sectors * 512), serial: serial(&device) });
            }
        }
    }
    found.sort_by_key(|lun| lun.number);
    Ok(found)
}

/// The serial number that a disk tells, without what pads it.
fn serial(device: &Path) -> Option<String> {
    let page = fs::read(device.join("vpd_pg80")).ok()?;
    let text = String::from_utf8_lossy(page.get(4..)?).into_owned();
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What is in a directory, in order; nothing when it is not there.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    let listed: io::Result<Vec<PathBuf>> = match fs::read_dir(dir) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        listed => listed.and_then(|all| all.map(|entry| entry.map(|e| e.path())).collect()),
    };
    let mut found = listed.attempt(|| format!("cannot list {}", dir.display()))?;
    found.sort();
    Ok(found)
}
