//! Shows something of the host in a running guest: a mount is copied in the monitor's mount namespace and put into the
//! guest's, which no program of Debian 12 can do.

use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::files::Root;
use super::host::Ids;
use crate::base::{Attempt as _, Fault};

/// What to show where.
#[derive(Debug, Clone)]
pub struct Graft {
    /// The container's monitor, which sees `source`.
    pub monitor: u32,
    /// The guest's init.
    pub init: u32,
    /// The ids of a guest without privileges.
    pub ids: Option<Ids>,
    /// What is shown.
    pub source: PathBuf,
    /// Where in the guest.
    pub target: String,
    /// Whether it is a file.
    pub file: bool,
}

impl Graft {
    /// Does it; nothing when something is mounted there already.
    pub async fn put(self) -> Result<(), Fault> {
        if mounted(self.init, Path::new(&self.target)) {
            return Ok(());
        }
        let doing = format!("mounting {} at {} in the guest", self.source.display(), self.target);
        // A thread of its own, which ends here: it gives up sharing the working directory and changes namespaces.
        let done = tokio::task::spawn_blocking(move || {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| self.apart());
                thread.join().unwrap_or_else(|_| Err(Fault::other("the thread ended early")))
            })
        });
        done.await.unwrap_or_else(|error| Err(Fault::other(error.to_string()))).map_err(|f| f.context(doing))
    }

    #[allow(unsafe_code)]
    fn apart(&self) -> Result<(), Fault> {
        let io = |e: rustix::io::Errno| std::io::Error::from(e);
        let namespace = |pid: u32| {
            let path = format!("/proc/{pid}/ns/mnt");
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(io)
                .attempt(|| format!("opening {path}"))
        };
        let (monitors, guests) = (namespace(self.monitor)?, namespace(self.init)?);
        let root = Root::open(Path::new(&format!("/proc/{}/root", self.init)), self.ids)?;
        // SAFETY: only FS is given up, which concerns the working directory; FILES, which would be unsound, is kept.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
            .map_err(io)
            .attempt(|| "leaving the shared directory")?;
        let enter = |fd: &std::os::fd::OwnedFd| {
            use std::os::fd::AsFd as _;
            move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Mount))
                .map_err(io)
                .attempt(|| "entering a mount namespace")
        };
        enter(&monitors)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &self.source, flags).map_err(io).attempt(|| "copying the mount")?;
        enter(&guests)?;
        let target = root.target(&self.target, self.file)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&tree, "", &target, "", flags).map_err(io).attempt(|| "placing the mount")
    }
}

/// Whether a process sees something mounted at `point`.
pub fn mounted(pid: u32, point: &Path) -> bool {
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(&at.replace("\\040", " ")) == point))
}
