//! Events: what was kept as a list, and what happens from now on as a stream that can be taken up again.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::problem::Problem;
use super::take::{Json, Params};
use super::types::EventList;
use crate::kinds::Ref;
use crate::store::{Changes, Error, Event as Change, keys};

/// How often a silent stream says that it lives.
const BEAT: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only of this resource.
    resource: Option<String>,
    /// At most so many, the newest; of a list only.
    limit: Option<usize>,
    /// Those after this revision; of a stream only. The header `Last-Event-ID` goes before it.
    after: Option<u64>,
}

/// `GET /v1/events`: a list, or a stream for who accepts `text/event-stream`.
pub async fn events(
    State(api): State<Api>,
    Params(which): Params<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let only = which.resource.as_deref().map(str::parse::<Ref>).transpose();
    let only = only.map_err(|e| Problem::bad(e.to_string()))?.map(|r| r.to_string());
    let accepts = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        return follow(&api, only, after(&headers, which.after)?).await;
    }
    let listing = api.node().ledger().store().list(&keys::events()).await?;
    let read = |entry: &crate::store::Entry| serde_json::from_slice::<Value>(&entry.value).ok();
    let mut events: Vec<Value> =
        listing.entries.iter().filter_map(read).filter(|event| concerns(event, only.as_deref())).collect();
    if let Some(limit) = which.limit {
        events.drain(..events.len().saturating_sub(limit));
    }
    Ok(Json(EventList { events, revision: listing.revision }).into_response())
}

fn after(headers: &HeaderMap, asked: Option<u64>) -> Result<Option<u64>, Problem> {
    let Some(last) = headers.get("last-event-id") else { return Ok(asked) };
    let revision = last.to_str().ok().and_then(|text| text.trim().parse().ok());
    revision.map(Some).ok_or_else(|| Problem::bad(format!("Last-Event-ID {last:?} is no revision")))
}

fn concerns(event: &Value, only: Option<&str>) -> bool {
    only.is_none_or(|name| event.get("resource").and_then(Value::as_str) == Some(name))
}

/// The stream after a revision, or from now on.
async fn follow(api: &Api, only: Option<String>, after: Option<u64>) -> Result<Response, Problem> {
    let store = api.node().ledger().store();
    let after = match after {
        Some(after) => after,
        None => store.list(&keys::events()).await?.revision,
    };
    let changes = store.watch(&keys::events(), after).await?;
    let told = changes.flat_map(move |changes| stream::iter(tell(changes, only.as_deref())));
    Ok(Sse::new(told.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(BEAT)).into_response())
}

/// What one commit says; only its last event carries the revision, so that who resumes misses none of them.
fn tell(changes: Result<Changes, Error>, only: Option<&str>) -> Vec<Event> {
    let changes = match changes {
        Ok(changes) => changes,
        Err(error) => {
            let problem = Problem::from(error);
            return vec![Event::default().event("problem").data(serde_json::json!(problem).to_string())];
        }
    };
    let put = |change: &Change| match change {
        Change::Put(entry) => serde_json::from_slice::<Value>(&entry.value).ok(),
        Change::Delete { .. } => None,
    };
    let mut told: Vec<Event> = changes
        .events
        .iter()
        .filter_map(put)
        .filter(|event| concerns(event, only))
        .map(|event| Event::default().event("event").data(event.to_string()))
        .collect();
    if let Some(last) = told.pop() {
        told.push(last.id(changes.revision.to_string()));
    }
    told
}
