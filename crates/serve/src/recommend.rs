//! Requests that bring their session along.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use prl_engine::{PendingResponse, RecommendResponse};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body::Body;
use crate::problem::Problem;
use crate::request::RequestBody;

/// Requests of a batch.
pub const MAX_QUESTIONS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    questions: Vec<RequestBody>,
}

#[derive(Serialize)]
pub(crate) struct BatchResponse {
    answers: Vec<RecommendResponse>,
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Body(asked): Body<RequestBody>,
) -> Result<Json<RecommendResponse>, Problem> {
    let engine = app.engine()?;
    let question = asked.question(engine.live().ask())?;
    Ok(Json(engine.submit(&question)?.answer().await?))
}

/// All or nothing: one question that cannot be answered fails the batch.
pub(crate) async fn batch(
    State(app): State<Arc<App>>,
    Body(body): Body<BatchRequest>,
) -> Result<Json<BatchResponse>, Problem> {
    let (engine, n) = (app.engine()?, body.questions.len());
    if n > MAX_QUESTIONS {
        return Err(Problem::invalid(format!(
            "{n} questions, {MAX_QUESTIONS} are the most"
        )));
    }
    let default = engine.live().ask();
    let mut questions = Vec::with_capacity(n);
    for (i, asked) in body.questions.into_iter().enumerate() {
        let located = |p: Problem| Problem {
            detail: format!("questions[{i}]: {}", p.detail),
            ..p
        };
        questions.push(asked.question(default).map_err(located)?);
    }
    let pending = questions
        .iter()
        .map(|q| engine.submit(q))
        .collect::<Result<Vec<PendingResponse>, _>>()?;
    let mut answers = Vec::with_capacity(n);
    for pending in pending {
        answers.push(pending.answer().await?);
    }
    Ok(Json(BatchResponse { answers }))
}
