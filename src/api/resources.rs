//! Resources: what is declared and what is there, and manifests that are accepted or deleted.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::peer::Peer;
use super::plans::started;
use super::problem::Problem;
use super::run::{Work, read, start};
use super::take::{Json, Named, Params, Text};
use super::types::{Accepted, ResourceList, Wish};
use crate::engine::picture::Labels;
use crate::engine::records::Acceptance;
use crate::kinds::{KindName, Ref};
use crate::plan::live::Known;

/// What to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Kinds, parted by commas.
    kind: Option<String>,
    /// Labels, `key=value` or `key`, parted by commas; all must be there.
    label: Option<String>,
}

/// How to accept.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manner {
    /// Only check.
    #[serde(default)]
    dry_run: bool,
}

/// How to delete.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Removal {
    /// Whether the data goes too.
    #[serde(default)]
    destroy_data: bool,
}

/// `GET /v1/resources`.
pub async fn list(State(api): State<Api>, Params(filter): Params<Filter>) -> Result<Json<ResourceList>, Problem> {
    let kinds = kinds(filter.kind.as_deref())?;
    let labels = Labels::parse(filter.label.as_deref());
    let view = api.0.views.look(api.node()).await?;
    let asked = |kind: KindName| kinds.is_empty() || kinds.contains(&kind);
    let items = view.all().into_iter().filter(|r| asked(r.kind) && labels.fit(r, &view.accepted));
    let items = items.map(|r| view.item(&r)).collect();
    let unreadable = view.live.unreadable.iter().filter(|(k, _)| asked(**k));
    Ok(Json(ResourceList { items, unreadable: unreadable.map(|(k, why)| (k.to_string(), why.clone())).collect() }))
}

fn kinds(text: Option<&str>) -> Result<Vec<KindName>, Problem> {
    let words = text.into_iter().flat_map(|t| t.split(',')).filter(|w| !w.is_empty());
    let known = |word| {
        KindName::find(word).ok_or_else(|| {
            Problem::bad(format!("{word:?} is no kind")).help(format!("the kinds are {}", KindName::shorts()))
        })
    };
    words.map(known).collect()
}

/// `GET /v1/resources/{kind}/{name}`.
pub async fn one(State(api): State<Api>, Named(reference): Named) -> Result<Json<Value>, Problem> {
    let view = api.0.views.look(api.node()).await?;
    if !view.has(&reference) {
        return Err(absent(&reference));
    }
    Ok(Json(view.item(&reference)))
}

fn absent(reference: &Ref) -> Problem {
    Problem::missing(format!("{reference} is not there")).help("GET /v1/resources lists what there is")
}

/// `POST /v1/resources`: checks manifests and accepts them all, or none.
pub async fn accept(
    State(api): State<Api>,
    Params(manner): Params<Manner>,
    Text(text): Text,
) -> Result<Json<Accepted>, Problem> {
    take_in(&api, &text, manner, |_| Ok(())).await.map(Json)
}

/// `PUT /v1/resources/{kind}/{name}`: the same for exactly one.
pub async fn put(
    State(api): State<Api>,
    Named(reference): Named,
    Params(manner): Params<Manner>,
    Text(text): Text,
) -> Result<Json<Accepted>, Problem> {
    let only = |found: &[Ref]| match found {
        [one] if *one == reference => Ok(()),
        _ => {
            let names: Vec<String> = found.iter().take(5).map(Ref::to_string).collect();
            Err(Problem::bad(format!("the path names {reference}, and the body declares {}", names.join(", "))))
        }
    };
    take_in(&api, &text, manner, only).await.map(Json)
}

async fn take_in(
    api: &Api,
    text: &str,
    manner: Manner,
    fits: impl FnOnce(&[Ref]) -> Result<(), Problem>,
) -> Result<Accepted, Problem> {
    // Between what is read here and what is accepted nobody else may change it.
    let _accepting = api.0.accepting.lock().await;
    let ledger = api.node().ledger();
    let base = ledger.accepted().await?;
    let (desired, warnings) = tokio::task::block_in_place(|| read(text, &base.catalog))?;
    fits(&desired.order)?;
    let resources = desired.order.len();
    if manner.dry_run {
        return Ok(Accepted { accepted: BTreeMap::new(), resources, warnings });
    }
    let wanted: Vec<Acceptance> =
        desired.order.iter().filter_map(|r| desired.catalog.get(r)).map(Acceptance::new).collect();
    let uids = ledger.accept(&wanted).await?;
    api.node().changed(&desired.order);
    let accepted = uids.into_iter().map(|(r, uid)| (r.to_string(), uid.to_string())).collect();
    Ok(Accepted { accepted, resources, warnings })
}

/// `DELETE /v1/resources/{kind}/{name}`: takes it out of what is declared and out of the world, as a task.
pub async fn delete(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Named(reference): Named,
    Params(removal): Params<Removal>,
) -> Result<Response, Problem> {
    let view = api.0.views.look(api.node()).await?;
    if !view.has(&reference) {
        return Err(absent(&reference));
    }
    if let Known::Unknown(why) = view.live.get(&reference) {
        return Err(Problem::busy(format!("{reference} cannot be read: {why}")));
    }
    let wish = Wish { delete: vec![reference], destroy_data: removal.destroy_data, ..Wish::default() };
    Ok(started(&*start(&api, Work::Wish(wish), "delete", &peer.name)?))
}
