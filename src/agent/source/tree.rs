//! What a source's files look like from outside: enough to tell that one was changed, without reading any.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The state of a source's files at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// Changes when any file is written, made, removed, renamed or swapped.
    pub print: u64,
    /// Every directory to watch: those of the source, and those in which its links and its own name stand.
    pub directories: BTreeSet<PathBuf>,
}

/// Looks at a file or a directory, links followed, hidden files left out as the reader does.
pub fn look(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut hasher = DefaultHasher::new();
    above(root, &mut tree.directories);
    let mut seen = BTreeSet::new();
    visit(root, &mut seen, &mut tree.directories, &mut hasher);
    tree.print = hasher.finish();
    tree
}

fn visit(path: &Path, seen: &mut BTreeSet<(u64, u64)>, watch: &mut BTreeSet<PathBuf>, hasher: &mut DefaultHasher) {
    path.hash(hasher);
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return error.raw_os_error().hash(hasher),
    };
    if fs::symlink_metadata(path).is_ok_and(|own| own.is_symlink()) {
        above(path, watch);
    }
    (meta.dev(), meta.ino(), meta.mode()).hash(hasher);
    if !meta.is_dir() {
        return (meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()).hash(hasher);
    }
    if !seen.insert((meta.dev(), meta.ino())) {
        return;
    }
    watch.insert(path.to_owned());
    let mut entries: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden {
            visit(&entry, seen, watch, hasher);
        }
    }
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
