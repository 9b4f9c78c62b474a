//! Extraction of JSON bodies, with problem documents as errors.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use prl_engine::{FromJson, Json};

use crate::app::MAX_BODY_BYTES;
use crate::problem::{Problem, ProblemKind};
use crate::web::encoding::{Encoding, gunzip};

/// Time limit of a body where the route has none of its own.
const BODY_TIME: Duration = Duration::from_secs(30);

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
        let encoding = Encoding::of(request.headers())?;
        let read = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state));
        let bytes = match read.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(rejection)) => return Err(unreadable(&rejection)),
            Err(_) => {
                let detail = format!("no complete body within {} s", BODY_TIME.as_secs());
                return Err(Problem::new(ProblemKind::Timeout, detail));
            }
        };
        let bytes = match encoding {
            Encoding::Identity => bytes,
            Encoding::Gzip => gunzip(&bytes, MAX_BODY_BYTES)?.into(),
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
