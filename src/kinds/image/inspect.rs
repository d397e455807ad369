//! Looks into a finished file: whether it is what its manifest says, and how large a guest sees it.
//!
//! A disk that names other files (a backing file, an external data file, extents) is refused: a guest made of it would
//! read whatever file of the host it names.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{ImageFormat, ImageSpec, ImageType};
use crate::base::exec::Command;
use crate::base::fault::Attempt as _;
use crate::base::{Fault, FaultKind, Size};

/// The size a guest sees, of a file that proved to be what `spec` says.
pub async fn inspect(path: &Path, spec: &ImageSpec) -> Result<Size, Fault> {
    let format = spec.format();
    let looks = sniff(path).attempt(|| format!("read {}", path.display()))?;
    let fits = match (spec.kind, format) {
        (ImageType::Iso, _) => looks == Looks::Iso,
        (_, ImageFormat::Qcow2) => looks == Looks::Qcow2,
        (_, ImageFormat::Vmdk) => looks == Looks::Vmdk,
        (_, ImageFormat::Tar) => looks == Looks::Tar,
        (_, ImageFormat::Raw) => matches!(looks, Looks::Iso | Looks::Other),
    };
    if !fits {
        return Err(Fault::new(
            FaultKind::Invalid,
            format!("the manifest says {} of format {format}, and the file looks like {}", spec.kind, looks.words()),
        )
        .help("correct type, format or source"));
    }
    let size = match format {
        ImageFormat::Qcow2 | ImageFormat::Vmdk => virtual_size(path, format).await?,
        ImageFormat::Raw | ImageFormat::Tar => {
            Size(std::fs::metadata(path).attempt(|| format!("look at {}", path.display()))?.len())
        }
    };
    match spec.min_size {
        Some(least) if spec.kind != ImageType::Rootfs && least < size => Err(Fault::new(
            FaultKind::Invalid,
            format!("the image is {size} large, and minSize says that {least} is enough"),
        )
        .help(format!("write minSize: {size} or more, or leave it out"))),
        _ => Ok(size),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    Qcow2,
    Vmdk,
    Iso,
    Tar,
    Other,
}

impl Looks {
    fn words(self) -> &'static str {
        match self {
            Self::Qcow2 => "a qcow2 disk",
            Self::Vmdk => "a vmdk disk",
            Self::Iso => "an ISO 9660 medium",
            Self::Tar => "a tar archive",
            Self::Other => "none of qcow2, vmdk, ISO 9660 and tar",
        }
    }
}

/// What the file's first bytes say it is.
fn sniff(path: &Path) -> std::io::Result<Looks> {
    let file = File::open(path)?;
    let has = |at: u64, magic: &[u8]| {
        let mut bytes = vec![0; magic.len()];
        file.read_exact_at(&mut bytes, at).is_ok() && bytes == magic
    };
    let packed: [&[u8]; 3] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    Ok(if has(0, b"QFI\xfb") {
        Looks::Qcow2
    } else if has(0, b"KDMV") || has(0, b"COWD") || has(0, b"# Disk DescriptorFile") {
        Looks::Vmdk
    } else if has(257, b"ustar") || packed.iter().any(|m| has(0, m)) {
        Looks::Tar
    } else if has(0x8001, b"CD001") {
        Looks::Iso
    } else {
        Looks::Other
    })
}

async fn virtual_size(path: &Path, format: ImageFormat) -> Result<Size, Fault> {
    let asked = Command::new("qemu-img")
        .args(["info", "--output=json", "-U", "-f", format.word(), "--"])
        .arg(path)
        .deadline(Duration::from_secs(60))
        .run()
        .await?;
    let info: Value = serde_json::from_slice(&asked.stdout)
        .map_err(|e| Fault::other(format!("qemu-img said nothing sensible about {}: {e}", path.display())))?;
    if let Some(other) = names_other(&info, path) {
        return Err(Fault::new(
            FaultKind::Invalid,
            format!("the image needs another file, {other:?}; an image must be whole"),
        )
        .help("make it whole with: qemu-img convert -O qcow2 OLD NEW"));
    }
    info["virtual-size"]
        .as_u64()
        .map(Size)
        .ok_or_else(|| Fault::other(format!("qemu-img gives no size for {}", path.display())))
}

/// The other file that an image's own description names.
fn names_other(info: &Value, path: &Path) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let data = &info["format-specific"]["data"];
    let extents = data["extents"].as_array().into_iter().flatten();
    text(&info["backing-filename"])
        .or_else(|| text(&data["data-file"]))
        .or_else(|| extents.filter_map(|e| text(&e["filename"])).find(|f| Path::new(f) != path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(kind: &str, format: &str, least: Option<&str>) -> ImageSpec {
        serde_json::from_value(json!({"type": kind, "format": format, "minSize": least, "source": {}})).unwrap()
    }

    #[tokio::test]
    async fn a_disk_tells_its_size_and_must_be_whole() {
        let dir = tempfile::tempdir().unwrap();
        let make = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
            Command::new("qemu-img").arg("create").args(args).dir(dir.path()).run()
        };
        make(&["-q", "-f", "qcow2", "a.qcow2", "64M"]).await.unwrap();
        let whole = dir.path().join("a.qcow2");
        assert_eq!(inspect(&whole, &spec("disk", "qcow2", Some("64Mi"))).await.unwrap(), Size::mib(64));
        let fault = inspect(&whole, &spec("disk", "qcow2", Some("32Mi"))).await.unwrap_err();
        assert_eq!(fault.message, "the image is 64Mi large, and minSize says that 32Mi is enough");
        make(&["-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2"]).await.unwrap();
        let fault = inspect(&dir.path().join("b.qcow2"), &spec("disk", "qcow2", None)).await.unwrap_err();
        assert!(fault.message.contains("needs another file, \"a.qcow2\""), "{fault}");
        make(&["-q", "-f", "vmdk", "c.vmdk", "64M"]).await.unwrap();
        assert_eq!(inspect(&dir.path().join("c.vmdk"), &spec("disk", "vmdk", None)).await.unwrap(), Size::mib(64));
        make(&["-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "d.vmdk", "1M"]).await.unwrap();
        let fault = inspect(&dir.path().join("d.vmdk"), &spec("disk", "vmdk", None)).await.unwrap_err();
        assert!(fault.message.contains("d-flat.vmdk"), "{fault}");
    }

    #[tokio::test]
    async fn a_file_must_be_what_the_manifest_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"QFI\xfb and so on").unwrap();
        let fault = inspect(&path, &spec("disk", "raw", None)).await.unwrap_err();
        assert_eq!(fault.message, "the manifest says disk of format raw, and the file looks like a qcow2 disk");
        std::fs::write(&path, [0; 4096]).unwrap();
        assert_eq!(inspect(&path, &spec("disk", "raw", None)).await.unwrap(), Size(4096));
        assert!(inspect(&path, &spec("iso", "raw", None)).await.is_err());
        assert!(inspect(&path, &spec("rootfs", "tar", None)).await.is_err());
        std::fs::write(&path, b"\x28\xb5\x2f\xfd....").unwrap();
        inspect(&path, &spec("rootfs", "tar", None)).await.unwrap();
    }
}
