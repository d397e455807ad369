//! Something guests are made from: a disk, an installation medium, or a container's root file system.
//!
//! An image is brought to the node once ([`make`]), from a URL ([`fetch`]), a file ([`copy`]) or Debian packages ([`debian`]), looked
//! into ([`inspect`]) and kept on the [`shelf`] under the digest of its source. Guests get copies of it, so that nothing
//! done to an image ever reaches a guest that exists.

mod check;
mod copy;
mod debian;
mod fetch;
mod inspect;
mod make;
mod shelf;
mod spec;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::{Value, json};

use self::shelf::{Found, Kept, Shelf, Sidecar};
pub use self::spec::{DebianSource, ImageFormat, ImageSource, ImageSpec, ImageType, Variant};
use crate::base::{Disruption, Fault, FaultKind, Mark, Name, Size};
use crate::drivers::storage::Format;
use crate::kinds::{Have, Kind, KindName, Observed, Reference, Report, Scope, Spec, Task, World};
use crate::plan::model::{Cause, FieldChange};

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
pub async fn local(world: &World, scope: &Scope<'_>, name: &Name) -> Result<LocalImage, Fault> {
    let Some(Spec::Image(spec)) = scope.spec(KindName::Image, name) else {
        return Err(Fault::new(FaultKind::NotFound, format!("image/{name} is in no manifest"))
            .help("add an Image manifest of that name, or give its file on the command line"));
    };
    match Shelf::of(world).find(name, spec)? {
        None => Err(Fault::new(FaultKind::NotFound, format!("image/{name} is not on this node yet"))
            .help(format!("apply image/{name} first"))),
        Some(kept) if !kept.intact => Err(Fault::new(
            FaultKind::Identity,
            format!("{} was written to since image/{name} was made", kept.path.display()),
        )
        .help(format!("apply image/{name}: it is checked, and made again if need be"))),
        Some(kept) => Ok(LocalImage {
            path: kept.path,
            format: spec.format(),
            virtual_size: kept.sidecar.virtual_size,
            kind: spec.kind,
        }),
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
    /// The SHA-256 of the file as it was made.
    pub digest: String,
    /// The bytes in the file.
    pub size: Size,
    /// The size a guest sees.
    pub virtual_size: Size,
    /// Whether nobody wrote to the file since.
    pub intact: bool,
    /// The files of earlier sources, kept for guests whose drives they are in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<PathBuf>,
    /// Our mark.
    pub mark: Option<Mark>,
}

#[async_trait]
impl Kind for ImageKind {
    type Spec = ImageSpec;
    type Live = ImageLive;

    fn check(_name: &Name, spec: &ImageSpec, _scope: &Scope<'_>, report: &mut Report<'_>) {
        check::check(spec, report);
    }

    fn references(_spec: &ImageSpec) -> Vec<Reference> {
        Vec::new()
    }

    fn want(_name: &Name, spec: &ImageSpec, _scope: &Scope<'_>) -> Value {
        serde_json::to_value(spec.canonical()).unwrap_or_default()
    }

    fn have(live: &ImageLive) -> Have {
        Have {
            configured: serde_json::to_value(live.spec.canonical()).unwrap_or_default(),
            mark: live.mark.clone(),
            must_be_marked: true,
            ..Have::default()
        }
    }

    fn extra(_spec: &ImageSpec, live: &ImageLive, _scope: &Scope<'_>) -> Vec<FieldChange> {
        if live.intact {
            return Vec::new();
        }
        vec![FieldChange {
            path: "content".into(),
            have: "written to since it was made".into(),
            want: format!("sha256 {}", live.digest).into(),
            disruption: Disruption::None,
            cause: Cause::Drift,
            pending: false,
        }]
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<ImageLive>>, Fault> {
        let seen = |(name, found): (Name, Found)| {
            let wanted = match scope.spec(KindName::Image, &name) {
                Some(Spec::Image(spec)) => Some(&**spec),
                _ => None,
            };
            let seen = choose(found, wanted);
            (name, seen)
        };
        Ok(Shelf::of(world).list()?.into_iter().map(seen).collect())
    }

    async fn create(task: &Task<'_>, spec: &ImageSpec) -> Result<(), Fault> {
        task.effect("make-image", json!({"source": spec.source}), make::make(task, spec)).await
    }

    async fn update(
        task: &Task<'_>,
        spec: &ImageSpec,
        _live: &ImageLive,
        _changes: &[FieldChange],
    ) -> Result<(), Fault> {
        task.effect("make-image", json!({"source": spec.source}), make::make(task, spec)).await
    }

    async fn delete(task: &Task<'_>, live: &ImageLive) -> Result<(), Fault> {
        task.effect("remove-image", json!({"path": live.path}), make::remove(task)).await
    }

    async fn adopt(task: &Task<'_>, spec: &ImageSpec, _live: &ImageLive) -> Result<(), Fault> {
        task.effect("mark-image", Value::Null, make::adopt(task, spec)).await
    }

    async fn undo(task: &Task<'_>, spec: Option<&ImageSpec>, _effect: &str, _detail: &Value) -> Result<(), Fault> {
        make::undo(task, spec)
    }

    fn spec_of(live: &ImageLive) -> Option<ImageSpec> {
        Some(live.spec.clone())
    }
}

/// The image that counts among those of one name: the one of the wanted source, else the newest.
fn choose(mut found: Found, wanted: Option<&ImageSpec>) -> Observed<ImageLive> {
    let matching = found.kept.iter().rposition(|k| wanted.is_some_and(|w| shelf::same_source(&k.sidecar.spec, w)));
    if let (None, Some(why)) = (matching, found.unreadable) {
        return Observed::Unknown(why);
    }
    let Some(index) = matching.or(found.kept.len().checked_sub(1)) else { return Observed::Absent };
    let Kept { sidecar, path, intact } = found.kept.remove(index);
    let Sidecar { mark, spec, digest, size, virtual_size, modified: _, made: _ } = sidecar;
    let older = found.kept.into_iter().map(|k| k.path).collect();
    Observed::Present(ImageLive { spec, path, digest, size, virtual_size, intact, older, mark: Some(mark) })
}
