//! Access from browsers' pages of other origins (CORS).

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::web::context::REQUEST_ID;

/// Time for which a browser may keep the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Origin whose pages may call the server: `https://shop.example`, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsOrigin(HeaderValue);

/// Text that is no [`CorsOrigin`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin: expected * or SCHEME://HOST[:PORT] as https://shop.example")]
pub struct InvalidOrigin(String);

impl FromStr for CorsOrigin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let invalid = || InvalidOrigin(text.to_owned());
        // Browsers send origins in lower case.
        let origin = text.to_ascii_lowercase();
        let value = HeaderValue::from_str(&origin).map_err(|_| invalid())?;
        if origin == "*" {
            return Ok(Self(value));
        }
        let (scheme, authority) = origin.split_once("://").ok_or_else(invalid)?;
        let uri: Uri = origin.parse().map_err(|_| invalid())?;
        let is_web = matches!(scheme, "http" | "https");
        // An origin with a path, a user or a trailing slash never equals what a browser sends.
        let is_bare = uri.authority().is_some_and(|found| found == authority);
        if !is_web || !is_bare || authority.contains(['@', '*']) {
            return Err(invalid());
        }
        Ok(Self(value))
    }
}

/// The layer that answers preflights, without a key, and names the allowed origin in every
/// response. Credentials (cookies) are never allowed: a key is sent as a header.
pub(crate) fn layer(origins: &[CorsOrigin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let mut values = Vec::with_capacity(origins.len());
    let mut is_any = false;
    for origin in origins {
        is_any |= origin.0 == "*";
        values.push(origin.0.clone());
    }
    let allowed = if is_any {
        AllowOrigin::from(Any)
    } else {
        AllowOrigin::list(values)
    };
    let request_headers = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        REQUEST_ID,
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
    ];
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods(methods)
            .allow_headers(request_headers)
            .expose_headers([REQUEST_ID, header::RETRY_AFTER])
            .max_age(MAX_AGE),
    )
}

#[cfg(test)]
mod tests {
    use super::CorsOrigin;

    #[test]
    fn origin_text_is_checked() {
        for text in [
            "*",
            "https://shop.example",
            "http://127.0.0.1:3000",
            "HTTPS://Shop.example",
        ] {
            let origin: CorsOrigin = text.parse().unwrap();
            assert_eq!(origin.0, text.to_ascii_lowercase());
        }
        for text in [
            "",
            "null",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://*.shop.example",
            "https://user@shop.example",
            "ftp://shop.example",
            "https://",
        ] {
            assert!(text.parse::<CorsOrigin>().is_err(), "{text}");
        }
    }
}
