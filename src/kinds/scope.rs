//! What a kind may look up about the other manifests while it checks, compares or acts.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{KindName, Live, Ref, Resource, Spec};
use crate::base::{Name, Place};

/// All manifests in force: those given, over those accepted earlier.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    resources: BTreeMap<Ref, Arc<Resource>>,
    views: Views,
}

/// What was worked out from a catalog, by type; forgotten when the catalog changes.
#[derive(Default)]
struct Views(Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Views {
    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Views {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for Views {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Views")
    }
}

impl Catalog {
    /// Adds or replaces one; gives back what it replaced.
    pub fn insert(&mut self, resource: Arc<Resource>) -> Option<Arc<Resource>> {
        self.views = Views::default();
        self.resources.insert(resource.reference(), resource)
    }

    /// Takes one out.
    pub fn remove(&mut self, reference: &Ref) -> Option<Arc<Resource>> {
        self.views = Views::default();
        self.resources.remove(reference)
    }

    /// The resource of that kind and name.
    pub fn get(&self, reference: &Ref) -> Option<&Arc<Resource>> {
        self.resources.get(reference)
    }

    /// All of them, ordered by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// All of one kind, ordered by name.
    pub fn of(&self, kind: KindName) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values().filter(move |r| r.kind() == kind)
    }

    /// A view over all resources, such as an index, worked out once by `make` and kept while nothing changes.
    pub fn view<T: Send + Sync + 'static>(&self, make: impl FnOnce(&Self) -> T) -> Arc<T> {
        if let Some(view) = self.views.open().get(&TypeId::of::<T>()).cloned().and_then(|v| v.downcast::<T>().ok()) {
            return view;
        }
        let view = Arc::new(make(self));
        self.views.open().insert(TypeId::of::<T>(), view.clone());
        view
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// Finds what is observed of a resource.
pub type Lookup<'a> = &'a (dyn Fn(&Ref) -> Option<&'a Live> + Send + Sync);

/// A catalog, with what is observed of each resource where that is known.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    catalog: &'a Catalog,
    live: Option<Lookup<'a>>,
}

impl<'a> Scope<'a> {
    /// The manifests alone.
    pub fn of(catalog: &'a Catalog) -> Self {
        Self { catalog, live: None }
    }

    /// The manifests and what is observed.
    pub fn with_live(catalog: &'a Catalog, live: Lookup<'a>) -> Self {
        Self { catalog, live: Some(live) }
    }

    /// The manifests.
    pub fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// The resource of that kind and name.
    pub fn resource(&self, kind: KindName, name: &Name) -> Option<&'a Arc<Resource>> {
        self.catalog.get(&Ref::new(kind, name.clone()))
    }

    /// The spec of the resource of that kind and name.
    pub fn spec(&self, kind: KindName, name: &Name) -> Option<&'a Spec> {
        self.resource(kind, name).map(|r| &r.spec)
    }

    /// What is observed of that resource, when it is present and known.
    pub fn live(&self, kind: KindName, name: &Name) -> Option<&'a Live> {
        self.live.and_then(|live| live(&Ref::new(kind, name.clone())))
    }

    /// Where a field of another resource stands.
    pub fn place(&self, kind: KindName, name: &Name, path: &str) -> Option<Place> {
        self.resource(kind, name).and_then(|r| r.place(path))
    }
}
