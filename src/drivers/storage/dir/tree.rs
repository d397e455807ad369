//! What is on disk: finding, listing, publishing and removing volumes below one directory.
//!
//! Everything here blocks; it is called off the async threads. A volume is made in the staging directory and becomes
//! visible by one rename, after its mark: whoever sees a volume sees it whole and marked.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags};

use super::sidecar::Sidecar;
use super::spot::{self, LOCKS, ROOT_MARK, STAGING, Spot};
use crate::base::crash::point;
use crate::base::{Attempt as _, Fault, FaultKind, Mark, Size};
use crate::drivers::storage::lock::Lock;
use crate::drivers::storage::mount::Mount;
use crate::drivers::storage::{Format, Usage, VolumeInfo, header};
use crate::kinds::storage::Content;

/// A directory that holds volumes; also what file systems mounted from elsewhere look like once they are mounted.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The directory.
    pub root: PathBuf,
    /// Whether something must be mounted there.
    pub mountpoint: bool,
    /// What must be mounted there, when that is known.
    pub mount: Option<Mount>,
}

/// A volume that was found, and where.
pub type Found = (Spot, VolumeInfo);

impl Tree {
    /// Fails unless the directory is there, mounted where it must be, and was activated.
    ///
    /// `NotFound` means that it was never activated here, or that its file system is gone; nothing is written then.
    pub fn ready(&self) -> Result<(), Fault> {
        self.mounted()?;
        match std::fs::metadata(self.root.join(LOCKS)) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                Err(Fault::new(FaultKind::NotFound, format!("{} is not set up as a storage", self.root.display()))
                    .help("apply its Storage manifest; if it was set up earlier, its file system is not mounted"))
            }
            Err(e) => Err(Fault::from(e).context(format!("cannot look at {}", self.root.display()))),
        }
    }

    /// Fails when something must be mounted and is not.
    fn mounted(&self) -> Result<(), Fault> {
        if let Some(mount) = &self.mount {
            return mount.check();
        }
        if !self.mountpoint {
            return Ok(());
        }
        let root = self.root.display();
        let unavailable = |why: String| {
            Fault::new(FaultKind::Unavailable, why).help("mount its file system, or say `mountpoint: false`")
        };
        let seen = rustix::fs::statx(CWD, &self.root, AtFlags::empty(), StatxFlags::BASIC_STATS)
            .map_err(|e| unavailable(format!("cannot look at {root}: {}", io::Error::from(e))))?;
        if seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(());
        }
        Err(unavailable(format!("nothing is mounted at {root}, and its options say `mountpoint: true`")))
    }

    /// Makes the directories for `content`; nothing that is there is changed.
    pub fn activate(&self, content: &[Content]) -> Result<(), Fault> {
        self.mounted()?;
        let make = |path: &Path, mode: u32| {
            let made = DirBuilder::new().recursive(true).mode(mode).create(path);
            made.attempt(|| format!("cannot make the directory {}", path.display()))
        };
        make(&self.root, 0o755)?;
        for content in content {
            let private = matches!(content, Content::Images | Content::Rootdir);
            let dir = self.root.join(content.word());
            make(&dir, if private { 0o711 } else { 0o755 })?;
            make(&dir.join(STAGING), 0o700)?;
        }
        make(&self.root.join(LOCKS), 0o700)?;
        sync(&self.root)
    }

    /// Whether everything that [`Tree::activate`] makes is there.
    pub fn active(&self, content: &[Content]) -> Result<bool, Fault> {
        match self.ready() {
            Ok(()) => Ok(content.iter().all(|c| self.root.join(c.word()).join(STAGING).is_dir())),
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// How full the file system is.
    pub fn usage(&self) -> Result<Usage, Fault> {
        self.ready()?;
        let seen = rustix::fs::statvfs(&self.root).map_err(io::Error::from);
        let seen = seen.attempt(|| format!("cannot ask how full {} is", self.root.display()))?;
        let bytes = |blocks: u64| Size(blocks.saturating_mul(seen.f_frsize));
        let used = bytes(seen.f_blocks.saturating_sub(seen.f_bfree));
        Ok(Usage { total: bytes(seen.f_blocks), used, free: bytes(seen.f_bavail), promised: None })
    }

    /// Refuses a name that no volume can have here.
    pub fn check_name(&self, name: &str) -> Result<(), Fault> {
        spot::check_name(name)?;
        match self.mount.as_ref().and_then(|mount| mount.misfit(name)) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Takes the lock on a volume's name, unless somebody has it.
    pub fn lock(&self, name: &str) -> Result<Option<Lock>, Fault> {
        self.ready()?;
        Lock::take(&self.root.join(LOCKS), name)
    }

    /// The volume of that name; one with a mark before one without.
    pub fn find(&self, name: &str) -> Result<Option<Found>, Fault> {
        self.check_name(name)?;
        self.ready()?;
        let mut best: Option<Found> = None;
        for spot in Spot::all(&self.root, name) {
            let Some(metadata) = metadata(&spot)? else { continue };
            let info = self.info(&spot, name, &metadata, true);
            if best.as_ref().is_none_or(|(_, b)| b.mark.is_none() && info.mark.is_some()) {
                best = Some((spot, info));
            }
        }
        Ok(best)
    }

    /// Every volume, in the order of content and name.
    pub fn list(&self) -> Result<Vec<VolumeInfo>, Fault> {
        self.ready()?;
        let mut found = Vec::new();
        for content in Content::ALL {
            let (files, hidden) = entries(&self.root.join(content.word()))?;
            for file in files {
                let Some((spot, name)) = Spot::of_file(&self.root, content, &file) else { continue };
                let Some(metadata) = metadata(&spot)? else { continue };
                let marked = hidden.contains(&spot.mark_file());
                found.push(self.info(&spot, &name, &metadata, marked));
            }
        }
        Ok(found)
    }

    /// A volume as it is, with the space it takes where that is known.
    fn info(&self, spot: &Spot, name: &str, metadata: &Metadata, marked: bool) -> VolumeInfo {
        let seen = info(spot, name, metadata, marked);
        let known = self.mount.as_ref().is_none_or(Mount::knows_blocks);
        VolumeInfo { allocated: seen.allocated.filter(|_| known), ..seen }
    }

    /// Makes a volume that was staged visible, with its mark: whole, durable, and never over another.
    pub fn publish(&self, spot: &Spot, sidecar: &Sidecar) -> Result<(), Fault> {
        let staged = spot.staged();
        let doing = || format!("cannot put {} in place", spot.path().display());
        let mark = sidecar.write(&spot.staged_mark())?;
        point("storage.dir.publish.mark-written");
        let volume = File::open(&staged).attempt(doing)?;
        volume.sync_all().attempt(doing)?;
        mark.sync_all().attempt(doing)?;
        point("storage.dir.publish.synced");
        std::fs::rename(spot.staged_mark(), spot.mark()).attempt(doing)?;
        point("storage.dir.publish.marked");
        rename_new(&staged, &spot.path()).attempt(doing)?;
        point("storage.dir.publish.visible");
        sync(spot.dir())
    }

    /// Replaces the mark of a volume that is there.
    pub fn remark(&self, spot: &Spot, sidecar: &Sidecar) -> Result<(), Fault> {
        let doing = || format!("cannot put the mark {} in place", spot.mark().display());
        staging(spot)?;
        sidecar.write(&spot.staged_mark())?.sync_all().attempt(doing)?;
        point("storage.dir.remark.written");
        std::fs::rename(spot.staged_mark(), spot.mark()).attempt(doing)?;
        sync(spot.dir())
    }

    /// Removes a volume and its mark for good.
    pub fn remove(&self, spot: &Spot) -> Result<(), Fault> {
        let path = spot.path();
        let doing = || format!("cannot delete {}", path.display());
        if spot.format == Format::Subvol {
            nothing_mounted_below(&path)?;
            staging(spot)?;
            gone(std::fs::rename(&path, spot.discarded())).attempt(doing)?;
            point("storage.dir.remove.renamed");
            gone(std::fs::remove_dir_all(spot.discarded())).attempt(doing)?;
        } else {
            gone(std::fs::remove_file(&path)).attempt(doing)?;
        }
        point("storage.dir.remove.removed");
        gone(std::fs::remove_file(spot.mark())).attempt(doing)?;
        point("storage.dir.remove.unmarked");
        sync(spot.dir())
    }

    /// Clears away what a broken-off call about `name` left; a volume that is there stays with its mark.
    pub fn clean(&self, name: &str) -> Result<(), Fault> {
        for spot in Spot::all(&self.root, name) {
            for path in [spot.staged(), spot.staged_mark(), spot.discarded()] {
                erase(&path).attempt(|| format!("cannot clear away {}", path.display()))?;
            }
            if metadata(&spot)?.is_none() && std::fs::symlink_metadata(spot.path()).is_err() {
                let mark = spot.mark();
                gone(std::fs::remove_file(&mark)).attempt(|| format!("cannot clear away {}", mark.display()))?;
            }
        }
        Ok(())
    }

    /// The names of volumes of which something is left over.
    pub fn leftovers(&self) -> Result<Vec<String>, Fault> {
        self.ready()?;
        let mut names = BTreeSet::new();
        for content in Content::ALL {
            let dir = self.root.join(content.word());
            let (files, hidden) = entries(&dir)?;
            let (staged, staged_hidden) = entries(&dir.join(STAGING))?;
            let there: BTreeSet<&str> = files.iter().map(String::as_str).collect();
            let alone = hidden.iter().filter(|h| *h != STAGING).map(|h| spot::about(h)).filter(|f| !there.contains(f));
            let broken_off = staged.iter().chain(&staged_hidden).map(|f| spot::about(f));
            let volume = |file| Spot::of_file(&self.root, content, file).map(|(_, name)| name);
            names.extend(alone.chain(broken_off).filter_map(volume));
        }
        Ok(names.into_iter().collect())
    }

    /// The mark on the directory itself.
    pub fn root_mark(&self) -> Result<Option<Mark>, Fault> {
        self.mounted()?;
        Ok(Sidecar::read(&self.root.join(ROOT_MARK))?.map(|s| s.mark))
    }

    /// Replaces the mark on the directory itself, whose lock the caller has.
    pub fn set_root_mark(&self, from: Option<&Mark>, to: Option<&Mark>) -> Result<(), Fault> {
        let path = self.root.join(ROOT_MARK);
        let present = self.root_mark()?;
        let same = |a: Option<&Mark>, b: Option<&Mark>| a.map(|m| m.uid) == b.map(|m| m.uid);
        if !same(present.as_ref(), from) && !same(present.as_ref(), to) {
            let whose = present.map_or("nobody's".to_owned(), |m| format!("{} with the UID {}", m.resource, m.uid));
            return Err(Fault::new(FaultKind::Identity, format!("{} is the place of {whose}", self.root.display()))
                .help("give each storage a place of its own; if this one is yours, remove that file"));
        }
        let doing = || format!("cannot put the mark {} in place", path.display());
        match to {
            None => gone(std::fs::remove_file(&path)).attempt(doing)?,
            Some(to) => {
                let fresh = self.root.join(LOCKS).join(ROOT_MARK);
                Sidecar::new(to, None).write(&fresh)?.sync_all().attempt(doing)?;
                std::fs::rename(&fresh, &path).attempt(doing)?;
            }
        }
        sync(&self.root)
    }
}

/// Makes the staging directory of a spot; fails when the directory for its content is missing.
pub fn staging(spot: &Spot) -> Result<(), Fault> {
    match DirBuilder::new().mode(0o700).create(spot.dir().join(STAGING)) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            Err(Fault::from(e).context(format!("cannot make {} for new volumes", spot.dir().join(STAGING).display())))
        }
        _ => Ok(()),
    }
}

