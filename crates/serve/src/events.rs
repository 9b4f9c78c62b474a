//! Events of sessions that are sent with each request, for the log alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use prl_engine::{
    FromJson, Id, InvalidRequest, Json as JsonValue, JsonFields, MAX_ITEMS, check_ids,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Body;
use crate::openapi::{BodyProblems, GuardProblems, LogProblems};
use crate::problem::Problem;
use crate::sessions::NewEvent;

/// Events of a session to log.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogEvents {
    /// Name of the session, as in its recommendation requests.
    session: Id,
    /// The events, oldest first.
    #[schema(max_items = 8000)]
    events: Vec<NewEvent>,
}

impl FromJson for LogEvents {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["session", "events"])?;
        let no_session = || InvalidRequest::new("session is missing; expected its name");
        let session = fields.take("session")?.ok_or_else(no_session)?;
        let no_events = || InvalidRequest::new("events is missing; expected a list of events");
        let events = fields
            .take_list("events", "events")?
            .ok_or_else(no_events)?;
        Ok(Self { session, events })
    }
}

/// Number of logged events.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedEvents {
    /// Events of the request, all of which are logged.
    events: usize,
}

/// Log what happened in a session whose events are sent with each recommendation request
///
/// Stores nothing that recommendations see. Needs a server with a log; events of stored sessions
/// are logged by `/v1/sessions/{id}/events`.
#[utoipa::path(
    post,
    operation_id = "log_events",
    path = "/v1/events",
    request_body = LogEvents,
    responses(
        (status = 200, description = "Number of logged events", body = LoggedEvents),
        BodyProblems,
        LogProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn add_events(
    State(app): State<Arc<App>>,
    Body(body): Body<LogEvents>,
) -> Result<Json<LoggedEvents>, Problem> {
    app.experiment.check_log()?;
    check_ids("session", [&body.session], 1)?;
    let items = body.events.iter().map(|event| &event.item);
    check_ids("events", items, MAX_ITEMS)?;
    app.experiment.log_events(&body.session.0, &body.events)?;
    let events = body.events.len();
    Ok(Json(LoggedEvents { events }))
}
