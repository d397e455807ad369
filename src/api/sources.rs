//! The agent's sources: what became of each, fetched and read when somebody asks, suspended and resumed.

use axum::Extension;
use axum::extract::State;

use super::Api;
use super::peer::Peer;
use super::problem::Problem;
use super::take::Json;
use super::types::{SourceName, SyncAnswer, SyncedSource};

/// `GET /v1/sources`: what became of each when it was read last.
pub async fn list(State(api): State<Api>) -> Json<SyncAnswer> {
    Json(SyncAnswer { sources: api.node().sources().await })
}

/// `POST /v1/sync`: answers when every source was read, or could not be.
pub async fn sync(State(api): State<Api>) -> Json<SyncAnswer> {
    Json(SyncAnswer { sources: api.node().sync().await })
}

/// `POST /v1/sources/suspend`: answers when nothing new is taken from it any more.
pub async fn suspend(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Json(SourceName { source }): Json<SourceName>,
) -> Result<Json<SyncedSource>, Problem> {
    Ok(Json(api.node().suspend(&source, true, &peer.name).await?))
}

/// `POST /v1/sources/resume`: answers when it was read again.
pub async fn resume(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Json(SourceName { source }): Json<SourceName>,
) -> Result<Json<SyncedSource>, Problem> {
    Ok(Json(api.node().suspend(&source, false, &peer.name).await?))
}
