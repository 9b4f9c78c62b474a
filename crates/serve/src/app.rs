//! State shared by all requests, and the routes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use prl_engine::{Engine, LoadedModel, SessionStore};
use prl_items::{ChangeStore, MemoryChangeStore};
use tokio::sync::Semaphore;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::experiment::RunningExperiment;
use crate::guard::{self, ApiKey};
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::{admin, catalogue, events, health, items, openapi, page, recommend, sessions, similar};

/// Maximum size of a request body in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// State shared by all requests.
pub(crate) struct App {
    engine: OnceLock<Engine>,
    pub(crate) sessions: SessionStore,
    pub(crate) experiment: RunningExperiment,
    pub(crate) metrics: Metrics,
    pub(crate) permits: Semaphore,
    max_requests: usize,
    pub(crate) timeout: Duration,
    pub(crate) key: Option<ApiKey>,
    /// Changes of the items' properties.
    pub(crate) changes: Arc<dyn ChangeStore>,
}

impl App {
    /// State of a server that handles at most `max_requests` requests at once; not ready yet.
    pub(crate) fn new(
        max_requests: usize,
        timeout: Duration,
        key: Option<ApiKey>,
        (sessions, experiment): (SessionStore, RunningExperiment),
    ) -> Self {
        Self {
            engine: OnceLock::new(),
            sessions,
            experiment,
            metrics: Metrics::default(),
            permits: Semaphore::new(max_requests),
            max_requests,
            timeout,
            key,
            changes: Arc::new(MemoryChangeStore::default()),
        }
    }

    /// The state with another store of changes of the items' properties.
    pub(crate) fn with_changes(mut self, changes: Option<Arc<dyn ChangeStore>>) -> Self {
        if let Some(changes) = changes {
            self.changes = changes;
        }
        self
    }

    /// Sets the engine: the server is ready from now on. A second call has no effect.
    pub(crate) fn set_ready(&self, engine: Engine) {
        _ = self.engine.set(engine);
    }

    /// Number of admitted requests that are not answered yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.max_requests - self.permits.available_permits()
    }

    /// The engine; a problem if the model is not loaded yet.
    pub(crate) fn engine(&self) -> Result<&Engine, Problem> {
        self.engine.get().ok_or_else(|| {
            Problem::new(
                ProblemKind::NotReady,
                "the model is being loaded; poll /health/ready",
            )
        })
    }

    /// The current model; a problem if none is loaded yet.
    pub(crate) fn model(&self) -> Result<Arc<LoadedModel>, Problem> {
        Ok(self.engine()?.model())
    }
}

type Routes = OpenApiRouter<Arc<App>>;

/// Routes without authentication and without a load limit.
fn open_routes() -> Routes {
    Routes::new()
        .routes(routes!(page::page))
        .routes(routes!(page::openapi_document))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Routes that need the API key if one is configured, with a load limit and a timeout.
fn guarded_routes() -> Routes {
    Routes::new()
        .routes(routes!(catalogue::model))
        .routes(routes!(catalogue::items, items::patch_items))
        .routes(routes!(items::item, items::patch_item))
        .routes(routes!(similar::similar))
        .routes(routes!(similar::bought_together))
        .routes(routes!(items::denied))
        .routes(routes!(items::deny, items::allow))
        .routes(routes!(recommend::recommend))
        .routes(routes!(recommend::recommend_batch))
        .routes(routes!(sessions::add_events))
        .routes(routes!(sessions::recommend))
        .routes(routes!(sessions::delete))
        .routes(routes!(events::add_events))
}

/// Routes that need a configured API key; without load limit and timeout.
fn admin_routes() -> Routes {
    Routes::new().routes(routes!(admin::reload))
}

/// OpenAPI document of all routes.
pub(crate) fn openapi_document() -> OpenApi {
    let described = Routes::with_openapi(openapi::base())
        .merge(open_routes())
        .merge(guarded_routes())
        .merge(admin_routes());
    described.into_openapi()
}

/// The service: all routes with their middleware.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let guarded = Router::from(guarded_routes())
        .route_layer(from_fn_with_state(Arc::clone(app), guard::require_key))
        .route_layer(from_fn_with_state(Arc::clone(app), guard::limit_load));
    let admin = Router::from(admin_routes()).route_layer(from_fn_with_state(
        Arc::clone(app),
        guard::require_configured_key,
    ));
    Router::from(open_routes())
        .merge(guarded)
        .merge(admin)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(app), guard::observe))
        .layer(from_fn(guard::no_sniff))
        .with_state(Arc::clone(app))
}

async fn not_found() -> Problem {
    Problem::new(ProblemKind::NotFound, "unknown path; see /openapi.json")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        ProblemKind::WrongMethod,
        "method not allowed for this path; see /openapi.json",
    )
}
