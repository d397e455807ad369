//! The agent's sources: fetched and read when somebody asks.

use axum::extract::State;

use super::Api;
use super::take::Json;
use super::types::SyncAnswer;

/// `POST /v1/sync`: answers when every source was read, or could not be.
pub async fn sync(State(api): State<Api>) -> Json<SyncAnswer> {
    Json(SyncAnswer { sources: api.node().sync().await })
}
