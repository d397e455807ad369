//! The options of a directory storage.

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A directory on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirOptions {
    /// The directory, an absolute path; it is made when it is not there. It cannot be changed later.
    #[schemars(length(max = 1024), extend("x-reeve-example" = "/var/lib/reeve/storage/local"))]
    pub path: String,
    /// Whether a file system must be mounted at `path`; when none is, the storage is unavailable and nothing is written.
    #[serde(default)]
    pub mountpoint: bool,
    /// How much of a new volume's space is taken at once.
    #[serde(default)]
    pub preallocation: Preallocation,
}

/// How much of a new volume's space is taken at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preallocation {
    /// None; space is taken when it is written.
    #[default]
    Off,
    /// The tables of a qcow2 volume; a raw one is as with `off`.
    Metadata,
    /// All of it, reserved with the file system and not written.
    Falloc,
    /// All of it, written with zeroes.
    Full,
}

impl Preallocation {
    /// The word in manifests and for qemu-img.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Falloc => "falloc",
            Self::Full => "full",
        }
    }
}

/// What is wrong with `path` as the place of a storage, and what to do.
pub fn check_path(path: &str) -> Result<(), (String, String)> {
    let say = |what: &str, help: &str| Err((format!("the path {path:?} {what}"), help.to_owned()));
    let example = "write an absolute path such as /var/lib/reeve/storage/local";
    let parsed = Path::new(path);
    if !parsed.is_absolute() {
        return say("is not absolute", example);
    }
    if path.chars().any(char::is_control) {
        return say("has a control character in it", example);
    }
    if parsed.components().any(|c| c == Component::ParentDir) {
        return say("has '..' in it", "write the path that is meant, without '..'");
    }
    let depth = parsed.components().filter(|c| matches!(c, Component::Normal(_))).count();
    if depth == 0 {
        return say("is the root of the file system", "give the storage a directory of its own");
    }
    const SYSTEM: [&str; 14] =
        ["bin", "boot", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "tmp", "usr", "var", "home"];
    let first = parsed.components().find_map(|c| if let Component::Normal(n) = c { n.to_str() } else { None });
    let own = first.is_some_and(|f| depth == 1 && SYSTEM.contains(&f));
    if own || first.is_some_and(|f| ["proc", "sys", "dev"].contains(&f)) {
        return say("belongs to the system", "give the storage a directory of its own");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_make_no_sense_are_refused() {
        for bad in ["", "x", "./x", "/", "//", "/../x", "/a/../b", "/etc", "/proc/1", "/dev/shm/x", "/a\nb"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for good in ["/srv", "/var/lib/reeve", "/tmp/x", "/srv/with space", "/mnt/ü:,'x"] {
            assert_eq!(check_path(good), Ok(()), "{good:?}");
        }
    }
}
