//! The mark of a volume: a small JSON file beside it.
//!
//! A sidecar rather than an extended attribute: it is found on every file system a directory may be mounted from (NFS
//! before 4.2, CIFS and vfat keep no `user.` attributes), it has room for the applied spec, it survives a plain copy
//! of the directory, and a person can read and repair it with an editor. What it costs is that a volume moved by hand
//! must be moved together with its mark.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::{Attempt as _, Fault, FaultKind, Mark, Size};

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// The version of this format, 1.
    pub reeve: u32,
    /// The mark.
    pub mark: Mark,
    /// The size asked for, where the volume itself has none: a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

impl Sidecar {
    /// A mark, and the size of a volume that has none of its own.
    pub fn new(mark: &Mark, size: Option<Size>) -> Self {
        Self { reeve: 1, mark: mark.clone(), size }
    }

    /// Reads the mark at `path`; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Fault> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Fault::from(e).context(format!("cannot read the mark {}", path.display()))),
        };
        let read: Result<Self, _> = serde_json::from_slice(&bytes);
        match read {
            Ok(sidecar) if sidecar.reeve == 1 => Ok(Some(sidecar)),
            Ok(sidecar) => Err(bad(path, &format!("its version is {}", sidecar.reeve))),
            Err(error) => Err(bad(path, &error.to_string())),
        }
    }

    /// Writes the mark durably into a fresh file at `path`.
    pub fn write(&self, path: &Path) -> Result<File, Fault> {
        let doing = || format!("cannot write the mark {}", path.display());
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Fault::other(format!("{}: {e}", doing())))?;
        text.push(b'\n');
        let mut file = File::create(path).attempt(doing)?;
        file.write_all(&text).attempt(doing)?;
        Ok(file)
    }
}

fn bad(path: &Path, why: &str) -> Fault {
    Fault::new(FaultKind::Identity, format!("the mark {} cannot be understood: {why}", path.display()))
        .help("restore it from a backup; without it the volume is not touched")
}
