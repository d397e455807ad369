//! Where things are below a storage's directory.
//!
//! ```text
//! .reeve-storage.json            the mark on the storage itself
//! .reeve-locks/NAME              a lock file, while something is done to the volume NAME
//! images/NAME.qcow2|.raw|.vmdk   disks of virtual machines
//! rootdir/NAME.subvol/ or .raw   file systems of containers
//! iso/NAME template/NAME backup/NAME snippets/NAME    files as they are
//! CONTENT/.FILE.reeve.json       the mark of the volume FILE beside it
//! CONTENT/.reeve-new/            what is being made or deleted and is no volume yet or no more
//! ```

use std::path::{Path, PathBuf};

use crate::base::{Fault, FaultKind};
use crate::drivers::storage::Format;
use crate::kinds::storage::Content;

/// The mark on the storage itself, at its root.
pub const ROOT_MARK: &str = ".reeve-storage.json";
/// Where lock files are, below the root.
pub const LOCKS: &str = ".reeve-locks";
/// Where volumes are made before they are seen, within each content's directory.
pub const STAGING: &str = ".reeve-new";
/// The end of a mark's file name.
const MARK_END: &str = ".reeve.json";
/// The longest name of a volume, so that everything named after it fits a file name.
const LONGEST: usize = 200;

/// One place where a volume of some name may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// What it is kept as.
    pub content: Content,
    /// Its format.
    pub format: Format,
    dir: PathBuf,
    file: String,
}

impl Spot {
    /// The place of a volume that is kept as `content` in `format`, below `root`.
    pub fn new(root: &Path, name: &str, content: Content, format: Format) -> Self {
        let file = if is_plain(content) { name.to_owned() } else { format!("{name}.{format}") };
        Self { content, format, dir: root.join(content.word()), file }
    }

    /// Every place where a volume named `name` may be.
    pub fn all(root: &Path, name: &str) -> Vec<Self> {
        let formats = |content| formats(content).iter().map(move |format| (content, *format));
        Content::ALL.into_iter().flat_map(formats).map(|(c, f)| Self::new(root, name, c, f)).collect()
    }

    /// The volume that a file of this name in the directory of `content` is; `None` when it is none.
    pub fn of_file(root: &Path, content: Content, file: &str) -> Option<(Self, String)> {
        if file.starts_with('.') {
            return None;
        }
        let (name, format) = if is_plain(content) {
            (file, Format::Raw)
        } else {
            let (name, end) = file.rsplit_once('.')?;
            (name, *formats(content).iter().find(|f| f.word() == end)?)
        };
        let spot = Self { content, format, dir: root.join(content.word()), file: file.to_owned() };
        check_name(name).is_ok().then(|| (spot, name.to_owned()))
    }

    /// The directory it is in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The volume.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.file)
    }

    /// Its mark.
    pub fn mark(&self) -> PathBuf {
        self.dir.join(format!(".{}{MARK_END}", self.file))
    }

    /// The name of its mark's file.
    pub fn mark_file(&self) -> String {
        format!(".{}{MARK_END}", self.file)
    }

    /// Where it is made.
    pub fn staged(&self) -> PathBuf {
        self.dir.join(STAGING).join(&self.file)
    }

    /// Where its mark is made.
    pub fn staged_mark(&self) -> PathBuf {
        self.dir.join(STAGING).join(self.mark_file())
    }

    /// Where it waits to be deleted.
    pub fn discarded(&self) -> PathBuf {
        self.dir.join(STAGING).join(format!(".{}.reeve-gone", self.file))
    }
}

/// The name of the file that a mark's or a staged file's name is about.
pub fn about(file: &str) -> &str {
    let hidden = file.strip_prefix('.');
    hidden.and_then(|f| f.strip_suffix(MARK_END).or_else(|| f.strip_suffix(".reeve-gone"))).unwrap_or(file)
}

/// Whether files of this content keep the names their users gave them.
fn is_plain(content: Content) -> bool {
    !matches!(content, Content::Images | Content::Rootdir)
}

/// The formats in which this content may be kept, the preferred first: a file with a file system in it keeps to its
/// size, a directory does not.
pub fn formats(content: Content) -> &'static [Format] {
    match content {
        Content::Images => &[Format::Qcow2, Format::Raw, Format::Vmdk],
        Content::Rootdir => &[Format::Raw, Format::Subvol],
        Content::Iso | Content::Template | Content::Backup | Content::Snippets => &[Format::Raw],
    }
}

/// Refuses names that no file can have, or that would be confused with files of our own.
pub fn check_name(name: &str) -> Result<(), Fault> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST {
        "it is longer than 200 bytes"
    } else if name.starts_with('.') {
        "it starts with '.'"
    } else if name.contains('/') {
        "it has '/' in it"
    } else if name.chars().any(char::is_control) {
        "it has a control character in it"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(80).collect();
    Err(Fault::new(FaultKind::Invalid, format!("a volume cannot be named {shown:?}: {why}"))
        .help("choose a name of letters, digits and '-'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_leads_back_to_the_volume() {
        let root = Path::new("/r");
        for name in ["web", "web.raw", "a b", "x:y,z", "ü'\"$`\\", "-rf", "a.qcow2.vmdk", &"x".repeat(200)] {
            check_name(name).unwrap();
            for spot in Spot::all(root, name) {
                let file = spot.path().file_name().unwrap().to_str().unwrap().to_owned();
                assert_eq!(Spot::of_file(root, spot.content, &file), Some((spot.clone(), name.to_owned())));
                assert_eq!(about(&spot.mark_file()), file);
                assert!(spot.mark_file().len() <= 255);
                assert!(spot.discarded().file_name().unwrap().len() <= 255);
            }
        }
        assert_eq!(Spot::of_file(root, Content::Images, "notes.txt"), None);
        assert_eq!(Spot::of_file(root, Content::Images, ".x.qcow2.reeve.json"), None);
    }

    #[test]
    fn names_that_could_escape_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\nb", "a\0b", &"x".repeat(201)] {
            assert_eq!(check_name(bad).unwrap_err().kind, FaultKind::Invalid, "{bad:?}");
        }
    }
}
