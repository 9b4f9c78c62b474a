//! Recommendations for sessions that are sent with the request.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use prl_engine::{FromJson, InvalidRequest, Json as JsonValue, JsonFields, RequestFields};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Body;
use crate::candidate;
use crate::experiment::{LoggedAnswer, is_candidates};
use crate::openapi::{BodyProblems, GuardProblems};
use crate::problem::Problem;
use crate::response::ResponseBody;

/// Maximum number of requests in a batch.
pub const MAX_BATCH: usize = 100;

/// A batch of recommendation requests.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    /// The requests.
    #[schema(max_items = 100)]
    questions: Vec<RequestFields>,
}

impl FromJson for BatchRequest {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["questions"])?;
        let questions = fields.take_list("questions", "requests")?;
        let missing = || InvalidRequest::new("questions is missing; [] is an empty batch");
        Ok(Self {
            questions: questions.ok_or_else(missing)?,
        })
    }
}

/// Responses to a batch of requests.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResponse {
    /// One response for each request, in the same order.
    answers: Vec<ResponseBody>,
}

/// Next items for a session
#[utoipa::path(
    post,
    path = "/v1/recommend",
    request_body = RequestFields,
    responses(
        (status = 200, description = "The best items", body = ResponseBody),
        BodyProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn recommend(
    State(app): State<Arc<App>>,
    Body(mut body): Body<RequestFields>,
) -> Result<Json<ResponseBody>, Problem> {
    let session = body.session.clone();
    let name = session.as_ref().map(|id| id.0.as_str());
    let assigned = app.experiment.assign(name, &mut body);
    let is_candidates = is_candidates(assigned.as_ref());
    let default = app.engine_of(is_candidates)?.model().default_prompt();
    let request = body.resolve(default)?;
    let response = candidate::answer(&app, is_candidates, &request).await?;
    let answer = LoggedAnswer::new(assigned, &request, response);
    app.experiment.log_answers(&app.metrics, [&answer])?;
    Ok(Json(ResponseBody::new(session, answer)))
}

/// Next items for up to 100 sessions; one invalid request fails the batch
#[utoipa::path(
    post,
    path = "/v1/recommend/batch",
    request_body = BatchRequest,
    responses(
        (status = 200, description = "A response for each request", body = BatchResponse),
        BodyProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn recommend_batch(
    State(app): State<Arc<App>>,
    Body(batch): Body<BatchRequest>,
) -> Result<Json<BatchResponse>, Problem> {
    let n = batch.questions.len();
    if n > MAX_BATCH {
        return Err(Problem::invalid(format!(
            "questions holds {n} requests; at most {MAX_BATCH} are allowed"
        )));
    }
    // All requests are validated before the first one is queued: a batch fails as a whole.
    let mut requests = Vec::with_capacity(n);
    for (i, mut body) in batch.questions.into_iter().enumerate() {
        let session = body.session.clone();
        let name = session.as_ref().map(|id| id.0.as_str());
        let assigned = app.experiment.assign(name, &mut body);
        let engine = app.engine_of(is_candidates(assigned.as_ref()))?;
        match body.resolve(engine.model().default_prompt()) {
            Ok(request) => requests.push((session, assigned, request)),
            Err(error) => return Err(error.within(&format!("questions[{i}]")).into()),
        }
    }
    let mut pending = Vec::with_capacity(n);
    for (session, assigned, request) in requests {
        let start = Instant::now();
        let engine = app.engine_of(is_candidates(assigned.as_ref()))?;
        let response = engine.submit(&request)?;
        pending.push((session, assigned, request, response, start));
    }
    let (mut sessions, mut logged) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for (session, assigned, request, response, start) in pending {
        let response = response.response().await?;
        if !is_candidates(assigned.as_ref()) {
            candidate::compare_later(&app, &request, &response, start.elapsed());
        }
        sessions.push(session);
        logged.push(LoggedAnswer::new(assigned, &request, response));
    }
    app.experiment.log_answers(&app.metrics, &logged)?;
    let mut answers = Vec::with_capacity(n);
    for (session, answer) in sessions.into_iter().zip(logged) {
        answers.push(ResponseBody::new(session, answer));
    }
    Ok(Json(BatchResponse { answers }))
}
