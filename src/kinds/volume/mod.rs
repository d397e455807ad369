//! A data disk or file system that outlives the guest that uses it.
//!
//! The volume of `volume/web-data` is called `vol-web-data` on its storage and carries the resource's mark there; that
//! is all there is, so what is observed is what the storage lists. Deleting the resource keeps the volume as an orphan,
//! unless the data was asked to go too.

mod act;
mod check;
mod observe;
mod online;
mod spec;
mod survey;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use self::spec::VolumeSpec;
pub use self::survey::{Ownership, Row, survey};
use crate::base::{Disruption, Fault, FaultKind, Mark, Name, Size};
use crate::drivers::storage::{self as drivers, Format};
use crate::kinds::storage::{Content, rough};
use crate::kinds::{
    AsKind, Have, Kind, KindName, Observed, Reference, Report, Scope, Task, World, storage::StorageKind,
};
use crate::plan::model::{Cause, FieldChange};

/// The kind `Volume`.
#[derive(Debug)]
pub struct VolumeKind;

/// What is observed of a volume.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeLive {
    /// The storage it is on.
    pub storage: Name,
    /// Its name there.
    pub volume: String,
    /// The size the guest sees.
    pub size: Size,
    /// Its format.
    pub format: Format,
    /// What it is kept as.
    pub content: Content,
    /// The space it takes, where that is cheap to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<Size>,
    /// Our mark.
    pub mark: Option<Mark>,
}

impl VolumeLive {
    /// Whether its resource was deleted and the data kept.
    pub fn orphan(&self) -> bool {
        self.mark.as_ref().is_some_and(|mark| survey::state(mark) == Some("orphan"))
    }
}

/// What the volume of that resource is called on its storage.
pub fn on_storage(name: &Name) -> String {
    format!("vol-{name}")
}

/// Where the volume of that resource is: its storage, and its name there.
pub fn locate(scope: &Scope<'_>, name: &Name) -> Result<(Name, String), Fault> {
    let spec = scope.spec(KindName::Volume, name).and_then(AsKind::<VolumeKind>::as_kind);
    let spec = spec.ok_or_else(|| {
        Fault::new(FaultKind::NotFound, format!("volume/{name} is in no manifest"))
            .help("add a Volume manifest of that name, or give its file on the command line")
    })?;
    Ok((spec.storage.clone(), on_storage(name)))
}

/// The formats that a storage of that driver has for this content, the preferred first.
pub fn formats(driver: &str, content: Content) -> Vec<Format> {
    drivers::find(driver).map_or(Vec::new(), |d| (d.abilities().formats)(content).to_vec())
}

/// The format of a volume whose manifest says none.
fn format(spec: &VolumeSpec, scope: &Scope<'_>) -> Option<Format> {
    let preferred = || {
        let storage = scope.spec(KindName::Storage, &spec.storage).and_then(AsKind::<StorageKind>::as_kind)?;
        formats(&storage.driver, spec.content()).first().copied()
    };
    spec.format.or_else(preferred)
}

/// The spec in canonical form; the image is not part of it, since it is read only once.
fn canonical(spec: &VolumeSpec, scope: &Scope<'_>) -> Value {
    let mut want = json!({"storage": spec.storage, "size": spec.size, "content": spec.content()});
    if let (Some(format), Some(want)) = (format(spec, scope), want.as_object_mut()) {
        want.insert("format".into(), json!(format));
    }
    want
}

#[async_trait]
impl Kind for VolumeKind {
    type Spec = VolumeSpec;
    type Live = VolumeLive;

    fn check(_name: &Name, spec: &VolumeSpec, scope: &Scope<'_>, report: &mut Report<'_>) {
        check::check(spec, scope, report);
    }

    fn references(spec: &VolumeSpec) -> Vec<Reference> {
        let storage = Reference::required(KindName::Storage, &spec.storage, "storage");
        let image = spec.image.as_ref().map(|image| Reference::required(KindName::Image, image, "image"));
        std::iter::once(storage).chain(image).collect()
    }

    fn want(_name: &Name, spec: &VolumeSpec, scope: &Scope<'_>) -> Value {
        canonical(spec, scope)
    }