/// Makes the fresh file a volume is written into.
pub fn fresh(spot: &Spot) -> Result<File, Fault> {
    staging(spot)?;
    let path = spot.staged();
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.attempt(|| format!("cannot make the file {}", path.display()))?;
    let mode = if matches!(spot.content, Content::Iso | Content::Template) { 0o644 } else { 0o600 };
    file.set_permissions(Permissions::from_mode(mode)).attempt(|| format!("cannot protect {}", path.display()))?;
    Ok(file)
}

/// What is at a spot, when it is the sort of thing that belongs there.
fn metadata(spot: &Spot) -> Result<Option<Metadata>, Fault> {
    let path = spot.path();
    let own = matches!(spot.content, Content::Images | Content::Rootdir);
    match if own { std::fs::symlink_metadata(&path) } else { std::fs::metadata(&path) } {
        Ok(seen) if spot.format == Format::Subvol => Ok(seen.is_dir().then_some(seen)),
        Ok(seen) => Ok(seen.is_file().then_some(seen)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(Fault::from(e).context(format!("cannot look at {}", path.display()))),
    }
}

/// A volume as it is; what cannot be read of it is its `problem`.
fn info(spot: &Spot, name: &str, metadata: &Metadata, marked: bool) -> VolumeInfo {
    let mut problem = None;
    let sidecar = if marked { Sidecar::read(&spot.mark()) } else { Ok(None) };
    let sidecar = sidecar.unwrap_or_else(|fault| {
        problem = Some(fault.message);
        None
    });
    let size = match spot.format {
        Format::Raw => Size(metadata.len()),
        Format::Subvol => sidecar.as_ref().and_then(|s| s.size).unwrap_or_default(),
        Format::Qcow2 | Format::Vmdk => {
            let read = File::open(spot.path()).map_err(|e| e.to_string()).and_then(|f| header::read(&f, spot.format));
            match read {
                Ok(header) => {
                    problem = problem.or(header.broken.map(|b| format!("{}: {b}", spot.path().display())));
                    header.size
                }
                Err(why) => {
                    problem = Some(format!("{}: {why}", spot.path().display()));
                    Size(0)
                }
            }
        }
    };
    let allocated = (spot.format != Format::Subvol).then(|| Size(metadata.blocks() * 512));
    let mark = sidecar.map(|s| s.mark);
    VolumeInfo { name: name.to_owned(), content: spot.content, format: spot.format, size, allocated, mark, problem }
}

/// The names in a directory, in order: those that are seen, and those that start with '.'. Names that are no text are
/// nobody's volumes.
fn entries(dir: &Path) -> Result<(Vec<String>, BTreeSet<String>), Fault> {
    let doing = || format!("cannot list {}", dir.display());
    let listed = match std::fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Default::default()),
        Err(e) => return Err(Fault::from(e).context(doing())),
    };
    let (mut seen, mut hidden) = (Vec::new(), BTreeSet::new());
    for entry in listed {
        let Ok(name) = entry.attempt(doing)?.file_name().into_string() else { continue };
        if name.starts_with('.') {
            hidden.insert(name);
        } else {
            seen.push(name);
        }
    }
    seen.sort_unstable();
    Ok((seen, hidden))
}

