//! Path prefix under which a reverse proxy publishes the server.

use std::str::FromStr;

use axum::body::Body;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};

/// Path prefix as `/prl`: begins with a slash and does not end with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix(String);

/// Text that is no [`PathPrefix`].
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no path prefix: expected segments of letters, digits, - and _, as /shop/prl")]
pub struct InvalidPrefix(String);

impl FromStr for PathPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let invalid = || InvalidPrefix(text.to_owned());
        let path = text.strip_suffix('/').unwrap_or(text);
        let segments = path.strip_prefix('/').ok_or_else(invalid)?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        for segment in segments.split('/') {
            if segment.is_empty() || !segment.chars().all(is_allowed) {
                return Err(invalid());
            }
        }
        Ok(Self(path.to_owned()))
    }
}

impl PathPrefix {
    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Removes the prefix from the path of a request, where it is there: a proxy may have removed
    /// it already. The prefix alone is redirected to itself with a slash, as the page's relative
    /// URLs need it.
    pub(crate) fn strip<B>(&self, request: &mut Request<B>) -> Option<Response<Body>> {
        let uri = request.uri();
        let rest = uri.path().strip_prefix(&self.0)?;
        if rest.is_empty() {
            return Some(self.with_slash(uri.query()));
        }
        if !rest.starts_with('/') {
            return None;
        }
        let stripped = match uri.query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let mut parts = uri.clone().into_parts();
        // What follows the prefix of a valid path is valid.
        parts.path_and_query = stripped.parse::<PathAndQuery>().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        None
    }

    fn with_slash(&self, query: Option<&str>) -> Response<Body> {
        let mut target = format!("{}/", self.0);
        if let Some(query) = query {
            target = format!("{target}?{query}");
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        if let Ok(target) = HeaderValue::from_str(&target) {
            response.headers_mut().insert(header::LOCATION, target);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Request, header};

    use super::PathPrefix;

    #[test]
    fn prefix_text_is_checked() {
        for text in ["/prl", "/shop/prl-1", "/prl/"] {
            let prefix: PathPrefix = text.parse().unwrap();
            assert_eq!(prefix.as_str(), text.trim_end_matches('/'));
        }
        for text in [
            "", "/", "prl", "//", "/a//b", "/../x", "/a?b", "/a b", "/%41",
        ] {
            assert!(text.parse::<PathPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefix_is_removed_at_segment_boundaries_only() {
        let prefix: PathPrefix = "/prl".parse().unwrap();
        let stripped = |uri: &str| {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            let redirect = prefix.strip(&mut request);
            let location = redirect.map(|r| r.headers()[header::LOCATION].clone());
            (request.uri().to_string(), location)
        };
        for (uri, expected) in [
            ("/prl/v1/items?limit=3", "/v1/items?limit=3"),
            ("/prl/", "/"),
            ("/v1/items", "/v1/items"),
            ("/prlx/v1", "/prlx/v1"),
            ("/prl/prl/v1", "/prl/v1"),
            ("http://host/prl/v1/model", "http://host/v1/model"),
        ] {
            assert_eq!(stripped(uri), (expected.to_owned(), None), "{uri}");
        }
        assert_eq!(stripped("/prl?mu=1").1.unwrap(), "/prl/?mu=1");
    }
}
