//! The cloud-init seed: an ISO file with the label `cidata` that the NoCloud data source in the guest reads.
//!
//! Its name has a digest of what is in it, so that a new content is a new medium, and the same content is made once:
//! `DATA/seeds/UID-DIGEST.iso`, readable by root only (the hypervisor hands it to the guest's process at start).
//! What is written follows from the spec, the UID and the secrets alone.

mod content;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

pub(super) use content::Content;

use super::spec::VmSpec;
use crate::base::exec::Command;
use crate::base::{Attempt, Fault, Uid};
use crate::kinds::Task;

/// How long making a seed may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// The seed that `spec` asks for, written when it is not there; `filled` has the network cards' addresses.
pub(super) async fn ensure(task: &Task<'_>, spec: &VmSpec, filled: &VmSpec) -> Result<Option<PathBuf>, Fault> {
    let Some(init) = &spec.cloud_init else { return Ok(None) };
    let content = Content::of(task, init, filled)?;
    let folder = folder(&task.world.data_dir);
    let file = folder.join(format!("{}-{}.iso", task.uid, content.digest()));
    if !file.exists() {
        let detail = json!({"file": file});
        task.effect("seed", detail, write(&folder, &file, &content)).await?;
    }
    Ok(Some(file))
}

/// Removes a machine's seeds except those in use.
pub(super) fn sweep(data_dir: &Path, uid: Uid, keep: &[PathBuf]) -> Result<(), Fault> {
    let (folder, prefix) = (folder(data_dir), uid.to_string());
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Fault::from(error).context(format!("list {}", folder.display()))),
    };
    for entry in entries {
        let entry = entry.attempt(|| format!("list {}", folder.display()))?;
        let ours = entry.file_name().to_string_lossy().starts_with(&prefix);
        let path = entry.path();
        if ours && !keep.contains(&path) {
            let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            gone.attempt(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether a machine has seeds that are not in use.
pub(super) fn has_old(data_dir: &Path, uid: Uid, keep: &[PathBuf]) -> bool {
    let prefix = uid.to_string();
    let entries = std::fs::read_dir(folder(data_dir)).into_iter().flatten().flatten();
    entries.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(&prefix) && !keep.contains(&e.path()))
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("seeds")
}

/// Writes a seed whole or not at all.
async fn write(folder: &Path, file: &Path, content: &Content) -> Result<(), Fault> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
    let attempt = || format!("write the cloud-init seed {}", file.display());
    std::fs::create_dir_all(folder).attempt(attempt)?;
    // Not in /tmp: what is in it may be secret, and the file must be moved into place.
    let work = file.with_extension("new");
    if work.exists() {
        std::fs::remove_dir_all(&work).attempt(attempt)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(&work).attempt(attempt)?;
    let tree = work.join("tree");
    std::fs::create_dir(&tree).attempt(attempt)?;
    for (name, text) in content.files() {
        let mut options = std::fs::OpenOptions::new();
        let mut to = options.write(true).create_new(true).mode(0o600).open(tree.join(name)).attempt(attempt)?;
        std::io::Write::write_all(&mut to, text.as_bytes()).attempt(attempt)?;
    }
    let made = work.join("seed.iso");
    let command = Command::new("genisoimage").args(["-quiet", "-volid", "cidata", "-joliet", "-rock", "-output"]);
    command.arg(&made).arg(&tree).deadline(DEADLINE).run().await.attempt(attempt)?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600)).attempt(attempt)?;
    std::fs::File::open(&made).and_then(|f| f.sync_all()).attempt(attempt)?;
    std::fs::rename(&made, file).attempt(attempt)?;
    std::fs::remove_dir_all(&work).attempt(attempt)?;
    std::fs::File::open(folder).and_then(|f| f.sync_all()).attempt(attempt)
}
