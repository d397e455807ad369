//! Plans and applies.

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::peer::Peer;
use super::problem::Problem;
use super::run::{Goals, Prepared, Work, start};
use super::take::Json;
use super::tasks::Job;
use super::types::{ApplyRequest, PlanAnswer, Wish};
use crate::plan::file::PlanFile;

/// `POST /v1/plan`: what would be done; changes nothing.
pub async fn plan(State(api): State<Api>, Json(wish): Json<Wish>) -> Result<Json<PlanAnswer>, Problem> {
    let mut goals = Goals::of(api.node(), wish).await?;
    let warnings = std::mem::take(&mut goals.warnings);
    let prepared = Prepared::of(api.node(), goals).await?;
    Ok(Json(PlanAnswer { plan: json!(prepared.plan), saved: json!(prepared.saved()), warnings }))
}

/// `POST /v1/apply`: accepts and does it, as a task.
pub async fn apply(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<ApplyRequest>,
) -> Result<Response, Problem> {
    let work = match (request.saved, request.wish) {
        (Some(_), Some(_)) => return Err(Problem::bad("`saved` stands alone: leave out `wish`")),
        (None, None) => return Err(Problem::bad("either `saved` or `wish` is needed")),
        (None, Some(wish)) => {
            // What is wrong with it is told at once.
            Goals::of(api.node(), wish.clone()).await?;
            Work::Wish(wish)
        }
        (Some(saved), None) => {
            let file: PlanFile = serde_path_to_error::deserialize(saved)
                .map_err(|e| Problem::bad(format!("`saved` is no saved plan: {e}")))?;
            file.catalog()?;
            Work::Saved(Box::new(file), request.sources)
        }
    };
    Ok(started(&*start(&api, work, "apply", &peer.name)?))
}

/// The answer to what became a task.
pub fn started(job: &Job) -> Response {
    let task = job.now();
    let place = [(header::LOCATION, format!("/v1/tasks/{}", task.id))];
    (StatusCode::ACCEPTED, place, Json(task)).into_response()
}
