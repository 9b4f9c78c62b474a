//! Items beside one item: similar ones, and those that were bought with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use prl_engine::{Filter, InvalidRequest, LoadedModel, Recommendation, Where};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::items::{ItemId, ItemPath, item_id};
use crate::openapi::{GuardProblems, ItemProblems};
use crate::problem::{Problem, ProblemKind};
use crate::response::ScoredItem;

/// Default number of items.
const DEFAULT_K: usize = 20;
/// Maximum number of items.
const MAX_K: usize = 1_000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BesideQuery {
    /// Number of items.
    #[param(minimum = 1, maximum = 1000, default = 20)]
    k: Option<usize>,
    /// Conditions on the properties of the items, in JSON, as in a recommendation request.
    #[serde(rename = "where")]
    conditions: Option<String>,
    /// Columns of the properties in the response, separated by commas.
    properties: Option<String>,
}

type BesideParameters = Result<Query<BesideQuery>, QueryRejection>;

/// Items similar to one item.
#[derive(Serialize, ToSchema)]
pub(crate) struct SimilarItems {
    /// Raw id of the item.
    item: String,
    /// Similar items, the most similar first; the score is the cosine of the vectors.
    items: Vec<ScoredItem>,
    /// Name of the model: the first 12 digits of the SHA-256 of its weights.
    model: String,
}

/// Items that were bought with one item.
#[derive(Serialize, ToSchema)]
pub(crate) struct ItemsBoughtTogether {
    /// Raw id of the item.
    item: String,
    /// Items bought with it, those of the most sessions first; at most 50 are known.
    items: Vec<BoughtItem>,
    /// Name of the model: the first 12 digits of the SHA-256 of its weights.
    model: String,
}

/// An item that was bought with another.
#[derive(Serialize, ToSchema)]
pub(crate) struct BoughtItem {
    /// Raw item id.
    item: String,
    /// Number of training sessions that bought both.
    sessions: u64,
    /// Values of the properties that the request asks for, by column. Absent if it asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    properties: Option<Map<String, Value>>,
}

/// A checked request for items beside one.
struct Beside {
    id: String,
    model: Arc<LoadedModel>,
    index: u32,
    k: usize,
    filter: Filter,
    properties: Vec<String>,
}

impl Beside {
    fn new(app: &App, id: ItemId, query: BesideParameters) -> Result<Self, Problem> {
        let (id, model) = (item_id(id)?, app.model()?);
        let Query(query) = query.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
        let k = query.k.unwrap_or(DEFAULT_K);
        if !(1..=MAX_K).contains(&k) {
            return Err(Problem::invalid(format!("k is {k}; expected 1..={MAX_K}")));
        }
        let mut filter = Filter::default();
        if let Some(text) = &query.conditions {
            let json: Value = serde_json::from_str(text)
                .map_err(|e| Problem::invalid(format!("where: not valid JSON: {e}")))?;
            filter.conditions = Where::from_json(&json).map_err(InvalidRequest::from)?;
        }
        let mut properties = Vec::new();
        for name in query.properties.iter().flat_map(|names| names.split(',')) {
            if !name.is_empty() {
                properties.push(name.to_owned());
            }
        }
        let known = model.properties();
        known
            .check(&filter.conditions)
            .and_then(|()| known.check_columns("properties", &properties))
            .map_err(InvalidRequest::from)?;
        let Some(index) = model.items().index(&id) else {
            return Err(Problem::new(
                ProblemKind::NoItem,
                format!("item {id:?} is not in the catalogue"),
            ));
        };
        Ok(Self {
            id,
            model,
            index,
            k,
            filter,
            properties,
        })
    }
}

/// Items similar to an item, for a product page
///
/// Similarity is the cosine of the model's item vectors. Items that are denied or not available are
/// left out.
#[utoipa::path(
    get,
    path = "/v1/items/{id}/similar",
    params(ItemPath, BesideQuery),
    responses(
        (status = 200, description = "Similar items", body = SimilarItems),
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn similar(
    State(app): State<Arc<App>>,
    id: ItemId,
    query: BesideParameters,
) -> Result<Json<SimilarItems>, Problem> {
    let request = Beside::new(&app, id, query)?;
    // All items are scored, which takes milliseconds for a large catalogue.
    let found = tokio::task::spawn_blocking(move || {
        let of = (request.index, request.k);
        let (filter, properties) = (&request.filter, &request.properties);
        let found = request.model.similar(of, filter, properties);
        (request, found)
    });
    let found = found.await;
    let (request, found) = found.map_err(|e| Problem::new(ProblemKind::Failed, e.to_string()))?;
    let Some(found) = found? else {
        return Err(Problem::invalid(
            "this run has no item vectors: baselines and blends have none, nor has a network on a GPU",
        ));
    };
    let mut items = Vec::with_capacity(found.len());
    for recommended in found {
        items.push(ScoredItem::from(recommended));
    }
    Ok(Json(SimilarItems {
        items,
        model: request.model.name().to_owned(),
        item: request.id,
    }))
}

/// Items bought in the same sessions as an item, for a cart page
///
/// Counts are of the training sessions. Items that are denied or not available are left out.
#[utoipa::path(
    get,
    path = "/v1/items/{id}/bought-together",
    params(ItemPath, BesideQuery),
    responses(
        (status = 200, description = "Items and their numbers of sessions", body = ItemsBoughtTogether),
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn bought_together(
    State(app): State<Arc<App>>,
    id: ItemId,
    query: BesideParameters,
) -> Result<Json<ItemsBoughtTogether>, Problem> {
    let request = Beside::new(&app, id, query)?;
    let of = (request.index, request.k);
    let (filter, properties) = (&request.filter, &request.properties);
    let Some(found) = request.model.bought_together(of, filter, properties)? else {
        return Err(Problem::invalid(
            "this run has no counts of items bought together: no training session bought two items, \
             or the run is of an older version; train it again",
        ));
    };
    let mut items = Vec::with_capacity(found.len());
    for Recommendation {
        item,
        score,
        properties,
    } in found
    {
        items.push(BoughtItem {
            item,
            sessions: score as u64,
            properties,
        });
    }
    Ok(Json(ItemsBoughtTogether {
        items,
        model: request.model.name().to_owned(),
        item: request.id,
    }))
}
