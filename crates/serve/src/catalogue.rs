//! The current model and its catalogue.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use prl_core::PromptSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::openapi::{GuardProblems, QueryProblems};
use crate::problem::Problem;

/// Maximum number of ids in a search result.
pub const MAX_FOUND: usize = 100;
/// Default number of ids in a search result.
const DEFAULT_FOUND: usize = 20;

/// The current model.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub(crate) struct ModelBody {
    /// Name: the first 12 digits of the SHA-256 of the weights.
    model: String,
    /// Number of items in the catalogue.
    items: usize,
    /// Number of latest session items that the model reads.
    window: usize,
    /// Whether the model takes a prompt.
    prompted: bool,
    /// Default prompt.
    #[schema(value_type = Object)]
    prompt: PromptSpec,
    /// Columns of the items' properties, for `where` and `properties` in requests.
    properties: Vec<PropertyColumn>,
    /// Manifest of the run; null if training has not finished.
    #[schema(value_type = Option<Object>, required = false)]
    run: Value,
}

/// A column of the items' properties.
#[derive(Serialize, ToSchema)]
pub(crate) struct PropertyColumn {
    /// Name of the column.
    name: String,
    /// Type of its values: text, list (of texts), number or bool.
    #[serde(rename = "type")]
    column_type: &'static str,
}

/// Current model, default prompt and run manifest
#[utoipa::path(
    get,
    path = "/v1/model",
    responses(
        (status = 200, description = "The model and its run", body = ModelBody),
        GuardProblems,
    ),
)]
pub(crate) async fn model(State(app): State<Arc<App>>) -> Result<Json<ModelBody>, Problem> {
    let model = app.model()?;
    let mut properties = Vec::new();
    for (name, of) in model.properties().columns() {
        let column_type = of.name();
        properties.push(PropertyColumn { name, column_type });
    }
    Ok(Json(ModelBody {
        model: model.name().to_owned(),
        items: model.items().len(),
        window: model.window(),
        prompted: model.is_prompted(),
        prompt: model.default_prompt(),
        properties,
        run: serde_json::json!(model.manifest()),
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemSearch {
    /// Prefix of the item ids.
    #[serde(default)]
    prefix: String,
    /// Maximum number of ids.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
}

/// Items found in the catalogue.
#[derive(Serialize, ToSchema)]
pub(crate) struct FoundItems {
    /// Raw ids in catalogue order.
    items: Vec<String>,
}

/// Item ids with a prefix
#[utoipa::path(
    get,
    path = "/v1/items",
    params(ItemSearch),
    responses(
        (status = 200, description = "Raw item ids", body = FoundItems),
        QueryProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn items(
    State(app): State<Arc<App>>,
    search: Result<Query<ItemSearch>, QueryRejection>,
) -> Result<Json<FoundItems>, Problem> {
    let Query(search) = search.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let limit = search.limit.unwrap_or(DEFAULT_FOUND);
    if !(1..=MAX_FOUND).contains(&limit) {
        return Err(Problem::invalid(format!(
            "limit is {limit}; expected 1..={MAX_FOUND}"
        )));
    }
    let model = app.model()?;
    let mut items = Vec::new();
    for index in 0..model.items().len() as u32 {
        if items.len() == limit {
            break;
        }
        if let Some(id) = model.items().raw(index)
            && id.starts_with(&search.prefix)
        {
            items.push(id.to_owned());
        }
    }
    Ok(Json(FoundItems { items }))
}
