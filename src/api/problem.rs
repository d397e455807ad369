//! One place that turns what went wrong into an answer: RFC 9457 problem details, with our diagnostics in them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::take::Json;
use crate::base::{Diagnostic, Diagnostics, Fault, FaultKind};
use crate::store::Error as StoreError;

/// How long a client shall wait before it tries again, in seconds.
const RETRY: &str = "1";

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// error, warning or info.
    pub severity: String,
    /// A stable code, such as `manifest/unknown-field`.
    pub code: String,
    /// What is wrong, with the values.
    pub message: String,
    /// The file; `<request>` for the body of a request.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column in characters, from 1.
    pub column: Option<u32>,
    /// What to do.
    pub help: Option<String>,
}

impl From<&Diagnostic> for Finding {
    fn from(diagnostic: &Diagnostic) -> Self {
        let Diagnostic { severity, code, message, place, help, related: _ } = diagnostic;
        Self {
            severity: format!("{severity:?}").to_lowercase(),
            code: (*code).to_owned(),
            message: message.clone(),
            file: place.as_ref().map(|p| p.file.to_string()),
            line: place.as_ref().map(|p| p.line),
            column: place.as_ref().map(|p| p.column),
            help: help.clone(),
        }
    }
}

/// What went wrong, as RFC 9457 has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Problem {
    /// Which sort of problem it is: `urn:reeve:problem:` and a stable word.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The sort in words.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What was attempted and what was said.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What is wrong with the manifests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Finding>,
}

impl Problem {
    /// A problem of a sort.
    pub fn new(status: StatusCode, word: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:reeve:problem:{word}").into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            help: None,
            diagnostics: Vec::new(),
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The request itself makes no sense.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request makes no sense", detail)
    }

    /// What was named is not there.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "What was named is not there", detail)
    }

    /// Later may work.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Not now; later may work", detail)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let kind = match problem.kind.rsplit(':').next().unwrap_or_default() {
            "not-found" => FaultKind::NotFound,
            "exists" => FaultKind::Exists,
            "stale" => FaultKind::Identity,
            "busy" => FaultKind::Busy,
            "unavailable" => FaultKind::Unavailable,
            "deadline" => FaultKind::Deadline,
            "no-space" => FaultKind::NoSpace,
            "denied" | "forbidden" => FaultKind::Denied,
            "bad-request" => FaultKind::Invalid,
            _ => FaultKind::Other,
        };
        let found = problem.diagnostics.iter().map(|finding| format!("\n  {}: {}", finding.code, finding.message));
        let fault = Self::new(kind, problem.detail + &found.collect::<String>());
        match problem.help {
            Some(help) => fault.help(help),
            None => fault,
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        use FaultKind as K;
        use StatusCode as S;
        let Fault { kind, message, help } = fault;
        let (status, word, title) = match kind {
            K::NotFound => (S::NOT_FOUND, "not-found", "What was named is not there"),
            K::Exists => (S::CONFLICT, "exists", "Something of that name is there already"),
            K::Identity => (S::CONFLICT, "stale", "It is not what the request was made for"),
            K::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Not now; later may work"),
            K::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "The other side does not answer"),
            K::Deadline => (S::GATEWAY_TIMEOUT, "deadline", "The other side took too long"),
            K::NoSpace => (S::INSUFFICIENT_STORAGE, "no-space", "No space is left"),
            K::Denied => (S::BAD_GATEWAY, "denied", "The other side does not allow it"),
            K::Unsupported => (S::NOT_IMPLEMENTED, "unsupported", "The other side cannot do this"),
            K::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "The request makes no sense to the other side"),
            K::Cancelled => (S::CONFLICT, "cancelled", "A person asked to stop"),
            K::Other => (S::INTERNAL_SERVER_ERROR, "failed", "Something outside failed"),
        };
        Self { help, ..Self::new(status, word, title, message) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Compacted { .. } | StoreError::Future { .. } => {
                Self::new(StatusCode::GONE, "gone", "What was to be followed is no longer kept", error.to_string())
                    .help("list again, and follow after the revision of the list")
            }
            _ => Fault::from(error).into(),
        }
    }
}

impl From<&Diagnostics> for Problem {
    fn from(found: &Diagnostics) -> Self {
        let errors = found.0.iter().filter(|d| d.is_error()).count();
        let detail = format!("the manifests have {errors} {}", if errors == 1 { "error" } else { "errors" });
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "The manifests are not valid");
        let diagnostics = found.0.iter().map(Finding::from).collect();
        Self { diagnostics, ..Self::new(status, "manifests", title, detail) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = (status, Json(self)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY));
        }
        answer
    }
}
