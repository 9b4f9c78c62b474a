//! The model in service, and the items it knows.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::Problem;

/// Ids in one answer.
pub const MAX_FOUND: usize = 100;

pub(crate) async fn model(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let live = app.live()?;
    Ok(Json(json!({
        "model": live.name(),
        "items": live.items().len(),
        "window": live.window(),
        "prompted": live.is_prompted(),
        "prompt": live.ask(),
        "run": live.manifest(),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
}

/// Ids that begin so, in the order of their indices.
pub(crate) async fn items(
    State(app): State<Arc<App>>,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Search { prefix, limit }) =
        search.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let limit = limit.unwrap_or(20);
    if !(1..=MAX_FOUND).contains(&limit) {
        return Err(Problem::invalid(format!(
            "limit is {limit}; it must lie in 1..={MAX_FOUND}"
        )));
    }
    let live = app.live()?;
    let ids = (0..live.items().len() as u32).filter_map(|i| live.items().raw(i));
    let found: Vec<&str> = ids
        .filter(|id| id.starts_with(&prefix))
        .take(limit)
        .collect();
    Ok(Json(json!({ "items": found })))
}
