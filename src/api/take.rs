//! What routes take from a request, and JSON as they give it back; what is wrong with it becomes a problem, never a bare text.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::kinds::Ref;

/// The largest body, in bytes: the largest file of manifests.
pub const MOST_BYTES: usize = 16 << 20;

/// How long a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// A body of text in UTF-8.
pub struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > MOST_BYTES as u64) {
            return Err(too_large());
        }
        let late = |_| {
            let detail = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "slow", "The client is too slow", detail)
        };
        let read = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await.map_err(late)?;
        let bytes = read.map_err(|rejection| {
            let why = rejection.body_text();
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => too_large(),
                _ => Problem::bad(format!("the body cannot be read: {why}")),
            }
        })?;
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|e| Problem::bad(format!("the body is not UTF-8: {}", e.utf8_error())))
    }
}

fn too_large() -> Problem {
    let detail = format!("the body is larger than {MOST_BYTES} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail)
}

/// A body of JSON, taken or given.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Text(text) = Text::from_request(request, state).await?;
        // An array would do for a type whose fields may all be left out.
        if !text.trim_start().starts_with('{') {
            return Err(Problem::bad("the body is not the JSON this route takes: it is no object"));
        }
        let mut reader = serde_json::Deserializer::from_str(&text);
        let value = serde_path_to_error::deserialize(&mut reader)
            .map_err(|e| Problem::bad(format!("the body is not the JSON this route takes: {e}")))?;
        reader.end().map_err(|e| Problem::bad(format!("the body goes on after its JSON: {e}")))?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            // A type of ours that cannot be written is a mistake of ours; there is no body to say more with.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// The parameters of the query.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(value)| Self(value)).map_err(|e| Problem::bad(e.body_text()))
    }
}

/// The resource that the path names.
pub struct Named(pub Ref);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((kind, name)) = read.map_err(|e| Problem::bad(e.body_text()))?;
        let reference = format!("{kind}/{name}").parse();
        reference.map(Self).map_err(|e: crate::kinds::RefError| Problem::missing(e.to_string()))
    }
}
