//! What every request shares, and the table of routes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post};
use prl_engine::{Engine, LoadedModel, SessionStore};
use tokio::sync::Semaphore;

use crate::guard::{self, ApiKey};
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemKind};
use crate::{admin, catalogue, health, page, recommend, sessions};

/// Bytes of a body.
pub const MAX_BODY: usize = 1 << 20;

/// What every request shares.
pub(crate) struct App {
    engine: OnceLock<Engine>,
    pub(crate) sessions: SessionStore,
    pub(crate) metrics: Metrics,
    pub(crate) permits: Semaphore,
    requests: usize,
    pub(crate) timeout: Duration,
    pub(crate) key: Option<ApiKey>,
}

impl App {
    pub(crate) fn new(
        requests: usize,
        timeout: Duration,
        key: Option<ApiKey>,
        sessions: SessionStore,
    ) -> Self {
        let (engine, metrics, permits) = (
            OnceLock::new(),
            Metrics::default(),
            Semaphore::new(requests),
        );
        Self {
            engine,
            sessions,
            metrics,
            permits,
            requests,
            timeout,
            key,
        }
    }

    /// Begins to answer.
    pub(crate) fn ready(&self, engine: Engine) {
        // Called once; a second engine would be dropped, the first stays.
        _ = self.engine.set(engine);
    }

    /// Requests that are let in now.
    pub(crate) fn in_flight(&self) -> usize {
        self.requests - self.permits.available_permits()
    }

    /// The engine, once it is warm.
    pub(crate) fn engine(&self) -> Result<&Engine, Problem> {
        self.engine
            .get()
            .ok_or_else(|| Problem::new(ProblemKind::NotReady, "ask /health/ready when it is"))
    }

    /// The model in service.
    pub(crate) fn live(&self) -> Result<Arc<LoadedModel>, Problem> {
        Ok(self.engine()?.live())
    }
}

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Anybody, at any load.
    Open,
    /// Who knows the key, if there is one, while the server has room and time.
    Guarded,
    /// Who knows the key, which there must be; it may take its time.
    Admin,
}

/// Every route: its method, its path, who may use it, and what answers.
fn routes() -> Vec<(&'static str, &'static str, Gate, MethodRouter<Arc<App>>)> {
    vec![
        ("get", "/", Gate::Open, get(page::page)),
        ("get", "/openapi.json", Gate::Open, get(page::openapi)),
        ("get", "/health/live", Gate::Open, get(health::live)),
        ("get", "/health/ready", Gate::Open, get(health::ready)),
        ("get", "/metrics", Gate::Open, get(health::metrics)),
        ("get", "/v1/model", Gate::Guarded, get(catalogue::model)),
        ("get", "/v1/items", Gate::Guarded, get(catalogue::items)),
        ("post", "/v1/recommend", Gate::Guarded, post(recommend::one)),
        (
            "post",
            "/v1/recommend/batch",
            Gate::Guarded,
            post(recommend::batch),
        ),
        (
            "post",
            "/v1/sessions/{id}/events",
            Gate::Guarded,
            post(sessions::events),
        ),
        (
            "post",
            "/v1/sessions/{id}/recommend",
            Gate::Guarded,
            post(sessions::recommend),
        ),
        (
            "delete",
            "/v1/sessions/{id}",
            Gate::Guarded,
            delete(sessions::forget),
        ),
        ("post", "/v1/admin/reload", Gate::Admin, post(admin::reload)),
    ]
}

/// The whole service.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let behind = |gate: Gate| {
        let chosen = routes().into_iter().filter(|route| route.2 == gate);
        chosen.fold(Router::new(), |router, (_, path, _, answer)| {
            router.route(path, answer)
        })
    };
    let guarded = behind(Gate::Guarded)
        .route_layer(from_fn_with_state(Arc::clone(app), guard::key))
        .route_layer(from_fn_with_state(Arc::clone(app), guard::admit));
    let admin = behind(Gate::Admin).route_layer(from_fn_with_state(Arc::clone(app), guard::admin));
    behind(Gate::Open)
        .merge(guarded)
        .merge(admin)
        .fallback(|| async {
            Problem::new(ProblemKind::NotFound, "see /openapi.json for what there is")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                ProblemKind::WrongMethod,
                "see /openapi.json for what there is",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(app), guard::observe))
        .layer(from_fn(guard::safe))
        .with_state(Arc::clone(app))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::routes;
    use crate::page::OPENAPI;

    #[test]
    fn the_openapi_document_names_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut named = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            named.extend(
                methods
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(|method| (method.clone(), path.clone())),
            );
        }
        let there: BTreeSet<_> = routes()
            .into_iter()
            .map(|(method, path, ..)| (method.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(named, there);
    }
}