/// Makes what was renamed or removed in a directory durable.
pub fn sync(dir: &Path) -> Result<(), Fault> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.attempt(|| format!("cannot make changes in {} durable", dir.display()))
}

/// Renames, and fails when the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that cannot promise it are asked first; we hold the lock of the name.
        Err(rustix::io::Errno::INVAL) if std::fs::symlink_metadata(to).is_err() => std::fs::rename(from, to),
        Err(rustix::io::Errno::INVAL) => Err(ErrorKind::AlreadyExists.into()),
        other => other.map_err(io::Error::from),
    }
}

/// Takes "it is not there" for success.
fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a file or a whole directory, should it be there.
fn erase(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(seen) if seen.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Refuses to delete a directory tree that another file system is mounted in.
fn nothing_mounted_below(path: &Path) -> Result<(), Fault> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").attempt(|| "cannot read /proc/self/mountinfo")?;
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let inside =
        mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(unescape).find(|m| Path::new(m).starts_with(&real));
    match inside {
        Some(mount) => {
            Err(Fault::new(FaultKind::Busy, format!("cannot delete {}: {mount} is mounted", path.display()))
                .help("stop the container that uses it, or unmount it"))
        }
        None => Ok(()),
    }
}

/// Undoes the kernel's writing of a space as `\040`.
pub fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                out.push(b'\\');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
