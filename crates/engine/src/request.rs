//! Requests to the engine and their responses.

use prl_core::PromptSpec;
use serde::Serialize;

/// An event of a session, by raw item id.
pub type Event = prl_runs::Event<Box<str>>;

/// A request for the next items of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct RecommendRequest {
    /// The session, oldest event first.
    pub session: Vec<Event>,
    /// The prompt: target return of the rest of the session.
    pub prompt: PromptSpec,
    /// Seed of the random draw of `eps`; equal cases give equal draws.
    pub case: u64,
    /// Number of items to recommend.
    pub k: usize,
    /// Restriction of the items that may be recommended.
    pub filter: Filter,
}

/// Restriction of the recommended items, by raw id. Ids outside the catalogue are ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Excludes the session's own items.
    pub exclude_seen: bool,
    /// Excludes these items.
    pub exclude: Vec<String>,
    /// Allows these items only.
    pub allow: Option<Vec<String>>,
}

/// The response to a [`RecommendRequest`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecommendResponse {
    /// Recommended items, ids outside the catalogue, and the prompt.
    #[serde(flatten)]
    pub answer: prl_runs::Recommendations,
    /// The model's name: the first 12 digits of the SHA-256 of its weights.
    pub model: String,
    /// True if no item of the session is in the catalogue: the model ran on the empty state.
    pub cold: bool,
}
