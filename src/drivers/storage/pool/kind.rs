//! A storage type on a volume manager: what of it is its own, and the rest, which is the same for all of them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Pool, Pooled, bad_device};
use crate::base::secret::Secrets;
use crate::base::{Fault, FaultKind, Name};
use crate::drivers::storage::{Abilities, Format, OptionProblem, Storage, StorageType, canonical, options};
use crate::kinds::Shape;
use crate::kinds::storage::{Content, StorageSpec};

/// What a storage type on a volume manager has of its own.
pub trait PoolType: Sync {
    /// Its options.
    type Options: DeserializeOwned + Serialize + JsonSchema;
    /// What it opens.
    type Pool: Pool + 'static;
    /// The name in manifests.
    const NAME: &'static str;
    /// What it can do.
    const ABILITIES: &'static Abilities;

    /// The shape of its options, made once.
    fn shape(&self) -> &'static Shape;
    /// What the schema cannot say about the options.
    fn problems(options: &Self::Options) -> Vec<OptionProblem>;
    /// The place, read from options as they are written, which may be wrong elsewhere.
    fn place(spec: &StorageSpec) -> Option<String>;
    /// The storage whose disks it is made of.
    fn base(_options: &Self::Options) -> Option<Name> {
        None
    }
    /// The pool that the options name.
    fn pool(options: Self::Options) -> Self::Pool;
}

impl<T: PoolType> StorageType for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn abilities(&self) -> &'static Abilities {
        T::ABILITIES
    }

    fn shape(&self) -> &'static Shape {
        PoolType::shape(self)
    }

    fn schema(&self) -> Value {
        schemars::SchemaGenerator::default().into_root_schema_for::<T::Options>().to_value()
    }

    fn canonical(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        canonical::<T::Options>(given)
    }

    fn check(&self, spec: &StorageSpec) -> Vec<OptionProblem> {
        options(&spec.options).map_or(Vec::new(), |given| T::problems(&given))
    }

    fn place(&self, spec: &StorageSpec) -> Option<String> {
        T::place(spec)
    }

    fn base(&self, spec: &StorageSpec) -> Option<Name> {
        options(&spec.options).ok().and_then(|given| T::base(&given))
    }

    fn granule(&self, spec: &StorageSpec) -> u64 {
        options(&spec.options).map_or(512, |given| T::pool(given).granule())
    }

    fn open(&self, name: &Name, spec: &StorageSpec, _secrets: &Secrets) -> Result<Arc<dyn Storage>, Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, format!("cannot open storage/{name}: {why}"));
        let given: T::Options = options(&spec.options).map_err(invalid)?;
        if let Some(problem) = T::problems(&given).into_iter().next() {
            return Err(invalid(problem.message).help(problem.help));
        }
        let place = T::place(spec).ok_or_else(|| invalid("its options name no place".into()))?;
        Ok(Arc::new(Pooled::new(name, &place, spec.content.clone(), T::pool(given))))
    }
}

/// The formats of a type that has nothing but block devices.
pub fn devices_only(content: Content) -> &'static [Format] {
    match content {
        Content::Images | Content::Rootdir => &[Format::Raw],
        Content::Iso | Content::Template | Content::Backup | Content::Snippets => &[],
    }
}

/// What is wrong with the devices of a manifest.
pub fn bad_devices(devices: &[String]) -> impl Iterator<Item = OptionProblem> {
    devices.iter().filter_map(|device| bad_device(device)).map(|message| OptionProblem {
        option: "devices",
        message,
        help: "write a path that stays the same, such as /dev/disk/by-id/…".to_owned(),
    })
}
