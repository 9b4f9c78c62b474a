//! Hot reload of the model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use prl_engine::{FromJson, InvalidRequest, Json as JsonValue, JsonFields, LoadedModel};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Body;
use crate::openapi::{AdminProblems, BodyProblems};
use crate::problem::{Problem, ProblemKind};

/// Run to load.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadRequest {
    /// Run directory on the server's machine. Default: the directory of the current model.
    #[schema(value_type = Option<String>)]
    run: Option<PathBuf>,
}

impl FromJson for ReloadRequest {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["run"])?;
        let run: Option<String> = fields.take("run")?;
        Ok(Self {
            run: run.map(PathBuf::from),
        })
    }
}

/// Result of a reload.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReloadResponse {
    /// Name of the model that is served now.
    model: String,
}

/// Load a run and serve it; on failure the current model stays
#[utoipa::path(
    post,
    path = "/v1/admin/reload",
    request_body = ReloadRequest,
    responses(
        (status = 200, description = "The new model", body = ReloadResponse),
        BodyProblems,
        AdminProblems,
    ),
)]
pub(crate) async fn reload(
    State(app): State<Arc<App>>,
    Body(request): Body<ReloadRequest>,
) -> Result<Json<ReloadResponse>, Problem> {
    let model = swap_model(&app, request.run.as_deref()).await?;
    Ok(Json(ReloadResponse { model }))
}

/// Loads a run (by default the current one's directory), serves it, and returns the model's name.
/// The current model stays if that fails.
pub(crate) async fn swap_model(app: &Arc<App>, run: Option<&Path>) -> Result<String, Problem> {
    let dir = match run {
        Some(dir) => dir.to_owned(),
        None => app.model()?.dir().to_owned(),
    };
    let shared = Arc::clone(app);
    // Reading and warming up take seconds, so they must not occupy an asynchronous thread.
    let load = tokio::task::spawn_blocking(move || {
        let accept = |model: &LoadedModel| {
            // No answer of the new model is without the changes of its items.
            model.sync(&*shared.changes)?;
            shared.experiment.check_model(model, false)
        };
        match shared.engine()?.reload_if(&dir, accept) {
            Ok(model) => {
                // Changes that arrived between the two reads; a failure is mended by the next one.
                if let Err(error) = model.sync(&*shared.changes) {
                    tracing::error!(%error, "changes of the items are not read");
                }
                Ok(model.name().to_owned())
            }
            Err(error) => Err(Problem::new(ProblemKind::BadRun, error.to_string())),
        }
    });
    let model = match load.await {
        Ok(loaded) => loaded?,
        Err(panicked) => return Err(Problem::new(ProblemKind::BadRun, panicked.to_string())),
    };
    tracing::info!(model, "reloaded");
    Ok(model)
}
