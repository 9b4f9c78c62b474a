//! State shared by all requests, and the routes.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use prl_engine::{Engine, LoadedModel};
use prl_items::ChangeStore;
use prl_store::SessionStore;
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::candidate::{self, Candidate};
use crate::experiment::RunningExperiment;
use crate::keys::{Keys, Role};
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::web::cors::{self, CorsOrigin};
use crate::web::guard::{self, Admission};
use crate::web::prefix::PathPrefix;
use crate::{admin, catalogue, events, health, items, openapi, page, recommend, sessions, storage};

/// Maximum size of a request body in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Minimum size of a response body that is compressed if the client asks for it.
const MIN_COMPRESSED_BYTES: u16 = 1 << 10;

/// State shared by all requests.
pub(crate) struct App {
    engine: OnceLock<Engine>,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) experiment: RunningExperiment,
    /// A second run, if there is one.
    pub(crate) candidate: Option<Candidate>,
    /// Directory of back-ups, if they are written.
    pub(crate) backups: Option<PathBuf>,
    pub(crate) metrics: Metrics,
    pub(crate) permits: Semaphore,
    max_requests: usize,
    pub(crate) timeout: Duration,
    pub(crate) keys: Keys,
    /// The OpenAPI document as JSON.
    pub(crate) openapi: String,
    /// Changes of the items' properties.
    pub(crate) changes: Arc<dyn ChangeStore>,
}

impl App {
    /// State of a server that handles at most `max_requests` requests at once; not ready yet.
    pub(crate) fn new(
        max_requests: usize,
        timeout: Duration,
        keys: Keys,
        (sessions, changes, experiment): (
            Arc<dyn SessionStore>,
            Arc<dyn ChangeStore>,
            RunningExperiment,
        ),
    ) -> Self {
        Self {
            engine: OnceLock::new(),
            sessions,
            experiment,
            candidate: None,
            backups: None,
            metrics: Metrics::default(),
            permits: Semaphore::new(max_requests),
            max_requests,
            timeout,
            keys,
            openapi: String::new(),
            changes,
        }
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

    /// The engine of the current model, or the candidate's; a problem if there is none.
    pub(crate) fn engine_of(&self, is_candidates: bool) -> Result<&Engine, Problem> {
        match &self.candidate {
            Some(candidate) if is_candidates => candidate.engine(),
            _ => self.engine(),
        }
    }

    /// The current model; a problem if none is loaded yet.
    pub(crate) fn model(&self) -> Result<Arc<LoadedModel>, Problem> {
        Ok(self.engine()?.model())
    }

    /// The current model and the candidate, those that are loaded.
    pub(crate) fn models(&self) -> Vec<Arc<LoadedModel>> {
        let mut models = Vec::new();
        models.extend(self.model().ok());
        if let Some(candidate) = &self.candidate {
            models.extend(candidate.engine().ok().map(Engine::model));
        }
        models
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

/// Routes that need the role ask if an API key is configured, with a load limit and a timeout.
fn ask_routes() -> Routes {
    Routes::new()
        .routes(routes!(catalogue::model))
        .routes(routes!(catalogue::items))
        .routes(routes!(items::item))
        .routes(routes!(items::denied))
        .routes(routes!(recommend::recommend))
        .routes(routes!(recommend::recommend_batch))
        .routes(routes!(sessions::recommend))
}

/// Routes that need the role write if an API key is configured, with a load limit and a timeout.
fn write_routes() -> Routes {
    Routes::new()
        .routes(routes!(sessions::add_events))
        .routes(routes!(sessions::delete))
        .routes(routes!(events::add_events))
        .routes(routes!(items::patch_items))
        .routes(routes!(items::patch_item))
        .routes(routes!(items::deny, items::allow))
}

/// Routes that need a configured API key with the role admin; without load limit and timeout.
fn admin_routes() -> Routes {
    Routes::new()
        .routes(routes!(admin::reload))
        .routes(routes!(candidate::shadow_report))
        .routes(routes!(storage::backup))
        .routes(routes!(storage::erase))
}

/// OpenAPI document of all routes, published under a path prefix, if any.
pub(crate) fn openapi_document(prefix: Option<&PathPrefix>) -> OpenApi {
    let described = Routes::with_openapi(openapi::base(prefix))
        .merge(open_routes())
        .merge(openapi::with_role(ask_routes(), Role::Ask))
        .merge(openapi::with_role(write_routes(), Role::Write))
        .merge(openapi::with_role(admin_routes(), Role::Admin));
    described.into_openapi()
}

/// The service: all routes with their middleware.
pub(crate) fn router(app: &Arc<App>, origins: &[CorsOrigin]) -> Router {
    let admit = |role| {
        let app = Arc::clone(app);
        from_fn_with_state(Admission { app, role }, guard::admit)
    };
    let limit_load = from_fn_with_state(Arc::clone(app), guard::limit_load);
    let ask = Router::from(ask_routes())
        .route_layer(limit_load.clone())
        .route_layer(admit(Role::Ask));
    let write = Router::from(write_routes())
        .route_layer(limit_load)
        .route_layer(admit(Role::Write));
    let admin = Router::from(admin_routes()).route_layer(admit(Role::Admin));
    let compression = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES));
    let mut router = Router::from(open_routes())
        .merge(ask)
        .merge(write)
        .merge(admin)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(compression);
    if let Some(cors) = cors::layer(origins) {
        router = router.layer(cors);
    }
    router
        .layer(from_fn(guard::no_sniff))
        .layer(from_fn_with_state(Arc::clone(app), guard::observe))
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
