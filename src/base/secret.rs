//! Secrets: referred to by name in manifests, held in memory only, never shown.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
pub use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::base::Name;

/// Where a secret value is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// The secret's name.
    pub name: Name,
    /// The key within the secret.
    pub key: Name,
}

/// A manifest field whose value is a secret: only a reference may stand there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretField {
    /// Refers to a secret kept outside the manifests.
    pub secret_ref: SecretRef,
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("cannot read secret {name}/{key} from {path}: {source}", path = path.display())]
    Read {
        /// The secret's name.
        name: Name,
        /// The key within it.
        key: Name,
        /// The file that was tried.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Secrets as files: `<directory>/<name>/<key>`, one value a file, a final newline not counted.
#[derive(Debug, Clone)]
pub struct Secrets(PathBuf);

impl Secrets {
    /// Secrets below `directory`.
    pub fn below(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Reads one value.
    pub fn get(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let SecretRef { name, key } = reference;
        let path = self.0.join(name.as_str()).join(key.as_str());
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned().into()),
            Err(source) => Err(SecretError::Read { name: name.clone(), key: key.clone(), path, source }),
        }
    }
}
