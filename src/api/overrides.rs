//! Overrides: fields that shall for a while be other than their manifests say.

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::peer::Peer;
use super::problem::Problem;
use super::take::{Json, Named, Params};
use super::types::{Cleared, OverrideItem, OverrideList, OverrideWish};
use crate::engine::observe::observe_kinds;
use crate::engine::overrides::Wish;
use crate::engine::records::AcceptedSet;
use crate::kinds::Ref;
use crate::plan::overrides::Override;

/// Which to take back.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Fields, parted by commas; all when left out.
    field: Option<String>,
}

/// `GET /v1/overrides`.
pub async fn list(State(api): State<Api>) -> Result<Json<OverrideList>, Problem> {
    Ok(Json(OverrideList { overrides: OverrideItem::all(&api.node().ledger().accepted().await?) }))
}

/// `PUT /v1/overrides/{kind}/{name}`.
pub async fn set(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Named(resource): Named,
    Json(wish): Json<OverrideWish>,
) -> Result<Json<OverrideItem>, Problem> {
    let _accepting = api.0.accepting.lock().await;
    let (node, ledger) = (api.node(), api.node().ledger());
    let accepted = ledger.accepted().await?;
    let live = observe_kinds(node.world(), &accepted.catalog, &[resource.kind]).await;
    let OverrideWish { field, value, ttl_seconds, reason } = wish;
    let ttl = std::time::Duration::from_secs(ttl_seconds);
    let wish = Wish { resource: resource.clone(), field, value, ttl, reason };
    let done = ledger.set_override(&wish, &live, &peer.name).await?;
    node.changed(std::slice::from_ref(&resource));
    Ok(Json(OverrideItem::of(&resource, &done.field, &done.set, done.manifest)))
}

/// `DELETE /v1/overrides/{kind}/{name}`.
pub async fn clear(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Named(resource): Named,
    Params(which): Params<Which>,
) -> Result<Json<Cleared>, Problem> {
    let fields: Vec<String> =
        which.field.iter().flat_map(|f| f.split(',')).filter(|f| !f.is_empty()).map(str::to_owned).collect();
    let fields = api.node().ledger().clear_overrides(&resource, &fields, &peer.name).await?;
    api.node().changed(std::slice::from_ref(&resource));
    Ok(Json(Cleared { fields }))
}

impl OverrideItem {
    /// One, and what the manifest says there.
    pub fn of(resource: &Ref, field: &str, one: &Override, manifest: serde_json::Value) -> Self {
        let Override { value, since, until, who, reason } = one.clone();
        let (resource, field) = (resource.clone(), field.to_owned());
        Self { resource, field, value, manifest, since, until, who, reason }
    }

    /// All that are in force.
    pub fn all(accepted: &AcceptedSet) -> Vec<Self> {
        let each = accepted.facts.iter().flat_map(|(resource, facts)| {
            let manifest = accepted.catalog.get(resource).map(|r| r.spec.to_value()).unwrap_or_default();
            facts.overrides.iter().map(move |(field, one)| {
                let says = field.split('.').try_fold(&manifest, |value, key| value.get(key));
                Self::of(resource, field, one, says.cloned().unwrap_or_default())
            })
        });
        each.collect()
    }
}
