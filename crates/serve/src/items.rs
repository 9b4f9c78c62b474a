//! Properties of items, their changes, and the items that are never recommended.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use prl_engine::{FromJson, Id, InvalidRequest, Json as JsonValue, LoadedModel, MAX_ID_BYTES};
use prl_engine::{JsonFields, check_ids};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::app::App;
use crate::body::Body;
use crate::openapi::{BodyProblems, GuardProblems, ItemProblems};
use crate::problem::{Problem, ProblemKind};

/// Maximum number of items in a batch of changes.
const MAX_CHANGES: usize = 1_000;
/// Time between two looks for changes by other servers.
const FOLLOW: Duration = Duration::from_secs(1);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ItemPath {
    /// Raw item id, at most 256 bytes.
    #[param(max_length = 256)]
    id: String,
}

type ItemId = Result<Path<ItemPath>, PathRejection>;

pub(crate) fn item_id(id: ItemId) -> Result<String, Problem> {
    let Path(ItemPath { id }) = id.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    if id.len() > MAX_ID_BYTES {
        return Err(Problem::invalid(format!(
            "item id is longer than {MAX_ID_BYTES} bytes"
        )));
    }
    Ok(id)
}

/// New values of properties by column; null removes a value.
pub(crate) struct NewProperties(Map<String, Value>);

impl FromJson for NewProperties {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        match json.into_plain()? {
            Value::Object(set) => Ok(Self(set)),
            _ => Err(InvalidRequest::new(
                "expected a JSON object of values by column",
            )),
        }
    }
}

impl PartialSchema for NewProperties {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
            .description(Some(
                "New values of properties by column; null removes a value.",
            ))
            .into()
    }
}

impl ToSchema for NewProperties {}

/// Changes of several items.
#[derive(ToSchema)]
pub(crate) struct NewItems {
    /// The changes; all are made or none.
    #[schema(max_items = 1000)]
    items: Vec<ItemPatch>,
}

impl FromJson for NewItems {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["items"])?;
        let items = fields.take_list("items", "changes of items")?;
        let missing = || InvalidRequest::new("items is missing; expected a list of changes");
        Ok(Self {
            items: items.ok_or_else(missing)?,
        })
    }
}

/// Changes of one item of several.
#[derive(ToSchema)]
#[schema(as = ItemChanges)]
pub(crate) struct ItemPatch {
    item: Id,
    set: NewProperties,
}

impl FromJson for ItemPatch {
    fn from_json(json: JsonValue) -> Result<Self, InvalidRequest> {
        let mut fields = JsonFields::new(json, &["item", "set"])?;
        let missing = |what: &str| InvalidRequest::new(format!("{what} is missing"));
        Ok(Self {
            item: fields.take("item")?.ok_or_else(|| missing("item"))?,
            set: fields.take("set")?.ok_or_else(|| missing("set"))?,
        })
    }
}

/// An item with its properties.
#[derive(Serialize, ToSchema)]
#[schema(as = Item)]
pub(crate) struct ItemBody {
    /// Raw item id.
    item: String,
    /// Whether it is in the catalogue of the model, and can be recommended.
    in_catalogue: bool,
    /// Whether it is on the list of items that are never recommended.
    denied: bool,
    /// Whether it is recommended without a filter: in the catalogue, not denied, and not hidden by
    /// the column of availability.
    recommended: bool,
    /// Values by column; a column without a value is absent.
    #[schema(value_type = Object)]
    properties: Map<String, Value>,
}

impl ItemBody {
    fn of(model: &LoadedModel, id: &str) -> Result<Self, Problem> {
        let properties = model.properties();
        let Some(row) = model.properties_row(id) else {
            return Err(Problem::new(
                ProblemKind::NoItem,
                format!("item {id:?} is neither in the catalogue nor in the table of items"),
            ));
        };
        let in_catalogue = model.items().index(id).is_some();
        Ok(Self {
            item: id.to_owned(),
            in_catalogue,
            denied: properties.is_denied(id),
            recommended: in_catalogue && properties.is_shown(row),
            properties: properties.properties(row, None),
        })
    }
}

/// Result of a batch of changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangedItems {
    /// Number of items that were changed.
    changed: usize,
}

/// Items that are never recommended.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeniedItems {
    /// Raw item ids, ascending.
    items: Vec<String>,
}

/// An item on the list of those that are never recommended.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeniedItem {
    /// Raw item id.
    item: String,
    /// Whether it is in the catalogue of the model.
    in_catalogue: bool,
}

