//! The options of a storage on an SMB share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::SecretField;
use crate::drivers::storage::dir::{Preallocation, plain};

/// A share of an SMB server, such as Samba or Windows, mounted on every node that uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CifsOptions {
    /// The server, a name or an address. It cannot be changed later.
    #[schemars(length(max = 253), extend("x-reeve-example" = "nas.example.org"))]
    pub server: String,
    /// The share. It cannot be changed later.
    #[schemars(length(max = 80), extend("x-reeve-example" = "vms"))]
    pub share: String,
    /// The directory of the share to mount, which must be there; `/` is the whole share. It cannot be changed later.
    #[serde(default = "whole")]
    #[schemars(length(max = 1024))]
    pub subdir: String,
    /// The directory to mount it at, an absolute path; it is made when it is not there, and must be empty.
    #[schemars(length(max = 1024), extend("x-reeve-example" = "/mnt/reeve/nas"))]
    pub path: String,
    /// The user to log in as; left out: a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-reeve-example" = "reeve"))]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretField>,
    /// The user's domain or workgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), extend("x-reeve-example" = "EXAMPLE"))]
    pub domain: Option<String>,
    /// The version of the protocol.
    #[serde(default)]
    pub version: Version,
    /// Further options of the mount, as in mount.cifs(8).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-reeve-example" = ["uid=libvirt-qemu", "seal"]))]
    pub mount_options: Vec<String>,
    /// How much of a new volume's space is taken at once.
    #[serde(default)]
    pub preallocation: Preallocation,
}

fn whole() -> String {
    "/".to_owned()
}

/// A version of SMB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Version {
    /// 2.0.
    #[serde(rename = "v2.0")]
    V20,
    /// 2.1.
    #[serde(rename = "v2.1")]
    V21,
    /// The newest of 3 that the server has.
    #[default]
    #[serde(rename = "v3")]
    V3,
    /// 3.0.
    #[serde(rename = "v3.0")]
    V30,
    /// 3.1.1.
    #[serde(rename = "v3.1.1")]
    V311,
}

impl Version {
    fn number(self) -> &'static str {
        match self {
            Self::V20 => "2.0",
            Self::V21 => "2.1",
            Self::V3 => "3",
            Self::V30 => "3.0",
            Self::V311 => "3.1.1",
        }
    }
}

impl CifsOptions {
    /// What is mounted, as `mount` and the kernel write it.
    pub fn source(&self) -> String {
        source(&self.server, &self.share, &self.subdir)
    }

    /// The options for `mount`, all but the password: names are UTF-8, files are root's, I/O waits for a server that went
    /// away, and locks stay on the node, since those of SMB would keep QEMU from writing where it has its own.
    pub fn for_mount(&self) -> String {
        let mut options: Vec<String> = vec![format!("vers={}", self.version.number())];
        let usual = ["hard", "nobrl", "iocharset=utf8", "nosuid", "nodev", "file_mode=0600", "dir_mode=0700"];
        options.extend(usual.map(str::to_owned));
        match &self.username {
            Some(username) => options.push(format!("username={username}")),
            None => options.push("guest".to_owned()),
        }
        options.extend(self.domain.iter().map(|domain| format!("domain={domain}")));
        options.extend(self.mount_options.iter().cloned());
        options.join(",")
    }
}

/// `//server/share/subdir`; the case of a server and of a share means nothing.
pub fn source(server: &str, share: &str, subdir: &str) -> String {
    let (server, share, subdir) = (server.to_lowercase(), share.to_lowercase(), plain(subdir));
    format!("//{server}/{share}{}", subdir.trim_end_matches('/'))
}

/// Why a share cannot be one, or `None` when it can.
pub fn bad_share(share: &str) -> Option<String> {
    let bad = share.is_empty()
        || share.starts_with('-')
        || share.chars().any(|c| c.is_control() || r#"/\:,*?"<>|"#.contains(c));
    bad.then(|| format!("the share {share:?} is no name of a share"))
}

/// Why a directory of a share cannot be one, or `None` when it can.
pub fn bad_subdir(subdir: &str) -> Option<String> {
    let bad = !subdir.starts_with('/')
        || subdir.chars().any(|c| c.is_control() || r"\,".contains(c))
        || subdir.split('/').any(|part| part == "..");
    bad.then(|| format!("the directory {subdir:?} of the share is no absolute path"))
}

/// Why a user or a domain cannot be one, or `None` when it can.
pub fn bad_user(what: &str, name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || "._-@$+ ".contains(c);
    (name.is_empty() || !name.chars().all(plain)).then(|| format!("the {what} {name:?} has what it cannot have"))
}

/// Why a mount option cannot be given, or `None` when it can.
pub fn bad_option(option: &str) -> Option<String> {
    let key = option.split('=').next().unwrap_or_default();
    let own: &[(&[&str], &str)] = &[
        (&["vers", "version"], "version"),
        (&["user", "username", "guest"], "username"),
        (&["pass", "password", "pass2", "password2", "cred", "credentials"], "password"),
        (&["dom", "domain", "workgroup"], "domain"),
        (&["prefixpath", "unc", "source", "target"], "share"),
    ];
    if let Some((_, field)) = own.iter().find(|(keys, _)| keys.contains(&key)) {
        // What stands behind it may be a password.
        return Some(format!("the mount option {key:?} is what `{field}` says"));
    }
    if ["ro", "remount", "bind", "move", "brl", "forcemandatorylock", "multiuser"].contains(&key) {
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
        for bad in ["", "-o", "a/b", "a\\b", "a,ro", "na\ns", "a:b"] {
            assert!(bad_share(bad).is_some(), "{bad:?}");
        }
        for bad in ["", "srv", "/a/../b", "/a\nb", "/a,b", "/a\\b"] {
            assert!(bad_subdir(bad).is_some(), "{bad:?}");
        }
        for bad in ["", "a,uid=0", "WORK\\me", "me%password", "me/x", "m\ne"] {
            assert!(bad_user("user", bad).is_some(), "{bad:?}");
        }
        for bad in ["", "=", "a,b", "a b", "vers=1.0", "ro", "brl", "pass=geheim", "credentials=/x", "x=\"y\""] {
            let why = bad_option(bad).unwrap();
            assert!(!why.contains("geheim"), "{why}");
        }
        for good in ["seal", "uid=libvirt-qemu", "echo_interval=10", "iocharset=utf8", "soft"] {
            assert_eq!(bad_option(good), None, "{good:?}");
        }
        assert_eq!((bad_share("VMs$ 1"), bad_subdir("/"), bad_user("user", "me@example.org")), (None, None, None));
    }

    #[test]
    fn a_place_is_written_in_one_way() {
        assert_eq!(source("NAS", "Vms", "/"), "//nas/vms");
        assert_eq!(source("10.0.0.5", "vms", "/a//B/"), "//10.0.0.5/vms/a/B");
    }
}
