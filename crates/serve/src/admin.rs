//! Hot reload: another run, or the same one again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::body::Body;
use crate::problem::{Problem, ProblemKind};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    run: Option<PathBuf>,
}

pub(crate) async fn reload(
    State(app): State<Arc<App>>,
    Body(Reload { run }): Body<Reload>,
) -> Result<Json<Value>, Problem> {
    let model = swap(&app, run.as_deref()).await?;
    Ok(Json(json!({ "model": model })))
}

/// Puts the run in service, by default the one that was, and returns the model's name. The old one stays if that fails.
pub(crate) async fn swap(app: &Arc<App>, run: Option<&Path>) -> Result<String, Problem> {
    let dir = match run {
        Some(dir) => dir.to_owned(),
        None => app.live()?.dir(),
    };
    let owned = Arc::clone(app);
    // Loading takes as long as it takes, on a thread that may block.
    let loaded = tokio::task::spawn_blocking(move || {
        let live = owned
            .engine()?
            .reload(&dir)
            .map_err(|e| Problem::new(ProblemKind::BadRun, e.to_string()))?;
        Ok::<_, Problem>(live.name().to_owned())
    });
    let model = loaded
        .await
        .map_err(|e| Problem::new(ProblemKind::BadRun, e.to_string()))??;
    tracing::info!(model, "reloaded");
    Ok(model)
}
