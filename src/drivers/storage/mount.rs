//! A server's file system, mounted on this node: what belongs where, whether it is there, and how it gets there.
//!
//! What is mounted is read from the kernel's table, which answers when the server does not. Nothing is mounted over
//! something else, nor over a directory that has something in it, which would be hidden.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::dir::unescape;
use super::offload::Offload;
use super::pool::{Saying, explain};
use crate::base::exec::Command;
use crate::base::secret::{ExposeSecret as _, SecretRef, Secrets};
use crate::base::{Attempt as _, Fault, FaultKind};

/// How long mounting may take.
const DEADLINE: Duration = Duration::from_secs(30);

const NFS: &[Saying] = &[
    ("unknown filesystem type", FaultKind::Unsupported, "install the package with the mount program: nfs-common"),
    ("need a /sbin/mount", FaultKind::Unsupported, "install the package with the mount program: nfs-common"),
    ("access denied", FaultKind::Denied, "let the server give it to this node; for NFS see /etc/exports there"),
    ("no such file or directory", FaultKind::Unavailable, "see what the server gives out: `showmount -e SERVER`"),
    ("protocol not supported", FaultKind::Unavailable, "choose another `version`, or enable this one on the server"),
    ("requested nfs version", FaultKind::Unavailable, "choose another `version`, or enable this one on the server"),
    ("an incorrect mount option", FaultKind::Invalid, "see `mountOptions`, and nfs(5) for those there are"),
    ("rpc.statd is not running", FaultKind::Unavailable, "start rpc.statd, or add `nolock` to `mountOptions`"),
    ("operation not permitted", FaultKind::Denied, "run Reeve as root"),
    ("", FaultKind::Unavailable, "see whether the server runs and this node reaches it"),
];

const CIFS: &[Saying] = &[
    ("unknown filesystem type", FaultKind::Unsupported, "install the package with the mount program: cifs-utils"),
    ("need a /sbin/mount", FaultKind::Unsupported, "install the package with the mount program: cifs-utils"),
    (
        "error(13)",
        FaultKind::Denied,
        "see `username`, `password` and `domain`, and who may use the share on the server",
    ),
    ("error(2)", FaultKind::Unavailable, "see which shares there are: `smbclient -L SERVER`; `subdir` must be there"),
    ("error(22)", FaultKind::Invalid, "see `mountOptions`, mount.cifs(8) for those there are, and `dmesg`"),
    ("error(95)", FaultKind::Unavailable, "choose another `version`, or enable this one on the server"),
    ("error(19)", FaultKind::Unsupported, "the kernel has no CIFS: `modprobe cifs`"),
    ("could not resolve address", FaultKind::Unavailable, "see `server`, and the node's name server"),
    ("not permitted", FaultKind::Denied, "run Reeve as root"),
    ("", FaultKind::Unavailable, "see whether the server runs and this node reaches it; `dmesg` may say more"),
];

/// The longest password that `mount.cifs` reads.
const LONGEST: usize = 511;

/// What must be mounted, and where.
#[derive(Debug, Clone)]
pub struct Mount {
    /// The type for `mount`; the kernel's table may say more, as with `nfs4`.
    pub kind: &'static str,
    /// What is mounted, `server:/export`.
    pub source: String,
    /// The directory it is mounted at.
    pub target: PathBuf,
    /// The options, with ',' between.
    pub options: String,
    /// Where its password is, when it has one.
    password: Option<(Secrets, SecretRef)>,
    /// Whether this process ever saw it mounted.
    seen: Arc<AtomicBool>,
}

/// What is at the place of a mount.
#[derive(Debug, PartialEq, Eq)]
pub enum At {
    /// Nothing is mounted.
    Nothing,
    /// What belongs there.
    This,
    /// Something else, in words.
    Other(String),
}

impl Mount {
    /// What is to be mounted where.
    pub fn new(kind: &'static str, source: String, target: PathBuf, options: String) -> Self {
        Self { kind, source, target, options, password: None, seen: Arc::default() }
    }

    /// The same with a password, which is read anew whenever it is mounted.
    #[must_use]
    pub fn with_password(self, secrets: Secrets, reference: SecretRef) -> Self {
        Self { password: Some((secrets, reference)), ..self }
    }

    /// Why no file can have this name there, when that is so.
    pub fn misfit(&self, name: &str) -> Option<Fault> {
        let parts_paths = self.kind == "cifs" && name.contains('\\');
        let why = || format!("a volume on an SMB share cannot be named {name:?}: it has '\\' in it");
        parts_paths.then(|| Fault::new(FaultKind::Invalid, why()).help("choose a name of letters, digits and '-'"))
    }

    /// Whether the blocks of a file are those on the server, and not what this node makes of its length.
    pub fn knows_blocks(&self) -> bool {
        self.kind != "cifs"
    }

