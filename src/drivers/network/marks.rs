//! Marks of networks: a file each in `networks/` below the data directory.
//!
//! Neither libvirt (its networks have no metadata before version 9.7) nor a bridge can hold a mark, only an identity: a
//! UUID, or an alias. A mark counts only for the network of the identity it was written for, so that a network made by
//! someone else under the same name is never taken for ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::base::fault::Attempt as _;
use crate::base::{Fault, Mark, Name};

/// The directory of marks.
#[derive(Debug, Clone)]
pub struct Marks(PathBuf);

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marked {
    /// The identity of the network it belongs to.
    pub uuid: Uuid,
    /// The mark.
    pub mark: Mark,
    /// Interfaces to plug in again once the network is up, left by a restart that was broken off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replug: Vec<String>,
}

impl Marks {
    /// The marks below a data directory.
    pub fn below(data_dir: &Path) -> Self {
        Self(data_dir.join("networks"))
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// The mark of the network of this name, if it was written for this identity.
    pub fn get(&self, name: &Name, uuid: Uuid) -> Result<Option<Marked>, Fault> {
        Ok(self.read(name)?.filter(|marked| marked.uuid == uuid))
    }

    /// The mark of the network of this name, whatever identity it was written for.
    pub fn read(&self, name: &Name) -> Result<Option<Marked>, Fault> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Fault::other(format!("read {}: it is not what reeve wrote: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Fault::from(error).context(format!("read {}", path.display()))),
        }
    }

    /// The names that have a mark.
    pub fn names(&self) -> Result<Vec<Name>, Fault> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Fault::from(error).context(format!("list {}", self.0.display()))),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.attempt(|| format!("list {}", self.0.display()))?.file_name();
            names.extend(file.to_str().and_then(|f| f.strip_suffix(".json")).and_then(|f| Name::new(f).ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Writes a mark, durably and whole.
    pub fn put(&self, name: &Name, marked: &Marked) -> Result<(), Fault> {
        let path = self.path(name);
        let write = || -> io::Result<()> {
            use io::Write as _;
            fs::create_dir_all(&self.0)?;
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.0)?;
            serde_json::to_writer_pretty(&mut file, marked)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|e| e.error)?;
            fs::File::open(&self.0)?.sync_all()
        };
        write().attempt(|| format!("write {}", path.display()))
    }

    /// Removes a mark.
    pub fn remove(&self, name: &Name) -> Result<(), Fault> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Fault::from(error).context(format!("remove {}", path.display())))
            }
            _ => Ok(()),
        }
    }
}
