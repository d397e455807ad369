//! What this node remembers of a storage it has set up: whose it is and where.
//!
//! One small file a storage, `DATA_DIR/storages/NAME.json`. The truth about volumes is on the storage; this only tells
//! a place that lost its file system from one that was never used.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::StorageSpec;
use crate::base::{Attempt as _, Fault, Name, Uid};
use crate::kinds::World;

/// A storage that was set up on this node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Whose it is.
    pub uid: Uid,
    /// The spec it was last set up with.
    pub spec: StorageSpec,
}

/// The file that remembers the storage of that name.
pub fn path(world: &World, name: &Name) -> PathBuf {
    world.data_dir.join("storages").join(format!("{name}.json"))
}

/// What is remembered of that storage.
pub fn read(world: &World, name: &Name) -> Result<Option<Record>, Fault> {
    let path = path(world, name);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Fault::from(e).context(format!("cannot read {}", path.display()))),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        Fault::other(format!("cannot understand {}: {e}", path.display()))
            .help("remove the file; the storage is then looked for where its manifest says")
    })
}

/// Remembers a storage, durably.
pub fn write(world: &World, name: &Name, record: &Record) -> Result<(), Fault> {
    let path = path(world, name);
    let doing = || format!("cannot write {}", path.display());
    let dir = path.parent().unwrap_or(&world.data_dir);
    std::fs::create_dir_all(dir).attempt(doing)?;
    let text = serde_json::to_vec_pretty(record).map_err(|e| Fault::other(format!("{}: {e}", doing())))?;
    let mut file = tempfile::NamedTempFile::new_in(dir).attempt(doing)?;
    file.write_all(&text).attempt(doing)?;
    file.as_file().sync_all().attempt(doing)?;
    file.persist(&path).map_err(|e| e.error).attempt(doing)?;
    std::fs::File::open(dir).and_then(|d| d.sync_all()).attempt(doing)
}

/// Forgets a storage.
pub fn remove(world: &World, name: &Name) -> Result<(), Fault> {
    let path = path(world, name);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Fault::from(e).context(format!("cannot remove {}", path.display())))
        }
        _ => Ok(()),
    }
}
