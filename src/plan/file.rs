//! A saved plan: the plan, the manifests it was made for, and what it was made from, so that `apply` can do exactly that.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::model::Plan;
use crate::base::{Attempt as _, Fault, FaultKind};
use crate::kinds::{API_VERSION, Catalog, KindName, Places, Ref, Resource};
pub use crate::manifest::SourceFile;

/// A plan in a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanFile {
    api_version: String,
    kind: String,
    /// The plan.
    pub plan: Plan,
    /// What to bring to its manifest, in order.
    pub order: Vec<Ref>,
    /// What to remove.
    pub remove: Vec<Ref>,
    /// The files the manifests came from.
    pub sources: Vec<SourceFile>,
    manifests: Vec<Value>,
}

impl PlanFile {
    /// The file for a plan.
    pub fn new(plan: &Plan, catalog: &Catalog, order: &[Ref], remove: &[Ref], sources: &[SourceFile]) -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind: "Plan".into(),
            plan: plan.clone(),
            order: order.to_vec(),
            remove: remove.to_vec(),
            sources: sources.to_vec(),
            manifests: catalog.iter().map(|r| r.document()).collect(),
        }
    }

    /// Whether `text` looks like a saved plan.
    pub fn looks_like(text: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Head {
            kind: String,
        }
        text.first() == Some(&b'{') && serde_json::from_slice::<Head>(text).is_ok_and(|h| h.kind == "Plan")
    }

    /// Writes the file whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Fault> {
        let doing = || format!("the plan cannot be saved to {}", path.display());
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory).attempt(doing)?;
        serde_json::to_writer_pretty(&mut file, self).map_err(|e| Fault::other(e.to_string())).attempt(doing)?;
        file.as_file().sync_all().attempt(doing)?;
        file.persist(path).map_err(|e| Fault::from(e.error)).attempt(doing)?;
        Ok(())
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let doing = || format!("the saved plan {} cannot be read", path.display());
        let bytes = std::fs::read(path).attempt(doing)?;
        let file: Self = serde_json::from_slice(&bytes).map_err(|e| Fault::other(e.to_string())).attempt(doing)?;
        if file.api_version != API_VERSION {
            return Err(Fault::other(format!("it has the apiVersion {:?}", file.api_version)).context(doing()));
        }
        Ok(file)
    }

    /// The manifests the plan was made for.
    pub fn catalog(&self) -> Result<Catalog, Fault> {
        let mut catalog = Catalog::default();
        for document in &self.manifests {
            catalog.insert(Arc::new(resource(document)?));
        }
        Ok(catalog)
    }

    /// Refuses when a source file is no longer what the plan was made from.
    pub fn check_sources(&self) -> Result<(), Fault> {
        let moved: Vec<&str> = self.sources.iter().filter(|s| changed(s)).map(|s| &*s.path).collect();
        if moved.is_empty() {
            return Ok(());
        }
        Err(Fault::new(
            FaultKind::Identity,
            format!("the plan is stale: {} changed since it was made", moved.join(", ")),
        )
        .help("make the plan again with `reeve plan … --out FILE`"))
    }
}

/// A source that cannot be found here does not count: a plan may be carried to another machine.
fn changed(source: &SourceFile) -> bool {
    match std::fs::read(&*source.path) {
        Ok(bytes) => sha256(&bytes) != source.sha256,
        Err(_) => false,
    }
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads a manifest that Reeve itself wrote as a document.
pub fn resource(document: &Value) -> Result<Resource, Fault> {
    let bad = |why: String| Fault::other(format!("a manifest that was saved cannot be read: {why}"));
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = KindName::find(&text("kind")).ok_or_else(|| bad(format!("unknown kind {:?}", text("kind"))))?;
    let part = |name: &str| document.get(name).cloned().unwrap_or_default();
    let spec = kind.spec(part("spec")).map_err(|e| bad(e.to_string()))?;
    let meta = serde_json::from_value(part("metadata")).map_err(|e| bad(e.to_string()))?;
    Ok(Resource { meta, spec, places: Places::default() })
}
