//! What a source's files look like from outside: enough to tell that one was changed, without reading any.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The state of a source's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// Changes when any file is written, made, removed, renamed or swapped.
    pub print: u64,
    /// Every directory to watch: those of the source, and those in which its links and its own name stand.
    pub directories: BTreeSet<PathBuf>,
    /// Whether a file was changed so shortly before that another change could have the same time, and show nowhere: such
    /// a state is never as a later one.
    pub fresh: bool,
}

/// The kernel's clock for files moves in steps of at most a hundredth of a second.
const STEP: Duration = Duration::from_millis(20);

/// Looks at a file or a directory, links followed, hidden files left out as the reader does.
pub fn look(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut hasher = DefaultHasher::new();
    above(root, &mut tree.directories);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut visit = Visit { seen: BTreeSet::new(), watch: &mut tree.directories, newest: Duration::ZERO };
    visit.path(root, &mut hasher);
    let newest = visit.newest;
    // Another host's clock may be far ahead; its times say nothing of now.
    tree.fresh = newest.saturating_add(STEP) > now && newest < now.saturating_add(STEP);
    tree.print = hasher.finish();
    tree
}

/// One look at everything below a path.
struct Visit<'a> {
    seen: BTreeSet<(u64, u64)>,
    watch: &'a mut BTreeSet<PathBuf>,
    /// When a file was last changed.
    newest: Duration,
}

impl Visit<'_> {
    fn path(&mut self, path: &Path, hasher: &mut DefaultHasher) {
        path.hash(hasher);
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) => return error.raw_os_error().hash(hasher),
        };
        if fs::symlink_metadata(path).is_ok_and(|own| own.is_symlink()) {
            above(path, self.watch);
        }
        (meta.dev(), meta.ino(), meta.mode()).hash(hasher);
        if !meta.is_dir() {
            let (seconds, more) = (meta.ctime(), meta.ctime_nsec());
            self.newest = self.newest.max(moment(seconds, more));
            return (meta.size(), meta.mtime(), meta.mtime_nsec(), seconds, more).hash(hasher);
        }
        if !self.seen.insert((meta.dev(), meta.ino())) {
            return;
        }
        self.watch.insert(path.to_owned());
        let mut entries: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        for entry in entries {
            let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden {
                self.path(&entry, hasher);
            }
        }
    }
}

fn moment(seconds: i64, nanoseconds: i64) -> Duration {
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(seconds)).saturating_add(Duration::from_nanos(part(nanoseconds)))
}

/// The nearest directories that exist in which a name and what it links to stand: where they appear and are swapped.
fn above(path: &Path, watch: &mut BTreeSet<PathBuf>) {
    let mut path = path.to_owned();
    for _ in 0..16 {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some(there) = parent.ancestors().find(|p| p.is_dir()) {
            watch.insert(there.to_owned());
        }
        let Ok(target) = fs::read_link(&path) else { return };
        path = parent.join(target);
    }
}

/// Whether changes below a path are told by the kernel; over a network another host's are not.
pub fn is_local(path: &Path) -> bool {
    const REMOTE: [u64; 8] = [
        0x6969,      // NFS
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB 2
        0x517b,      // SMB
        0x0102_1997, // 9P
        0x6573_5546, // FUSE: GlusterFS, sshfs and others
        0x00c3_6400, // Ceph
        0x0bd0_0bd0, // Lustre
    ];
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    let kind = rustix::fs::statfs(there).map(|s| s.f_type.cast_unsigned());
    kind.is_ok_and(|kind| !REMOTE.contains(&(kind & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_changed_just_now_may_be_changed_again_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let write = || fs::write(dir.path().join("a.yaml"), "a").map(|()| look(dir.path())).unwrap();
        // A busy machine may take longer to look.
        let at_once = std::iter::repeat_with(write).take(1_000).find(|tree| tree.fresh).unwrap();
        std::thread::sleep(STEP * 2);
        let later = look(dir.path());
        assert!(!later.fresh);
        assert_eq!(at_once.print, later.print);
        assert_ne!(at_once, later);
        assert_eq!(look(dir.path()), later);
    }

    #[test]
    fn every_change_shows_and_nothing_else_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("manifests");
        let mut last = look(&root).print;
        let mut changed = |what: &str| {
            let now = look(&root).print;
            assert_ne!(now, last, "{what}");
            assert_eq!(look(&root).print, now);
            last = now;
        };
        fs::create_dir_all(root.join("sub")).unwrap();
        changed("made");
        fs::write(root.join("sub/a.yaml"), "a").unwrap();
        changed("a file below");
        fs::write(root.join("new"), "b").unwrap();
        fs::rename(root.join("new"), root.join("sub/a.yaml")).unwrap();
        changed("written aside and renamed");
        fs::remove_dir_all(&root).unwrap();
        changed("gone");
        fs::create_dir(&root).unwrap();
        changed("made again");
    }

    #[test]
    fn a_swapped_link_shows_and_where_it_stands_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.yaml"), text).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        fs::create_dir(at("conf")).unwrap();
        symlink("../..data/a.yaml", at("conf/a.yaml")).unwrap();
        let before = look(&at("conf"));
        assert!(before.directories.iter().any(|d| d.canonicalize().unwrap() == dir.path().canonicalize().unwrap()));
        symlink("v2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(look(&at("conf")).print, before.print);
    }

    #[test]
    fn this_machines_own_files_are_local() {
        assert!(is_local(Path::new("/tmp/there/is/no/such/place")));
    }
}