/// Properties of an item
#[utoipa::path(
    get,
    path = "/v1/items/{id}",
    params(ItemPath),
    responses(
        (status = 200, description = "The item", body = ItemBody),
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn item(
    State(app): State<Arc<App>>,
    id: ItemId,
) -> Result<Json<ItemBody>, Problem> {
    let (id, model) = (item_id(id)?, app.model()?);
    Ok(Json(ItemBody::of(&model, &id)?))
}

/// Change properties of an item
///
/// The next request sees the change. With false in the column of availability the item is no longer
/// recommended.
#[utoipa::path(
    patch,
    operation_id = "patch_item",
    path = "/v1/items/{id}",
    params(ItemPath),
    request_body = NewProperties,
    responses(
        (status = 200, description = "The item after the change", body = ItemBody),
        BodyProblems,
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn patch_item(
    State(app): State<Arc<App>>,
    id: ItemId,
    Body(NewProperties(set)): Body<NewProperties>,
) -> Result<Json<ItemBody>, Problem> {
    let (id, model) = (item_id(id)?, app.model()?);
    patch(&app, &model, vec![(id.clone(), set)]).await?;
    Ok(Json(ItemBody::of(&model, &id)?))
}

/// Change properties of up to 1,000 items, all or none
#[utoipa::path(
    patch,
    operation_id = "patch_items",
    path = "/v1/items",
    request_body = NewItems,
    responses(
        (status = 200, description = "Number of items", body = ChangedItems),
        BodyProblems,
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn patch_items(
    State(app): State<Arc<App>>,
    Body(body): Body<NewItems>,
) -> Result<Json<ChangedItems>, Problem> {
    let model = app.model()?;
    check_ids(
        "items",
        body.items.iter().map(|patch| &patch.item),
        MAX_CHANGES,
    )?;
    let mut patches = Vec::with_capacity(body.items.len());
    for ItemPatch { item, set } in body.items {
        patches.push((item.0, set.0));
    }
    let changed = patches.len();
    patch(&app, &model, patches).await?;
    Ok(Json(ChangedItems { changed }))
}

/// Items that are never recommended
#[utoipa::path(
    get,
    path = "/v1/deny",
    responses(
        (status = 200, description = "Raw item ids", body = DeniedItems),
        GuardProblems,
    ),
)]
pub(crate) async fn denied(State(app): State<Arc<App>>) -> Result<Json<DeniedItems>, Problem> {
    let snapshot = app.model()?.properties().snapshot();
    let mut items = Vec::with_capacity(snapshot.denied().len());
    for id in snapshot.denied() {
        items.push(id.to_owned());
    }
    Ok(Json(DeniedItems { items }))
}

/// Never recommend an item, which may be in no catalogue yet
#[utoipa::path(
    put,
    path = "/v1/deny/{id}",
    params(ItemPath),
    responses(
        (status = 200, description = "The item is on the list", body = DeniedItem),
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn deny(
    State(app): State<Arc<App>>,
    id: ItemId,
) -> Result<Json<DeniedItem>, Problem> {
    let (item, model) = (item_id(id)?, app.model()?);
    set_denied(&app, &model, &item, true).await?;
    let in_catalogue = model.items().index(&item).is_some();
    Ok(Json(DeniedItem { item, in_catalogue }))
}

/// Recommend an item again
#[utoipa::path(
    delete,
    path = "/v1/deny/{id}",
    params(ItemPath),
    responses(
        (status = 204, description = "The item is no longer on the list"),
        ItemProblems,
        GuardProblems,
    ),
)]
pub(crate) async fn allow(State(app): State<Arc<App>>, id: ItemId) -> Result<StatusCode, Problem> {
    let (id, model) = (item_id(id)?, app.model()?);
    if set_denied(&app, &model, &id, false).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(
        ProblemKind::NoItem,
        format!("item {id:?} is not on the list of items that are never recommended"),
    ))
}

/// Stores changes and applies them to the model.
async fn patch(
    app: &Arc<App>,
    model: &Arc<LoadedModel>,
    patches: Vec<(String, Map<String, Value>)>,
) -> Result<(), Problem> {
    blocking(app, model, move |app, model| {
        let index = |id: &str| model.items().index(id);
        let patched = model.properties().patch(&*app.changes, &patches, &index);
        log_ignored(&patched?);
        Ok(())
    })
    .await
}

async fn set_denied(
    app: &Arc<App>,
    model: &Arc<LoadedModel>,
    id: &str,
    denied: bool,
) -> Result<bool, Problem> {
    let id = id.to_owned();
    blocking(app, model, move |app, model| {
        let index = |id: &str| model.items().index(id);
        let change = (id.as_str(), denied);
        Ok(model.properties().deny(&*app.changes, change, &index)?)
    })
    .await
}

/// Works on a blocking thread, since a store may wait for a disk or a network; then brings the
/// current model up to date if it was replaced in the meantime.
async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    model: &Arc<LoadedModel>,
    work: impl FnOnce(&App, &LoadedModel) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let (app, model) = (Arc::clone(app), Arc::clone(model));
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&app, &model)?;
        for other in app.models() {
            if !Arc::ptr_eq(&other, &model) {
                other.sync(&*app.changes)?;
            }
        }
        Ok(done)
    });
    match done.await {
        Ok(done) => done,
        Err(panicked) => Err(Problem::new(ProblemKind::Failed, panicked.to_string())),
    }
}

fn log_ignored(ignored: &[String]) {
    for what in ignored {
        tracing::warn!("a stored change of an item has no effect: {what}");
    }
}

/// Applies the stored changes to a model, on a blocking thread.
///
/// # Errors
/// If the store fails.
pub(crate) async fn sync(app: &Arc<App>, model: Arc<LoadedModel>) -> Result<(), crate::Error> {
    let app = Arc::clone(app);
    let synced = tokio::task::spawn_blocking(move || model.sync(&*app.changes)).await;
    Ok(synced.map_err(std::io::Error::other)??)
}

/// Applies the changes that other servers store, every second.
pub(crate) async fn follow_changes(app: &Arc<App>) {
    let mut has_failed = false;
    loop {
        tokio::time::sleep(FOLLOW).await;
        let mut synced = Ok(());
        for model in app.models() {
            synced = synced.and(sync(app, model).await);
        }
        // One line at the begin of an outage, and one at its end.
        match &synced {
            Err(error) if !has_failed => tracing::error!(%error, "changes of items are not read"),
            Ok(()) if has_failed => tracing::info!("changes of items are read again"),
            _ => {}
        }
        has_failed = synced.is_err();
    }
}
