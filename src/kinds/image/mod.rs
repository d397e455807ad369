//! Something guests are made from: a disk, an installation medium, or a container's root file system.

mod spec;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;

pub use self::spec::{DebianSource, ImageFormat, ImageSource, ImageSpec, ImageType, Variant};
use crate::base::{Fault, FaultKind, Mark, Name, Size};
use crate::drivers::storage::Format;
use crate::kinds::{Have, Kind, KindName, Observed, Reference, Report, Scope, Spec, Task, World};
use crate::plan::model::FieldChange;

/// The kind `Image`.
#[derive(Debug)]
pub struct ImageKind;

/// An image that is on this node, whole and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalImage {
    /// Its file; read-only, never written to after it was made.
    pub path: PathBuf,
    /// How its bytes are laid out.
    pub format: ImageFormat,
    /// The size a guest sees; for an archive, the size of the file.
    pub virtual_size: Size,
    /// What it is used for.
    pub kind: ImageType,
}

/// The file on this node of the image that the manifests call `name`.
pub async fn local(_world: &World, scope: &Scope<'_>, name: &Name) -> Result<LocalImage, Fault> {
    match scope.spec(KindName::Image, name) {
        Some(Spec::Image(_)) => Err(Fault::new(FaultKind::NotFound, format!("image/{name} is not on this node yet"))),
        _ => Err(Fault::new(FaultKind::NotFound, format!("image/{name} is in no manifest"))
            .help("add an Image manifest of that name, or give its file on the command line")),
    }
}

impl ImageFormat {
    /// The same as a volume's format; `None` for an archive.
    pub fn volume(self) -> Option<Format> {
        match self {
            Self::Qcow2 => Some(Format::Qcow2),
            Self::Raw => Some(Format::Raw),
            Self::Vmdk => Some(Format::Vmdk),
            Self::Tar => None,
        }
    }
}

/// What is observed of an image.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLive {
    /// The spec it was made from.
    pub spec: ImageSpec,
    /// Its file.
    pub path: PathBuf,
    /// The SHA-256 of the file.
    pub digest: String,
    /// The bytes the file takes.
    pub size: Size,
    /// The size a guest sees.
    pub virtual_size: Size,
    /// Our mark.
    pub mark: Option<Mark>,
}

#[async_trait]
impl Kind for ImageKind {
    type Spec = ImageSpec;
    type Live = ImageLive;

    fn check(_name: &Name, _spec: &ImageSpec, _scope: &Scope<'_>, _report: &mut Report<'_>) {}

    fn references(_spec: &ImageSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn want(_name: &Name, spec: &ImageSpec, _scope: &Scope<'_>) -> Value {
        serde_json::to_value(spec).unwrap_or_default()
    }

    fn have(live: &ImageLive) -> Have {
        Have {
            configured: serde_json::to_value(&live.spec).unwrap_or_default(),
            mark: live.mark.clone(),
            must_be_marked: true,
            ..Have::default()
        }
    }

    async fn observe(_world: &World, _scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<ImageLive>>, Fault> {
        Ok(BTreeMap::new())
    }

    async fn create(_task: &Task<'_>, _spec: &ImageSpec) -> Result<(), Fault> {
        Ok(())
    }

    async fn update(
        _task: &Task<'_>,
        _spec: &ImageSpec,
        _live: &ImageLive,
        _changes: &[FieldChange],
    ) -> Result<(), Fault> {
        Ok(())
    }

    async fn delete(_task: &Task<'_>, _live: &ImageLive) -> Result<(), Fault> {
        Ok(())
    }
}
