//! What is asked of the engine, and what it answers.

use prl_core::PromptSpec;
use serde::Serialize;

/// An event of a session, by raw item id.
pub type Event = prl_runs::Event<Box<str>>;

/// A session, and what is asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecommendRequest {
    /// The session, oldest event first.
    pub session: Vec<Event>,
    /// What the rest of it is to be worth.
    pub ask: PromptSpec,
    /// Numbers the draw of eps: the same case draws the same.
    pub case: u64,
    /// How many items to recommend.
    pub k: usize,
    /// Which items may be recommended.
    pub filter: Filter,
}

/// Which items may be recommended. Ids that the model does not know change nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// None of the session's own.
    pub exclude_seen: bool,
    /// None of these.
    pub exclude: Vec<String>,
    /// Only these.
    pub allow: Option<Vec<String>>,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecommendResponse {
    /// Items, unknown items, and the prompt.
    #[serde(flatten)]
    pub answer: prl_runs::Recommendations,
    /// The model that answered: the first 12 digits of its weights' SHA-256.
    pub model: String,
    /// Whether no item of the session was known, so that the answer is the empty state's.
    pub cold: bool,
}
