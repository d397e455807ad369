//! Reads the first bytes of an image file: its format, its virtual size, and whether it leans on other files.
//!
//! A listing of a thousand volumes must not start a thousand programs, and an image from outside must not name files
//! of the host, so both need this. Layouts: QEMU's `docs/interop/qcow2.txt`; VMware's "Virtual Disk Format 1.1".

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::Format;
use crate::base::Size;

/// What the first bytes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The size a guest sees.
    pub size: Size,
    /// Another file that this one needs, in words; `None` when it stands alone.
    pub leans_on: Option<String>,
    /// Why it must not be used as it is, such as a mark of corruption.
    pub broken: Option<&'static str>,
}

/// Reads the header of `file`, which is kept as `format`; `Err` says why it is no such file.
pub fn read(file: &File, format: Format) -> Result<Header, String> {
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    match format {
        Format::Raw => Ok(Header { size: Size(length), leans_on: None, broken: None }),
        Format::Subvol => Err("it is a file, not a directory".into()),
        Format::Qcow2 => qcow2(&start::<112>(file)?, length),
        Format::Vmdk => vmdk(file),
    }
}

/// The first `N` bytes, zero beyond the end.
fn start<const N: usize>(file: &File) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok(bytes)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;

fn qcow2(bytes: &[u8; 112], length: u64) -> Result<Header, String> {
    if &bytes[..4] != b"QFI\xfb" {
        return Err("it does not start as a qcow2 file does".into());
    }
    let version = be32(bytes, 4);
    if !(2..=3).contains(&version) {
        return Err(format!("it is qcow version {version}; only 2 and 3 can be used"));
    }
    let cluster_bits = be32(bytes, 20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(format!("its cluster size, 2^{cluster_bits}, is out of range"));
    }
    let incompatible = if version == 3 { be64(bytes, 72) } else { 0 };
    let leans_on = if be64(bytes, 8) != 0 {
        Some("a backing file".to_owned())
    } else if incompatible & EXTERNAL_DATA != 0 {
        Some("an external data file".to_owned())
    } else {
        None
    };
    let l1_entries = u64::from(be32(bytes, 36));
    let l1_end = be64(bytes, 40).saturating_add(l1_entries * 8);
    let broken = if incompatible & CORRUPT != 0 {
        Some("it is marked as corrupt")
    } else if l1_end > length {
        Some("it is cut off")
    } else {
        None
    };
    Ok(Header { size: Size(be64(bytes, 24)), leans_on, broken })
}

const SECTOR: u64 = 512;

fn vmdk(file: &File) -> Result<Header, String> {
    let bytes = start::<4096>(file)?;
    if &bytes[..4] == b"KDMV" {
        let sectors = le64(&bytes, 12);
        let size = sectors.checked_mul(SECTOR).ok_or("its size is out of range")?;
        return Ok(Header { size: Size(size), leans_on: parent(file, &bytes), broken: None });
    }
    let text = String::from_utf8_lossy(&bytes);
    if !text.starts_with("# Disk DescriptorFile") {
        return Err("it does not start as a vmdk file does".into());
    }
    let sectors: u64 = text.lines().filter_map(extent).sum();
    let size = sectors.checked_mul(SECTOR).ok_or("its size is out of range")?;
    Ok(Header { size: Size(size), leans_on: Some("extents in other files".into()), broken: None })
}

/// The sectors of a descriptor's line `RW 8192 FLAT "x-flat.vmdk" 0`.
fn extent(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    matches!(words.next()?, "RW" | "RDONLY" | "NOACCESS").then(|| words.next()?.parse().ok())?
}

/// Whether the descriptor embedded in a sparse vmdk names a parent or other extents.
fn parent(file: &File, header: &[u8; 4096]) -> Option<String> {
    let (at, sectors) = (le64(header, 28).checked_mul(SECTOR)?, le64(header, 36).min(128));
    let mut text = vec![0; usize::try_from(sectors * SECTOR).ok()?];
    let read = file.read_at(&mut text, at).ok()?;
    let text = String::from_utf8_lossy(&text[..read]);
    let parent = text.lines().find_map(|l| l.strip_prefix("parentFileNameHint="));
    let extents = text.lines().filter(|l| extent(l).is_some()).count();
    match parent {
        Some(_) => Some("a parent file".into()),
        None if extents > 1 => Some("extents in other files".into()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn qemu_img(args: &[&str], dir: &Path) {
        let done = Command::new("qemu-img").args(args).current_dir(dir).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn header(path: &Path, format: Format) -> Header {
        read(&File::open(path).unwrap(), format).unwrap()
    }

    #[test]
    fn sizes_are_those_that_qemu_img_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = 0;
        for bytes in [512_u64, 1 << 20, (1 << 30) + 512, 5 << 40] {
            for (format, options) in [
                (Format::Raw, vec![]),
                (Format::Qcow2, vec![]),
                (Format::Qcow2, vec!["-o", "compat=0.10"]),
                (Format::Qcow2, vec!["-o", "cluster_size=512"]),
                (Format::Qcow2, vec!["-o", "extended_l2=on"]),
                (Format::Vmdk, vec![]),
                (Format::Vmdk, vec!["-o", "subformat=streamOptimized"]),
            ] {
                if options.contains(&"cluster_size=512") && bytes > 1 << 35 || format == Format::Vmdk && bytes > 1 << 40
                {
                    continue;
                }
                let path = dir.path().join(format!("{seen}.img"));
                let (name, size) = (path.to_string_lossy().into_owned(), bytes.to_string());
                let mut args = vec!["create", "-q", "-f", format.word()];
                args.extend(options);
                args.extend([name.as_str(), size.as_str()]);
                qemu_img(&args, dir.path());
                assert_eq!(
                    header(&path, format),
                    Header { size: Size(bytes), leans_on: None, broken: None },
                    "{args:?}"
                );
                seen += 1;
            }
        }
        assert_eq!(seen, 25);
    }

    #[test]
    fn files_that_lean_on_others_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        qemu_img(&["create", "-q", "-f", "raw", "base.raw", "1M"], dir.path());
        qemu_img(&["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2"], dir.path());
        qemu_img(&["create", "-q", "-f", "qcow2", "-o", "data_file=d.raw", "ext.qcow2", "1M"], dir.path());
        qemu_img(&["create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M"], dir.path());
        qemu_img(&["create", "-q", "-f", "vmdk", "base.vmdk", "1M"], dir.path());
        qemu_img(&["create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk"], dir.path());
        for (name, format, what) in [
            ("top.qcow2", Format::Qcow2, "a backing file"),
            ("ext.qcow2", Format::Qcow2, "an external data file"),
            ("flat.vmdk", Format::Vmdk, "extents in other files"),
            ("top.vmdk", Format::Vmdk, "a parent file"),
        ] {
            let header = header(&at(name), format);
            assert_eq!(header.leans_on.as_deref(), Some(what), "{name}");
            assert_eq!(header.size, Size::mib(1), "{name}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for bytes in [&b""[..], b"QFI", b"QFI\xfb\0\0\0\x09", &[0xff; 4096]] {
            std::fs::write(&path, bytes).unwrap();
            let file = File::open(&path).unwrap();
            assert!(read(&file, Format::Qcow2).is_err() && read(&file, Format::Vmdk).is_err());
        }
        qemu_img(&["create", "-q", "-f", "qcow2", "cut.qcow2", "10G"], dir.path());
        let cut = dir.path().join("cut.qcow2");
        File::options().write(true).open(&cut).unwrap().set_len(1000).unwrap();
        assert_eq!(header(&cut, Format::Qcow2).broken, Some("it is cut off"));
    }
}
