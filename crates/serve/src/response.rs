//! JSON body of a recommendation.

use prl_engine::{PromptUsed, RecommendResponse, Recommendation};
use serde::Serialize;
use utoipa::ToSchema;

/// Recommendations for one session.
#[derive(Serialize, ToSchema)]
#[schema(as = RecommendResponse)]
pub(crate) struct ResponseBody {
    /// Recommended items, best first.
    items: Vec<ScoredItem>,
    /// Ids of the session that are not in the catalogue; they were skipped.
    unknown_items: Vec<String>,
    /// The prompt and the target return given to the model; absent for a model without a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    prompt: Option<PromptUsed>,
    /// Name of the model: the first 12 digits of the SHA-256 of its weights.
    model: String,
    /// True if no item of the session is in the catalogue: the model ran on the empty state.
    cold: bool,
}

/// A recommended item.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScoredItem {
    /// Raw item id.
    item: String,
    /// Logit of the model; comparable within one response only.
    score: f32,
}

impl From<RecommendResponse> for ResponseBody {
    fn from(response: RecommendResponse) -> Self {
        let mut items = Vec::with_capacity(response.answer.items.len());
        for Recommendation { item, score } in response.answer.items {
            items.push(ScoredItem { item, score });
        }
        Self {
            items,
            unknown_items: response.answer.unknown_items,
            prompt: response.answer.prompt,
            model: response.model,
            cold: response.cold,
        }
    }
}
