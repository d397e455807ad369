//! The options of a storage on an NFS server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::drivers::storage::dir::Preallocation;

/// A directory that an NFS server exports, mounted on every node that uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NfsOptions {
    /// The server, a name or an address. It cannot be changed later.
    #[schemars(length(max = 253), extend("x-reeve-example" = "nas.example.org"))]
    pub server: String,
    /// What it exports, an absolute path. It cannot be changed later.
    #[schemars(length(max = 1024), extend("x-reeve-example" = "/srv/vms"))]
    pub export: String,
    /// The directory to mount it at, an absolute path; it is made when it is not there, and must be empty.
    #[schemars(length(max = 1024), extend("x-reeve-example" = "/mnt/reeve/nas"))]
    pub path: String,
    /// The version of the protocol.
    #[serde(default)]
    pub version: Version,
    /// Further options of the mount, as in nfs(5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-reeve-example" = ["nconnect=4", "noatime"]))]
    pub mount_options: Vec<String>,
    /// How much of a new volume's space is taken at once.
    #[serde(default)]
    pub preallocation: Preallocation,
}

/// A version of NFS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Version {
    /// 3; its locks need rpc.statd on the node, or `nolock`.
    #[serde(rename = "v3")]
    V3,
    /// 4.0.
    #[serde(rename = "v4.0")]
    V40,
    /// 4.1.
    #[serde(rename = "v4.1")]
    V41,
    /// 4.2, which keeps holes in files.
    #[default]
    #[serde(rename = "v4.2")]
    V42,
}

impl Version {
    fn number(self) -> &'static str {
        match self {
            Self::V3 => "3",
            Self::V40 => "4.0",
            Self::V41 => "4.1",
            Self::V42 => "4.2",
        }
    }
}

impl NfsOptions {
    /// What is mounted, as `mount` and the kernel write it.
    pub fn source(&self) -> String {
        let Self { server, export, .. } = self;
        if server.contains(':') { format!("[{server}]:{export}") } else { format!("{server}:{export}") }
    }

    /// The options for `mount`: one attempt, which the caller repeats.
    pub fn for_mount(&self) -> String {
        let mut options = vec![format!("vers={}", self.version.number()), "retry=0".to_owned()];
        options.extend(self.mount_options.iter().cloned());
        options.join(",")
    }
}

/// Why a server cannot be one, or `None` when it can.
pub fn bad_server(server: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    let bad = server.is_empty() || server.starts_with('-') || !server.chars().all(plain);
    bad.then(|| format!("the server {server:?} is no name and no address"))
}

/// Why an export cannot be one, or `None` when it can.
pub fn bad_export(export: &str) -> Option<String> {
    let bad = !export.starts_with('/') || export.chars().any(char::is_control) || export.split('/').any(|p| p == "..");
    bad.then(|| format!("the export {export:?} is no absolute path"))
}

/// Why a mount option cannot be given, or `None` when it can.
pub fn bad_option(option: &str) -> Option<String> {
    let key = option.split('=').next().unwrap_or_default();
    if ["vers", "nfsvers", "minorversion", "v3", "v4"].contains(&key) {
        return Some(format!("the mount option {option:?} is what `version` says"));
    }
    if ["bg", "retry", "remount", "bind", "move", "ro"].contains(&key) {
        return Some(format!("the mount option {option:?} would keep the storage from working"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "=._-:/@+".contains(c);
    (key.is_empty() || !option.chars().all(plain)).then(|| format!("{option:?} is no mount option"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_read_as_something_else_is_refused() {
        for bad in ["", "-o", "a b", "nas,ro", "nas:/x/y", "na\ns"] {
            assert!(bad_server(bad).is_some(), "{bad:?}");
        }
        for bad in ["", "srv", "/a/../b", "/a\nb"] {
            assert!(bad_export(bad).is_some(), "{bad:?}");
        }
        for bad in ["", "=", "a,b", "a b", "vers=3", "ro", "bg", "x=\"y\""] {
            assert!(bad_option(bad).is_some(), "{bad:?}");
        }
        for good in ["noatime", "nconnect=4", "sec=krb5p", "clientaddr=10.0.0.1"] {
            assert_eq!(bad_option(good), None, "{good:?}");
        }
        assert_eq!((bad_server("fe80::1%eth0"), bad_server("nas.example.org"), bad_export("/")), (None, None, None));
    }
}
