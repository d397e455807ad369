//! A mount namespace of its own, in which file systems are mounted where nobody else sees them.
//!
//! A `cat` waiting on a pipe keeps it; when Reeve lets go or is killed, the namespace ends, and the kernel undoes the
//! mounts and frees the loop devices.

use std::path::{Path, PathBuf};

use crate::base::exec::{Command, Held};
use crate::base::{Attempt as _, Fault};
use crate::drivers::container::Place;

/// Where things are mounted in there; every Debian has the directory, and what the host keeps in it is only hidden.
const POINT: &str = "/mnt";

/// A place mounted apart.
#[derive(Debug)]
pub struct Apart {
    held: Held,
}

impl Apart {
    /// Mounts `place` in a namespace of its own.
    pub async fn mount(place: &Place) -> Result<Self, Fault> {
        let doing = || format!("mounting {} apart", place.path().display());
        let hold = Command::new("unshare").args(["--mount", "--propagation", "private", "--", "cat"]);
        let apart = Self { held: hold.hold().await.attempt(doing)? };
        let how: &[&str] = match place {
            Place::Image(_) => &["-o", "loop"],
            Place::Block(_) => &[],
            Place::Directory(_) | Place::File(_) => &["--bind"],
        };
        apart.command("mount").args(how).arg(place.path()).arg(POINT).run().await.attempt(doing)?;
        Ok(apart)
    }

    /// A call of `program` in there; paths mean the same as outside, but for [`Apart::point`].
    pub fn command(&self, program: &str) -> Command {
        enter_mounts(self.held.id(), program)
    }

    /// Where the place is mounted, as seen in there.
    pub fn point(&self) -> &'static Path {
        Path::new(POINT)
    }

    /// The same, as seen from outside.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{POINT}", self.held.id()))
    }

    /// Takes the place off again, all of it written.
    pub async fn end(self) -> Result<(), Fault> {
        let taken_off = self.command("umount").arg(POINT).run().await;
        self.held.end().await.attempt(|| "leaving a mount namespace")?;
        taken_off.attempt(|| "unmounting what was mounted apart").map(drop)
    }
}

/// A call of `program` in the mount namespace of a process that sees the host's own files.
pub fn enter_mounts(pid: u32, program: &str) -> Command {
    Command::new("nsenter").arg(format!("--mount=/proc/{pid}/ns/mnt")).args(["--", program])
}

/// A call of the host's `program` in the network of a process.
pub fn enter_network(pid: u32, program: &str) -> Command {
    Command::new("nsenter").arg(format!("--net=/proc/{pid}/ns/net")).args(["--", program])
}
