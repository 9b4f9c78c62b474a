//! MLflow: its file store, and its server by REST.

mod files;
mod server;

pub(crate) use files::MlflowFiles;
pub(crate) use server::MlflowServer;

use crate::numbers::as_text;
use crate::tracked_run::TrackedRun;

/// The metric whose last step is the last step of a run: every record has it, and it is written
/// last.
const LAST_METRIC: &str = "epoch";
/// Longest value of a parameter.
const MAX_PARAM: usize = 6_000;

/// Tags of a new run.
fn tags(run: &TrackedRun) -> [(&'static str, String); 5] {
    [
        ("mlflow.runName", run.name.clone()),
        ("mlflow.source.name", "prl train".to_owned()),
        ("mlflow.source.type", "LOCAL".to_owned()),
        ("prl.dataset", run.dataset.clone()),
        ("prl.run", run.dir.display().to_string()),
    ]
}

/// Parameters of a new run: names and values of the settings.
fn params(run: &TrackedRun) -> Vec<(&str, String)> {
    let mut params = Vec::with_capacity(run.settings.len());
    for (name, value) in &run.settings {
        let mut text = as_text(value);
        if text.len() > MAX_PARAM {
            text.truncate(text.floor_char_boundary(MAX_PARAM));
        }
        params.push((name.as_str(), text));
    }
    params
}

/// A time of seconds since 1970 in milliseconds.
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3) as i64
}
