//! What a request carries through the server: its id.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};

/// Header with the id of a request, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum length of an id that a client gives.
const MAX_ID_LEN: usize = 128;

tokio::task_local! {
    /// Id of the request that the current task answers.
    static CURRENT_ID: Arc<str>;
}

/// Runs a future as part of the request with this id.
pub(crate) async fn within<F: Future>(id: Arc<str>, future: F) -> F::Output {
    CURRENT_ID.scope(id, future).await
}

/// Id of the request that the current task answers, if it answers one.
pub(crate) fn current_id() -> Option<Arc<str>> {
    CURRENT_ID.try_with(Arc::clone).ok()
}

/// The id that the client gives if it is safe to log, otherwise a random one.
pub(crate) fn request_id(headers: &HeaderMap) -> Arc<str> {
    if let Some(Ok(id)) = headers.get(REQUEST_ID).map(|value| value.to_str())
        && is_sane(id)
    {
        return id.into();
    }
    format!("{:032x}", u128::from_ne_bytes(random())).into()
}

/// Whether an id is short and of characters that need no escape in logs, JSON and URLs.
fn is_sane(id: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    (1..=MAX_ID_LEN).contains(&id.len()) && id.chars().all(is_allowed)
}

/// Random bytes of the operating system; zeros in the case, unknown on supported systems, that it
/// has none: ids need not be secret.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::debug!(%error, "no random bytes");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{REQUEST_ID, request_id};

    #[test]
    fn request_id_is_taken_only_if_sane() {
        let id_of = |given: &str| {
            let value = HeaderValue::from_str(given).unwrap();
            request_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        let longest = "x".repeat(128);
        for given in ["a", "0f3c-77:a_b.c", &longest] {
            assert_eq!(&*id_of(given), given);
        }
        for given in ["", "a b", "a\"b", "a/b", "<x>", &"x".repeat(129)] {
            let made = id_of(given);
            assert_eq!(made.len(), 32, "{given}");
            assert!(made.chars().all(|c| c.is_ascii_hexdigit()), "{made}");
        }
        assert_ne!(id_of(""), id_of(""));
    }
}
