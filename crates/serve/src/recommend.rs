//! Questions that bring their session along.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use prl_engine::{Answer, Ticket};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::body::Body;
use crate::problem::Problem;
use crate::question::Asked;

/// Questions of a batch.
pub const MOST_QUESTIONS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Questions {
    questions: Vec<Asked>,
}

#[derive(Serialize)]
pub(crate) struct Answers {
    answers: Vec<Answer>,
}

pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Body(asked): Body<Asked>,
) -> Result<Json<Answer>, Problem> {
    let engine = app.engine()?;
    let question = asked.question(engine.live().ask())?;
    Ok(Json(engine.submit(&question)?.answer().await?))
}

/// All or nothing: one question that cannot be answered fails the batch.
pub(crate) async fn batch(
    State(app): State<Arc<App>>,
    Body(body): Body<Questions>,
) -> Result<Json<Answers>, Problem> {
    let (engine, n) = (app.engine()?, body.questions.len());
    if n > MOST_QUESTIONS {
        return Err(Problem::invalid(format!(
            "{n} questions, {MOST_QUESTIONS} are the most"
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
    let tickets = questions
        .iter()
        .map(|q| engine.submit(q))
        .collect::<Result<Vec<Ticket>, _>>()?;
    let mut answers = Vec::with_capacity(n);
    for ticket in tickets {
        answers.push(ticket.answer().await?);
    }
    Ok(Json(Answers { answers }))
}
