//! Sessions stored on the server.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use prl_dataset::Kind;
use prl_engine::{
    Event, FromJson, Id, InvalidRequest, Json as JsonValue, JsonFields, MAX_ID_BYTES, MAX_ITEMS,
    RequestFields, check_ids, event_kinds,
};
use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::app::App;
use crate::body::Body;
use crate::candidate;
use crate::experiment::{LoggedAnswer, is_candidates};
use crate::openapi::{BodyProblems, GuardProblems, SessionProblems};
use crate::problem::{Problem, ProblemKind};
use crate::response::ResponseBody;

/// Events to append to a session.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEvents {
    /// The events, oldest first.
    #[schema(max_items = 8000)]
    events: Vec<NewEvent>,
}

impl FromJson for NewEvents {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["events"])?;
        let events = fields.take_list("events", "events")?;
        let missing = || InvalidRequest::new("events is missing; expected a list of events");
        Ok(Self {
            events: events.ok_or_else(missing)?,
        })
    }
}

/// An event of a session.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
pub(crate) struct NewEvent {
    pub(crate) item: Id,
    /// Type of the event.
    #[serde(rename = "type")]
    #[schema(schema_with = event_kinds, required = false)]
    pub(crate) kind: Kind,
    /// Value for the experiment's log, such as price times quantity; without a log it has no use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f64>,
}

impl FromJson for NewEvent {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["item", "type", "value"])?;
        let missing = || InvalidRequest::new("item is missing; expected an item id");
        Ok(Self {
            item: fields.take("item")?.ok_or_else(missing)?,
            kind: fields.take("type")?.unwrap_or(Kind::Click),
            value: fields.take("value")?,
        })
    }
}

/// Schema of [`RequestFields`] about a stored session: without the session itself.
pub(crate) struct StoredSessionRequest;

impl PartialSchema for StoredSessionRequest {
    fn schema() -> RefOr<Schema> {
        let mut schema = RequestFields::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            for field in ["session", "items", "purchased", "kinds"] {
                object.properties.remove(field);
                object.required.retain(|name| name != field);
            }
            object.description = Some("A recommendation request for a stored session.".into());
        }
        schema
    }
}

impl ToSchema for StoredSessionRequest {}

/// State of a session after events were appended.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionBody {
    /// Name of the session.
    session: String,
    /// Number of events in the session.
    events: usize,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SessionPath {
    /// Session name, at most 256 bytes.
    #[param(max_length = 256)]
    id: String,
}

type SessionId = Result<Path<SessionPath>, PathRejection>;

fn session_id(id: SessionId) -> Result<String, Problem> {
    let Path(SessionPath { id }) =
        id.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    if id.len() > MAX_ID_BYTES {
        return Err(Problem::invalid(format!(
            "session id is longer than {MAX_ID_BYTES} bytes"
        )));
    }
    Ok(id)
}

/// Append events to a stored session; creates it if needed
#[utoipa::path(
    post,
    path = "/v1/sessions/{id}/events",
    params(SessionPath),
    request_body = NewEvents,
    responses(
        (status = 200, description = "Number of events in the session", body = SessionBody),
        BodyProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn add_events(
    State(app): State<Arc<App>>,
    id: SessionId,
    Body(body): Body<NewEvents>,
) -> Result<Json<SessionBody>, Problem> {
    let session = session_id(id)?;
    check_ids(
        "events",
        body.events.iter().map(|event| &event.item),
        MAX_ITEMS,
    )?;
    // Logged first: events that cannot be logged are not stored, so that they can be sent again.
    app.experiment.log_events(&session, &body.events)?;
    let mut events = Vec::with_capacity(body.events.len());
    for event in body.events {
        events.push(Event {
            item: event.item.0.into(),
            kind: event.kind,
        });
    }
    let events = app.sessions.add(&session, events).await?;
    Ok(Json(SessionBody { session, events }))
}

/// Next items for a stored session
///
/// Unless the prompt says otherwise, the target return is that of the whole session: the reward
/// collected so far is subtracted.
#[utoipa::path(
    post,
    operation_id = "recommend_for_session",
    path = "/v1/sessions/{id}/recommend",
    params(SessionPath),
    request_body = StoredSessionRequest,
    responses(
        (status = 200, description = "The best items", body = ResponseBody),
        BodyProblems,
        SessionProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn recommend(
    State(app): State<Arc<App>>,
    id: SessionId,
    Body(mut body): Body<RequestFields>,
) -> Result<Json<ResponseBody>, Problem> {
    let id = session_id(id)?;
    let Some(events) = app.sessions.events(&id).await? else {
        return Err(no_session(&id));
    };
    let assigned = app.experiment.assign(Some(&id), &mut body);
    let is_candidates = is_candidates(assigned.as_ref());
    let default = app.engine_of(is_candidates)?.model().default_prompt();
    let request = body.resolve_stored(events, default)?;
    let response = candidate::answer(&app, is_candidates, &request).await?;
    let answer = LoggedAnswer::new(assigned, &request, response);
    app.experiment.log_answers(&app.metrics, [&answer])?;
    Ok(Json(ResponseBody::new(None, answer)))
}

/// Delete a stored session
#[utoipa::path(
    delete,
    operation_id = "delete_session",
    path = "/v1/sessions/{id}",
    params(SessionPath),
    responses((status = 204, description = "Deleted"), SessionProblems, GuardProblems),
)]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    id: SessionId,
) -> Result<StatusCode, Problem> {
    let id = session_id(id)?;
    if app.sessions.delete(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_session(&id))
    }
}

fn no_session(id: &str) -> Problem {
    Problem::new(
        ProblemKind::NoSession,
        format!("session {id:?} does not exist: it never began, has expired or was evicted"),
    )
}
