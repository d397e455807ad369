//! How the node is, its numbers, and what the API is; none of it asks a driver.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::problem::Problem;
use super::take::Json;
use super::types::Health;
use super::{Api, openapi};

/// `GET /v1/health`: 200 when it is ready, 503 when it is not; the same body either way.
pub async fn health(State(api): State<Api>) -> Response {
    let node = api.node();
    let mut condition = node.condition();
    if api.closing() {
        condition.ready = false;
        condition.wrong.push("it ends".into());
    }
    let body = Health {
        live: true,
        ready: condition.ready,
        wrong: condition.wrong,
        node: node.world().node.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let status = if body.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// `GET /metrics`: for Prometheus.
pub async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = api.metrics().text(&api, api.node().measures().await);
    let text = text.map_err(|e| crate::base::Fault::other(format!("the metrics cannot be written: {e}")))?;
    Ok(([(header::CONTENT_TYPE, super::metrics::TYPE)], text).into_response())
}

/// `GET /v1/openapi.json`.
pub async fn document() -> Json<Value> {
    Json(openapi::document())
}