    fn have(live: &VolumeLive) -> Have {
        let VolumeLive { storage, size, format, content, .. } = live;
        Have {
            configured: json!({"storage": storage, "size": size, "content": content, "format": format}),
            mark: live.mark.clone(),
            must_be_marked: true,
            ..Have::default()
        }
    }

    fn extra(_spec: &VolumeSpec, live: &VolumeLive, _scope: &Scope<'_>) -> Vec<FieldChange> {
        let back = FieldChange {
            path: "state".into(),
            have: "orphan".into(),
            want: "managed".into(),
            disruption: Disruption::None,
            cause: Cause::Change,
            pending: false,
        };
        if live.orphan() { vec![back] } else { Vec::new() }
    }

    fn cost(change: &FieldChange, _live: &VolumeLive) -> Disruption {
        // Whether a guest runs that uses it is not known here; growing disturbs none.
        change.disruption
    }

    fn refuse(changes: &[FieldChange], live: &VolumeLive) -> Option<Fault> {
        changes.iter().find_map(|change| refused(change, live))
    }

    fn spec_of(live: &VolumeLive) -> Option<VolumeSpec> {
        let VolumeLive { storage, size, format, content, .. } = live.clone();
        Some(VolumeSpec { storage, size, format: Some(format), content: Some(content), image: None })
    }

    fn columns(live: Option<&VolumeLive>) -> Vec<(&'static str, String, bool)> {
        let text = |f: &dyn Fn(&VolumeLive) -> Option<String>| live.and_then(f).unwrap_or_default();
        let state = |l: &VolumeLive| match (&l.mark, l.orphan()) {
            (None, _) => "foreign",
            (Some(_), true) => "orphan",
            (Some(_), false) => "managed",
        };
        vec![
            ("STORAGE", text(&|l| Some(l.storage.to_string())), false),
            ("SIZE", text(&|l| Some(l.size.to_string())), false),
            ("ALLOCATED", text(&|l| l.allocated.map(|a| rough(a.bytes()))), false),
            ("FORMAT", text(&|l| Some(l.format.to_string())), false),
            ("OWNERSHIP", text(&|l| Some(state(l).into())), false),
            ("VOLUME", text(&|l| Some(l.volume.clone())), true),
        ]
    }

    async fn observe(world: &World, scope: &Scope<'_>) -> Result<BTreeMap<Name, Observed<VolumeLive>>, Fault> {
        observe::observe(world, scope).await
    }

    async fn create(task: &Task<'_>, spec: &VolumeSpec) -> Result<(), Fault> {
        act::create(task, spec).await
    }

    async fn update(
        task: &Task<'_>,
        spec: &VolumeSpec,
        live: &VolumeLive,
        changes: &[FieldChange],
    ) -> Result<(), Fault> {
        match Self::refuse(changes, live) {
            Some(fault) => Err(fault),
            None => act::update(task, spec, live).await,
        }
    }

    async fn delete(task: &Task<'_>, live: &VolumeLive) -> Result<(), Fault> {
        act::delete(task, live).await
    }

    async fn undo(task: &Task<'_>, _spec: Option<&VolumeSpec>, effect: &str, detail: &Value) -> Result<(), Fault> {
        act::undo(task, effect, detail).await
    }

    async fn adopt(task: &Task<'_>, spec: &VolumeSpec, live: &VolumeLive) -> Result<(), Fault> {
        act::adopt(task, spec, live).await
    }
}

/// Why this change must not be made.
fn refused(change: &FieldChange, live: &VolumeLive) -> Option<Fault> {
    let size = |value: &Value| value.as_str().and_then(|text| text.parse::<Size>().ok());
    let say = |what: String, help: &str| Some(Fault::new(FaultKind::Invalid, what).help(help));
    match change.path.as_str() {
        "size" if size(&change.want)? < live.size => say(
            format!("the volume has {} and cannot shrink to {}", live.size, size(&change.want)?),
            "leave the size, or make a second volume and copy what is on it",
        ),
        path @ ("storage" | "format" | "content") => {
            let word = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
            say(
                format!("the {path} of a volume cannot change from {} to {}", word(&change.have), word(&change.want)),
                "make a second volume and copy what is on it",
            )
        }
        _ => None,
    }
}
