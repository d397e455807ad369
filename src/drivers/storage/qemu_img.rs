//! Calls of `qemu-img`, for every storage type whose volumes QEMU formats.
//!
//! Targets are always absolute paths or URLs of our own making, so no name can be taken for an option or a protocol.

use std::path::Path;
use std::time::Duration;

use super::{Format, OnProgress};
use crate::base::exec::{Command, ExecError};
use crate::base::{Fault, FaultKind, Size};

const PROGRAM: &str = "qemu-img";

/// Makes an empty image; `preallocation` is one of `off`, `metadata`, `falloc`, `full`.
pub async fn create(path: &Path, format: Format, size: Size, preallocation: &str) -> Result<(), Fault> {
    let mut command = Command::new(PROGRAM).args(["create", "-q", "-f", format.word()]);
    if preallocation != "off" {
        command = command.args(["-o", &format!("preallocation={preallocation}")]);
    }
    let deadline = if preallocation == "off" { Duration::from_secs(60) } else { allowance(size.bytes()) };
    run(command.arg(path).arg(size.bytes().to_string()).deadline(deadline)).await
}

/// Makes an image larger; QEMU's lock on the file is taken, so that one in use is refused.
pub async fn resize(path: &Path, format: Format, to: Size) -> Result<(), Fault> {
    run(Command::new(PROGRAM).args(["resize", "-q", "-f", format.word()]).arg(path).arg(to.bytes().to_string())).await
}

/// Copies an image into another format, skipping what is empty.
pub async fn convert(
    from: (&Path, Format),
    to: (&Path, Format),
    size: Size,
    progress: OnProgress<'_>,
) -> Result<(), Fault> {
    let command = Command::new(PROGRAM)
        .args(["convert", "-p", "-f", from.1.word(), "-O", to.1.word()])
        .arg(from.0)
        .arg(to.0)
        .deadline(allowance(size.bytes()));
    let watch = |piece: &[u8]| {
        if let Some(percent) = percent(piece) {
            progress((size.bytes() as f64 * percent / 100.0) as u64, size.bytes());
        }
    };
    command.run_watched(&watch).await.map(drop).map_err(explain)
}

/// Copies an image into the start of a device that is there; what the image does not have is written as zeroes, unless
/// the device is `zeroed` already.
pub async fn fill(
    from: (&Path, Format),
    device: &Path,
    size: Size,
    zeroed: bool,
    progress: OnProgress<'_>,
) -> Result<(), Fault> {
    let mut command = Command::new(PROGRAM).args(["convert", "-p", "-n", "-f", from.1.word(), "-O", "raw"]);
    if zeroed {
        command = command.arg("--target-is-zero");
    }
    let watch = |piece: &[u8]| {
        if let Some(percent) = percent(piece) {
            progress((size.bytes() as f64 * percent / 100.0) as u64, size.bytes());
        }
    };
    let command = command.arg(from.0).arg(device).deadline(allowance(size.bytes()));
    command.run_watched(&watch).await.map(drop).map_err(explain)
}

/// Does one thing to an image's internal snapshots: `-c` makes, `-a` goes back, `-d` removes.
pub async fn snapshot(path: &Path, action: &str, name: &str) -> Result<(), Fault> {
    run(Command::new(PROGRAM).args(["snapshot", "-q", action, name]).arg(path).deadline(Duration::from_secs(600))).await
}

/// The names of an image's internal snapshots, oldest first.
pub async fn snapshots(path: &Path, format: Format) -> Result<Vec<String>, Fault> {
    let command = Command::new(PROGRAM).args(["info", "-U", "--output=json", "-f", format.word()]).arg(path);
    let out = command.run().await.map_err(explain)?;
    let info: serde_json::Value = serde_json::from_slice(&out.stdout)
        .map_err(|e| Fault::other(format!("qemu-img info of {} printed no JSON: {e}", path.display())))?;
    let listed = info.get("snapshots").and_then(serde_json::Value::as_array).into_iter().flatten();
    Ok(listed.filter_map(|s| s.get("name")?.as_str().map(str::to_owned)).collect())
}

async fn run(command: Command) -> Result<(), Fault> {
    command.run().await.map(drop).map_err(explain)
}

/// How long moving this many bytes may take: a minute, and a second for every 2 MiB.
pub fn allowance(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / (2 << 20))
}

/// The last number in `    (12.34/100%)\r`.
fn percent(piece: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(piece).ok()?;
    let (before, _) = text.rsplit_once("/100%")?;
    before.rsplit_once('(')?.1.trim().parse().ok()
}

/// Says which sort of failure it is, from what qemu-img said.
fn explain(error: ExecError) -> Fault {
    let said = if let ExecError::Failed { stderr, .. } = &error { stderr.clone() } else { String::new() };
    let mut fault = Fault::from(error);
    if said.contains("Failed to get") && said.contains("lock") {
        fault.kind = FaultKind::Busy;
        fault = fault.help("a running guest has the volume open; stop it first");
    } else if said.contains("No space left") {
        fault.kind = FaultKind::NoSpace;
    } else if said.contains("does not support") {
        fault.kind = FaultKind::Unsupported;
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_the_last_number_printed() {
        assert_eq!(percent(b"    (0.00/100%)\r    (12.34/100%)\r"), Some(12.34));
        assert_eq!(percent(b"nothing"), None);
    }
}
