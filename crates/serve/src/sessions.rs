//! Sessions that the server keeps.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use prl_dataset::Kind;
use prl_engine::{Event, RecommendResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{Body, Id};
use crate::problem::{Problem, ProblemKind};
use crate::request::{self, MAX_BYTES, MAX_ITEMS, RequestBody};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Events {
    events: Vec<OneEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneEvent {
    item: Id,
    #[serde(rename = "type", default = "click")]
    kind: Kind,
}

fn click() -> Kind {
    Kind::Click
}

type Name = Result<Path<String>, PathRejection>;

fn name(name: Name) -> Result<String, Problem> {
    let Path(name) = name.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let fits = name.len() <= MAX_BYTES;
    fits.then_some(name)
        .ok_or_else(|| Problem::invalid(format!("a session's id has at most {MAX_BYTES} bytes")))
}

/// What the user did, at the end of the session; the first events begin it.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    id: Name,
    Body(body): Body<Events>,
) -> Result<Json<Value>, Problem> {
    let id = name(id)?;
    let (ids, kinds): (Vec<Id>, Vec<Kind>) =
        body.events.into_iter().map(|e| (e.item, e.kind)).unzip();
    request::check("events", &ids, MAX_ITEMS)?;
    let events = ids
        .into_iter()
        .zip(kinds)
        .map(|(id, kind)| Event {
            item: id.0.into(),
            kind,
        })
        .collect();
    let total = app.sessions.add(&id, events, Instant::now())?;
    Ok(Json(json!({ "session": id, "events": total })))
}

/// What next in the session: unless it is asked otherwise, the prompt is the whole session's, less what it has given.
pub(crate) async fn recommend(
    State(app): State<Arc<App>>,
    id: Name,
    Body(asked): Body<RequestBody>,
) -> Result<Json<RecommendResponse>, Problem> {
    let (id, engine) = (name(id)?, app.engine()?);
    let session = app
        .sessions
        .events(&id, Instant::now())
        .ok_or_else(|| missing(&id))?;
    let question = asked.about_kept(session, engine.live().ask())?;
    Ok(Json(engine.submit(&question)?.answer().await?))
}

pub(crate) async fn forget(State(app): State<Arc<App>>, id: Name) -> Result<StatusCode, Problem> {
    let id = name(id)?;
    if app.sessions.forget(&id, Instant::now()) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing(&id))
    }
}

fn missing(id: &str) -> Problem {
    Problem::new(
        ProblemKind::NoSession,
        format!("session {id:?} never began, has expired or made room for others"),
    )
}