    /// What is at its place, by the kernel's table only.
    pub fn look(&self) -> Result<At, Fault> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").attempt(|| "cannot read /proc/self/mountinfo")?;
        let at = self.find(&table);
        self.seen.fetch_or(at == At::This, Ordering::Relaxed);
        Ok(at)
    }

    /// What a table has at the place; of several, one over the other, the last is on top.
    fn find(&self, table: &str) -> At {
        let here =
            |line: &&str| line.split(' ').nth(4).is_some_and(|at| self.target.as_os_str() == unescape(at).as_str());
        let Some(line) = table.lines().rfind(here) else { return At::Nothing };
        let mut rest = line.split(" - ").nth(1).unwrap_or_default().split(' ').map(unescape);
        let (kind, source) = (rest.next().unwrap_or_default(), rest.next().unwrap_or_default());
        let plain = |source: &str| source.trim_end_matches('/').to_owned();
        if kind.starts_with(self.kind) && plain(&source) == plain(&self.source) {
            At::This
        } else {
            At::Other(format!("{kind} {source}"))
        }
    }

    /// Fails unless it is mounted; `NotFound` when this process never saw it there.
    pub fn check(&self) -> Result<(), Fault> {
        let target = self.target.display();
        let (kind, why) = match self.look()? {
            At::This => return Ok(()),
            At::Nothing if self.seen.load(Ordering::Relaxed) => {
                (FaultKind::Unavailable, format!("{} is not mounted at {target} any more", self.source))
            }
            At::Nothing => (FaultKind::NotFound, format!("{} is not mounted at {target}", self.source)),
            At::Other(other) => (FaultKind::Unavailable, format!("{target} has {other} mounted, not {}", self.source)),
        };
        Err(Fault::new(kind, why).help("nothing is written below; Reeve mounts it when it looks at it next"))
    }

    /// Mounts it, unless it is.
    pub async fn ensure(&self, offload: &Offload) -> Result<(), Fault> {
        let what = format!("cannot mount {} at {}", self.source, self.target.display());
        let this = self.clone();
        if offload.run(&what, move || this.prepare()).await? {
            return Ok(());
        }
        let done = self.command().map_err(|fault| fault.context(&what))?.run().await;
        let this = self.clone();
        let sayings = if self.kind == "cifs" { CIFS } else { NFS };
        // Another process may have been first.
        match (done, offload.run(&what, move || this.look()).await?) {
            (_, At::This) => Ok(()),
            (Err(error), _) => Err(explain(error, sayings).context(what)),
            (Ok(_), at) => Err(Fault::other(format!("{what}: it was mounted, and there is {at:?}"))),
        }
    }

    /// What mounts it; the password goes through a pipe, so that it is in no file, no argument and no variable.
    fn command(&self) -> Result<Command, Fault> {
        let options = ["-t", self.kind, "-o", &self.options, &self.source];
        let command = Command::new("mount").args(options).arg(&self.target).deadline(DEADLINE);
        let Some((secrets, reference)) = &self.password else { return Ok(command) };
        let password = secrets.get(reference).map_err(|error| {
            Fault::new(FaultKind::NotFound, error.to_string())
                .help("put the value into that file, readable by Reeve only")
        })?;
        let text = password.expose_secret();
        if text.is_empty() || text.len() > LONGEST || text.contains(['\n', '\0']) {
            let SecretRef { name, key } = reference;
            let why = format!("the secret {name}/{key} cannot be a password");
            return Err(Fault::new(FaultKind::Invalid, why).help("put one line of 1 to 511 bytes into its file"));
        }
        Ok(command.env("PASSWD_FD", "0").input(text.as_bytes()))
    }

    /// Makes the directory to mount it at; whether it is mounted already.
    fn prepare(&self) -> Result<bool, Fault> {
        let target = self.target.display();
        match self.look()? {
            At::This => return Ok(true),
            At::Other(other) => {
                return Err(Fault::new(FaultKind::Exists, format!("{target} has {other} mounted"))
                    .help("unmount that, or choose another `path`"));
            }
            At::Nothing => {}
        }
        std::fs::create_dir_all(&self.target).attempt(|| format!("cannot make the directory {target}"))?;
        let mut inside = std::fs::read_dir(&self.target).attempt(|| format!("cannot list {target}"))?;
        match inside.next() {
            None => Ok(false),
            Some(_) => {
                Err(Fault::new(FaultKind::Exists, format!("{target} is not empty, and a mount would hide that"))
                    .help("move what is in it elsewhere, or choose another `path`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_says_what_is_where() {
        let mount = |target: &str| Mount::new("nfs", "nas:/vms/".into(), target.into(), String::new());
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            40 22 0:50 / /mnt/a\\040b rw,relatime shared:5 - nfs4 nas:/vms rw,vers=4.2\n\
            41 22 0:51 / /mnt/c rw - nfs4 nas:/vms rw\n\
            42 41 0:52 / /mnt/c rw - tmpfs none rw\n";
        assert_eq!(mount("/mnt/a b").find(table), At::This);
        assert_eq!(mount("/mnt/a").find(table), At::Nothing);
        assert_eq!(mount("/mnt/c").find(table), At::Other("tmpfs none".into()));
        let other = Mount::new("nfs", "nas:/other".into(), "/mnt/a b".into(), String::new());
        assert_eq!(other.find(table), At::Other("nfs4 nas:/vms".into()));
        let share = |source: &str| Mount::new("cifs", source.into(), "/mnt/s".into(), String::new());
        let table = "43 22 0:53 / /mnt/s rw - cifs //nas/my\\040vms/sub rw,vers=3.1.1,username=me\n";
        assert_eq!(share("//nas/my vms/sub").find(table), At::This);
        assert_eq!(share("//nas/my vms").find(table), At::Other("cifs //nas/my vms/sub".into()));
        assert_eq!(share("//other/my vms/sub").find(table), At::Other("cifs //nas/my vms/sub".into()));
    }
}
