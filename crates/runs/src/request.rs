//! Recommendation requests: one grammar for HTTP bodies, lines, flags and tables.
//!
//! [`RequestFields`] is a request as its sender writes it; [`RequestFields::resolve`] checks it and
//! yields a [`RecommendRequest`]. Errors name the field and the value that it takes.

mod ask;
mod conditions;
mod fields;
mod json;
#[cfg(feature = "openapi")]
mod schema;

use std::fmt;

use prl_core::PromptSpec;
use prl_dataset::Kind;
use prl_items::{FilterError, Where};

pub use fields::RequestFields;
pub use json::{FromJson, Json, JsonFields};
#[cfg(feature = "openapi")]
pub use schema::event_kinds;

use prl_dataset::Event;

/// Maximum number of recommended items.
pub const MAX_K: usize = 1_000;
/// Default number of recommended items.
pub const DEFAULT_K: usize = 20;
/// Maximum number of items in a session.
pub const MAX_ITEMS: usize = 8_000;
/// Maximum number of excluded items.
pub const MAX_EXCLUDED: usize = 1_000;
/// Maximum number of allowed items.
pub const MAX_ALLOWED: usize = 10_000;
/// Maximum number of properties in a response.
pub const MAX_PROPERTIES: usize = 256;
/// Maximum length of an id in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Maximum magnitude of a number in a prompt. Larger target returns are meaningless, and much
/// larger ones overflow in the scores.
pub const MAX_PROMPT: f64 = 1e6;

/// Maximum magnitude of a tilt. Long before, a list holds the most bought items and nothing else.
pub const MAX_TILT: f64 = 100.0;

/// A request for the next items of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct RecommendRequest {
    /// The session, oldest event first.
    pub session: Vec<Event<Box<str>>>,
    /// The prompt: target return of the rest of the session.
    pub prompt: PromptSpec,
    /// Seed of the random draw of `eps`; equal cases give equal draws.
    pub case: u64,
    /// Number of items to recommend.
    pub k: usize,
    /// Whether the response contains a forecast of the return.
    pub forecast: bool,
    /// Restriction of the items that may be recommended.
    pub filter: Filter,
    /// Properties that the response has of each item, by column.
    pub properties: Vec<String>,
}

/// Restriction of the recommended items, by raw id. Ids outside the catalogue are reported and have
/// no effect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Excludes the session's own items.
    pub exclude_seen: bool,
    /// Excludes these items.
    pub exclude: Vec<String>,
    /// Allows these items only.
    pub allow: Option<Vec<String>>,
    /// Allows the items with these properties only.
    pub conditions: Where,
}

/// A request that is not one, or a field with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRequest(String);

impl InvalidRequest {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A value that is not one of the expected ones.
    pub fn value(expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self(format!("expected {expected}, found {found}"))
    }

    /// A field with a value that it does not take.
    pub fn field(name: &str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self(format!("{name}: expected {expected}, found {found}"))
    }

    /// The error with its place in the input before it.
    pub fn within(self, place: &str) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl From<FilterError> for InvalidRequest {
    fn from(error: FilterError) -> Self {
        Self(error.to_string())
    }
}

/// A raw item id as text; a JSON integer is read as its decimal digits.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Id(pub String);

impl FromJson for Id {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        match json {
            Json::Text(id) => Ok(Self(id)),
            Json::Number(n) if n.is_u64() => Ok(Self(n.to_string())),
            found => {
                let expected = "an item id: a string, or a non-negative whole number";
                Err(InvalidRequest::value(expected, found))
            }
        }
    }
}

impl FromJson for Kind {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        if let Json::Text(text) = &json {
            for kind in [Kind::Click, Kind::Purchase] {
                if kind.name() == text {
                    return Ok(kind);
                }
            }
        }
        Err(InvalidRequest::value("click or purchase", json))
    }
}

/// Rejects a list with more than `max` ids or with an id that is too long.
///
/// # Errors
/// [`InvalidRequest`] with the name of the list and the place in it.
pub fn check_ids<'a>(
    name: &str,
    ids: impl IntoIterator<Item = &'a Id>,
    max: usize,
) -> Result<(), InvalidRequest> {
    let (mut n, mut too_long) = (0, None);
    for Id(id) in ids {
        if id.len() > MAX_ID_BYTES && too_long.is_none() {
            too_long = Some(n);
        }
        n += 1;
    }
    if n > max {
        return Err(InvalidRequest(format!(
            "{name} holds {n} ids; at most {max} are allowed"
        )));
    }
    match too_long {
        Some(at) => Err(InvalidRequest(format!(
            "{name}[{at}] is longer than {MAX_ID_BYTES} bytes"
        ))),
        None => Ok(()),
    }
}
