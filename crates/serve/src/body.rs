//! Extraction of JSON bodies, with problem documents as errors.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use prl_engine::{FromJson, Json};

use crate::problem::{Problem, ProblemKind};

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: FromJson, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                ProblemKind::NotJson,
                "send the header Content-Type: application/json",
            ));
        }
        let bytes = match Bytes::from_request(request, state).await {
            Ok(bytes) => bytes,
            Err(rejection) => return Err(unreadable(&rejection)),
        };
        match serde_json::from_slice::<Json>(&bytes) {
            Ok(json) => Ok(Body(T::from_json(json)?)),
            Err(error) => Err(Problem::new(ProblemKind::Malformed, error.to_string())),
        }
    }
}

/// Whether the content type is `application/json`, parameters apart.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(header::CONTENT_TYPE).map(|v| v.to_str()) else {
        return false;
    };
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn unreadable(rejection: &BytesRejection) -> Problem {
    let kind = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        ProblemKind::TooLarge
    } else {
        ProblemKind::Malformed
    };
    Problem::new(kind, rejection.body_text())
}
