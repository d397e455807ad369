//! What an Image manifest says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Size;

/// Something guests are made from: a disk, an installation medium, or a container's root file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    /// What it is used for.
    #[serde(rename = "type")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub kind: ImageType,
    /// How its bytes are laid out; left out: `qcow2` for a disk, `raw` for an iso, `tar` for a rootfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none"))]
    pub format: Option<ImageFormat>,
    /// Where it comes from: exactly one of `url`, `file` and `debian`.
    #[schemars(extend("x-reeve-change" = "none"))]
    pub source: ImageSource,
    /// The smallest disk or root file system that may be made of it; the image itself must not be larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-change" = "none", "x-reeve-example" = "4Gi"))]
    pub min_size: Option<Size>,
}

impl ImageSpec {
    /// The format, its default filled in.
    pub fn format(&self) -> ImageFormat {
        self.format.unwrap_or(match self.kind {
            ImageType::Disk => ImageFormat::Qcow2,
            ImageType::Iso => ImageFormat::Raw,
            ImageType::Rootfs => ImageFormat::Tar,
        })
    }

    /// The same with every default filled in and every list in order.
    pub fn canonical(&self) -> Self {
        let mut spec = self.clone();
        spec.format = Some(self.format());
        if let Some(sum) = &mut spec.source.sha256 {
            sum.make_ascii_lowercase();
        }
        if let Some(debian) = &mut spec.source.debian {
            debian.fill(self.kind);
        }
        spec
    }
}

/// What an image is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageType {
    /// The start of a virtual machine's disk.
    Disk,
    /// A medium for a virtual machine's cdrom drive.
    Iso,
    /// The start of a container's root file system.
    Rootfs,
}

impl std::fmt::Display for ImageType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Disk => "disk",
            Self::Iso => "iso",
            Self::Rootfs => "rootfs",
        })
    }
}

/// How an image's bytes are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// QEMU's copy-on-write format.
    Qcow2,
    /// The plain bytes.
    Raw,
    /// VMware's format.
    Vmdk,
    /// A tar archive, plain or compressed with gzip, xz or zstd.
    Tar,
}

impl ImageFormat {
    /// The word in manifests; also the ending of the image's file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
            Self::Tar => "tar",
        }
    }
}

impl std::fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}

/// Where an image comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSource {
    /// Downloaded from here, over http or https; `sha256` must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), extend("x-reeve-example" = "https://images.example.org/debian-12.qcow2"))]
    pub url: Option<String>,
    /// Copied from this file on the node, given as an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), extend("x-reeve-example" = "/srv/images/debian-12.qcow2"))]
    pub file: Option<String>,
    /// The SHA-256 of the bytes, 64 hexadecimal digits; needed for `url`, checked for `file` when given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Built on the node from Debian packages, by mmdebstrap, from the node's own package sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian: Option<DebianSource>,
}

/// What to build from Debian packages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DebianSource {
    /// The release, `bookworm`; left out: the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-reeve-example" = "bookworm"))]
    pub suite: Option<String>,
    /// Packages beyond what every image of the type gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = ["cloud-init", "qemu-guest-agent"]))]
    pub packages: Option<Vec<String>>,
    /// Which packages the system starts with; left out: `minbase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// The archive's components; left out: `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = ["main", "non-free-firmware"]))]
    pub components: Option<Vec<String>>,
    /// The size of the disk as a guest sees it, thin; left out: 2Gi. For a disk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-reeve-example" = "2Gi"))]
    pub size: Option<Size>,
}

impl DebianSource {
    /// The size of a disk when none is given.
    pub const DEFAULT_SIZE: Size = Size::gib(2);

    fn fill(&mut self, kind: ImageType) {
        let mut packages = self.packages.take().unwrap_or_default();
        packages.sort();
        packages.dedup();
        self.packages = Some(packages);
        self.variant.get_or_insert(Variant::Minbase);
        self.components.get_or_insert_with(|| vec!["main".into()]);
        if kind == ImageType::Disk {
            self.size.get_or_insert(Self::DEFAULT_SIZE);
        }
    }
}

/// Which packages a Debian system starts with; mmdebstrap's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The essential packages and apt.
    Apt,
    /// The essential packages, apt, and those of priority required.
    Minbase,
    /// The same and those of priority important.
    Important,
    /// The same and those of priority standard.
    Standard,
}

impl Variant {
    /// The word in manifests and for mmdebstrap.
    pub fn word(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Minbase => "minbase",
            Self::Important => "important",
            Self::Standard => "standard",
        }
    }
}
