//! What commands read to say the same as they do without an agent: the store's records, and a look at the node.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use super::Api;
use super::problem::Problem;
use super::take::{Json, Params};
use super::types::{KeptRecord, Look, RecordList};
use crate::engine::observe::observe;
use crate::kinds::Catalog;
use crate::plan::file::resource;
use crate::plan::live::LiveState;
use crate::store::Entry;

/// Which records.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Their keys begin so.
    #[serde(default)]
    prefix: String,
}

/// `GET /v1/records`.
pub async fn records(State(api): State<Api>, Params(which): Params<Which>) -> Result<Json<RecordList>, Problem> {
    let listing = api.node().ledger().store().list(&which.prefix).await?;
    let record = |Entry { key, value, created, modified, version }: &Entry| KeptRecord {
        key: key.to_string(),
        value: String::from_utf8_lossy(value).into_owned(),
        created: *created,
        modified: *modified,
        version: *version,
    };
    let entries = listing.entries.iter().map(record).collect();
    Ok(Json(RecordList { entries, revision: listing.revision }))
}

/// `POST /v1/live`: changes nothing.
pub async fn live(State(api): State<Api>, Json(look): Json<Look>) -> Result<Json<LiveState>, Problem> {
    let mut catalog = Catalog::default();
    for document in &look.manifests {
        let read = resource(document).map_err(|fault| Problem::bad(fault.message))?;
        catalog.insert(Arc::new(read));
    }
    Ok(Json(observe(api.node().world(), &catalog).await))
}
