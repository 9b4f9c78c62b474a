//! Back-up and erasure of what the server stores.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use prl_engine::{FromJson, Id, InvalidRequest, Json as JsonValue, JsonFields, check_ids};
use prl_store::{erase_in_backup, write_backup};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Body;
use crate::openapi::{AdminProblems, BodyProblems};
use crate::problem::{Problem, ProblemKind};

/// Maximum number of sessions in an erasure.
const MAX_ERASED: usize = 1_000;
/// Extension of the back-ups' names.
const EXTENSION: &str = "jsonl";

/// Settings of a back-up: there are none.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupRequest {}

impl FromJson for BackupRequest {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        JsonFields::new(json, &[]).map(|_| Self {})
    }
}

/// A written back-up.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackupResponse {
    /// The file on the server's machine.
    file: String,
    /// Number of sessions in it.
    sessions: usize,
}

/// Sessions to erase.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseRequest {
    /// Names of the sessions.
    #[schema(max_items = 1000)]
    sessions: Vec<Id>,
}

impl FromJson for EraseRequest {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["sessions"])?;
        let missing = || InvalidRequest::new("sessions is missing; expected a list of names");
        Ok(Self {
            sessions: fields.take_list("sessions", "names")?.ok_or_else(missing)?,
        })
    }
}

/// What was erased.
#[derive(Serialize, ToSchema)]
pub(crate) struct EraseResponse {
    /// Number of stored sessions that were deleted.
    sessions: usize,
    /// Number of records that were removed from the experiment's log.
    log_records: usize,
    /// Files of the log that another server is writing: nothing was erased there.
    log_files_in_use: Vec<String>,
    /// Number of sessions that were removed from back-ups.
    backup_sessions: usize,
}

/// Write all stored sessions to a file in the directory of `--backups`
#[utoipa::path(
    post,
    operation_id = "backup",
    path = "/v1/admin/backup",
    request_body = BackupRequest,
    responses(
        (status = 200, description = "The file", body = BackupResponse),
        BodyProblems,
        AdminProblems,
    ),
    security(("key" = [])),
)]
pub(crate) async fn backup(
    State(app): State<Arc<App>>,
    Body(_): Body<BackupRequest>,
) -> Result<Json<BackupResponse>, Problem> {
    let Some(dir) = &app.backups else {
        let detail = "the server writes no back-ups; start it with --backups";
        return Err(Problem::new(ProblemKind::NoBackups, detail));
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    let file = dir.join(format!("sessions-{millis}.{EXTENSION}"));
    let sessions = write_backup(&*app.sessions, &file).await?;
    Ok(Json(BackupResponse {
        file: file.display().to_string(),
        sessions,
    }))
}

/// Erase sessions from the store, the experiment's log and the back-ups
///
/// Files of the log that another server is writing are named in the response; ask that server too.
#[utoipa::path(
    post,
    operation_id = "erase",
    path = "/v1/admin/erase",
    request_body = EraseRequest,
    responses(
        (status = 200, description = "What was erased", body = EraseResponse),
        BodyProblems,
        AdminProblems,
    ),
    security(("key" = [])),
)]
pub(crate) async fn erase(
    State(app): State<Arc<App>>,
    Body(body): Body<EraseRequest>,
) -> Result<Json<EraseResponse>, Problem> {
    check_ids("sessions", &body.sessions, MAX_ERASED)?;
    let mut names = BTreeSet::new();
    for Id(name) in body.sessions {
        names.insert(name);
    }
    let mut sessions = 0;
    for name in &names {
        sessions += usize::from(app.sessions.delete(name).await?);
    }
    // Rewriting files blocks.
    let shared = Arc::clone(&app);
    let erased = tokio::task::spawn_blocking(move || erase_in_files(&shared, &names)).await;
    let (log, backup_sessions) = match erased {
        Ok(erased) => erased?,
        Err(panicked) => {
            return Err(Problem::new(ProblemKind::StoreFailed, panicked.to_string()));
        }
    };
    let mut log_files_in_use = Vec::new();
    for file in log.files_in_use {
        log_files_in_use.push(file.display().to_string());
    }
    Ok(Json(EraseResponse {
        sessions,
        log_records: log.records,
        log_files_in_use,
        backup_sessions,
    }))
}

/// Erases sessions from the experiment's log and from all back-ups.
fn erase_in_files(
    app: &App,
    names: &BTreeSet<String>,
) -> Result<(prl_arms::Erased, usize), Problem> {
    let log = app.experiment.erase(names)?;
    let mut sessions = 0;
    if let Some(dir) = &app.backups {
        for file in backups(dir)? {
            sessions += erase_in_backup(&file, names)?;
        }
    }
    Ok((log, sessions))
}

/// The back-ups in a directory.
fn backups(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let failed = |error: std::io::Error| {
        let detail = format!("{}: {error}", dir.display());
        Problem::new(ProblemKind::StoreFailed, detail)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_backup = path.extension().is_some_and(|found| found == EXTENSION);
        if is_backup
            && path
                .file_name()
                .is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
        {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
