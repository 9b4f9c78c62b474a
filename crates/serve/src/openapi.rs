//! Parts of the OpenAPI document that no single handler owns: general description, security scheme,
//! shared problem response, and the sets of problem responses of a route.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr,
    ResponseBuilder, ServerBuilder,
};
use utoipa_axum::router::OpenApiRouter;

use crate::keys::Role;
use crate::problem::ProblemDocument;
use crate::web::prefix::PathPrefix;

/// Name of the security scheme and of the shared problem response.
const KEY: &str = "key";
const PROBLEM: &str = "Problem";

/// The document without its paths, published under a path prefix, if any.
pub(crate) fn base(prefix: Option<&PathPrefix>) -> OpenApi {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Required if the server was started with API keys. The scopes of a route name the role that \
             the key needs."))
        .build();
    let retry_after = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
        .description(Some(
            "Seconds until a retry; sent with the statuses 429 and 503.",
        ))
        .build();
    let problem = ResponseBuilder::new()
        .description("Problem document (RFC 9457)")
        .header("Retry-After", retry_after)
        .content(
            "application/problem+json",
            Content::new(Some(Ref::from_schema_name(PROBLEM))),
        )
        .build();
    let info = InfoBuilder::new().title("PRL").version("1").description(Some(
        "Session recommender that can be asked for value. Use one kind of target return at a time: \
         mu and eps, target_return, quantile, state_quantile, kappa, or max_return; tilt goes with \
         any. Bodies are limited to 1 MiB; unknown fields are rejected.",
    ));
    let url = prefix.map_or("/", PathPrefix::as_str);
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(url).build()]))
        .security(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new(KEY, [""; 0]),
        ]))
        .components(Some(
            ComponentsBuilder::new()
                .security_scheme(KEY, SecurityScheme::Http(key))
                .response(PROBLEM, problem)
                .schema_from::<ProblemDocument<'_>>()
                .build(),
        ))
        .build()
}

/// Names the role that routes need in their descriptions. Only the role admin needs a key even if
/// none is configured.
pub(crate) fn with_role<S>(mut routes: OpenApiRouter<S>, role: Role) -> OpenApiRouter<S>
where
    S: Send + Sync + Clone + 'static,
{
    let mut requirements = vec![SecurityRequirement::new(KEY, [role.name()])];
    if role != Role::Admin {
        requirements.insert(0, SecurityRequirement::default());
    }
    for item in routes.get_openapi_mut().paths.paths.values_mut() {
        for operation in operations(item) {
            operation.security = Some(requirements.clone());
        }
    }
    routes
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

/// References to the shared problem response by status code.
fn problems(codes: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let mut responses = BTreeMap::new();
    for code in codes {
        let problem = RefOr::Ref(Ref::from_response_name(PROBLEM));
        responses.insert(code.to_string(), problem);
    }
    responses
}

/// Problems of a route that needs the loaded model.
pub(crate) struct ModelProblems;

impl IntoResponses for ModelProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[503])
    }
}

/// Problems of a route with API key, load limit and timeout.
pub(crate) struct GuardProblems;

impl IntoResponses for GuardProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[401, 403, 429, 503, 504])
    }
}

/// Problems of a route with query parameters.
pub(crate) struct QueryProblems;

impl IntoResponses for QueryProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[422])
    }
}

/// Problems of a route with a JSON body.
pub(crate) struct BodyProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[400, 413, 415, 422])
    }
}

/// Problems of a route about one stored session.
pub(crate) struct SessionProblems;

impl IntoResponses for SessionProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[404])
    }
}

/// Problems of a route about one item.
pub(crate) struct ItemProblems;

impl IntoResponses for ItemProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[404, 422])
    }
}

/// Problems of a route that needs the log of events.
pub(crate) struct LogProblems;

impl IntoResponses for LogProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[403])
    }
}

/// Problems of an administration route.
pub(crate) struct AdminProblems;

impl IntoResponses for AdminProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[401, 403, 429, 503])
    }
}
