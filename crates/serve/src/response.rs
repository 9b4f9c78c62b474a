//! JSON body of a recommendation.

use prl_engine::{Id, PromptUsed};
use serde::Serialize;
use utoipa::ToSchema;

use crate::experiment::LoggedAnswer;

/// Recommendations for one session.
#[derive(Serialize, ToSchema)]
#[schema(as = RecommendResponse)]
pub(crate) struct ResponseBody {
    /// Name of the session, as given in the request; absent if it gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    session: Option<Id>,
    /// Recommended items, best first.
    items: Vec<ScoredItem>,
    /// Ids of the session that are not in the catalogue; they were skipped.
    unknown_items: Vec<String>,
    /// Excluded ids that are not in the catalogue; they had no effect. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unknown_exclude: Vec<String>,
    /// Allowed ids that are not in the catalogue; they had no effect. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unknown_allow: Vec<String>,
    /// The prompt and the target return given to the model; absent for a model without a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    prompt: Option<PromptUsed>,
    /// Arm of the experiment that the session was assigned to, whose prompt this is; absent without
    /// an experiment, without a session, and if the request sets a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    arm: Option<String>,
    /// Probability of that arm; present if the arm is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, required = false)]
    p: Option<f64>,
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
    /// Values of the properties that the request asks for, by column; those that the item has.
    /// Absent if it asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, required = false)]
    properties: Option<serde_json::Map<String, serde_json::Value>>,
}

impl ResponseBody {
    /// The body of a response to the request that named this session.
    pub(crate) fn new(session: Option<Id>, logged: LoggedAnswer) -> Self {
        let (arm, p) = logged.arm().unzip();
        let response = logged.response;
        let answer = response.answer;
        let mut items = Vec::with_capacity(answer.items.len());
        for recommended in answer.items {
            items.push(ScoredItem {
                item: recommended.item,
                score: recommended.score,
                properties: recommended.properties,
            });
        }
        Self {
            session,
            items,
            unknown_items: answer.unknown_items,
            unknown_exclude: answer.unknown_exclude,
            unknown_allow: answer.unknown_allow,
            prompt: answer.prompt,
            arm,
            p,
            model: response.model,
            cold: response.cold,
        }
    }
}
