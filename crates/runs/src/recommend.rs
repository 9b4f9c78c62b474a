//! Recommendations for a session that was never in training, by raw item ids.

use prl_core::{PromptPosition, PromptSpec, Prompts};
use prl_dataset::{Kind, Windows, return_so_far};
use serde::Serialize;

use crate::error::Result;
use crate::recommender::Recommender;
use crate::run_dir::Run;

/// An event of a session, by raw item id; `Id` is an owned or borrowed string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<Id> {
    /// Its raw item id.
    pub item: Id,
    /// What the user did; it counts under sequence-wise prompting.
    pub kind: Kind,
}

impl<Id> Event<Id> {
    /// A click on an item.
    pub fn click(item: Id) -> Self {
        Self {
            item,
            kind: Kind::Click,
        }
    }
}

/// One recommended item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// Its raw id.
    pub item: String,
    /// The model's score: a logit, comparable within one answer.
    pub score: f32,
}

/// The answer to one session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendations {
    /// Best first.
    pub items: Vec<Recommendation>,
    /// Raw ids of the session that the model has never seen; they were skipped.
    pub unknown_items: Vec<String>,
    /// What was asked, and what the model was fed; absent for a model without a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptUsed>,
}

/// The prompt of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PromptUsed {
    /// What was asked.
    #[serde(flatten)]
    pub ask: PromptSpec,
    /// The step: events of the session so far.
    pub step: u32,
    /// The return that was fed, in the model's unit.
    pub value: f64,
    /// Mean return of the training sessions from this step on.
    pub mean_return: f64,
}

/// A session as the model knows it, and the prompt for what comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionState {
    /// Indices of the items that the model knows, oldest first.
    pub item_indices: Vec<u32>,
    /// Raw ids of the others.
    pub unknown_items: Vec<String>,
    /// What is asked, and what the model is to be fed.
    pub prompt: PromptUsed,
}

impl Run {
    /// The state after a session, oldest event first. Unknown ids are named and skipped; `case` numbers the draw of eps.
    pub fn state(
        &self,
        session: &[Event<impl AsRef<str>>],
        ask: PromptSpec,
        case: u64,
    ) -> SessionState {
        let (mut known, mut kinds, mut unknown_items) = (Vec::new(), Vec::new(), Vec::new());
        for event in session {
            match self.items().index(event.item.as_ref()) {
                Some(item) => {
                    known.push(item);
                    kinds.push(event.kind);
                }
                None => unknown_items.push(event.item.as_ref().to_owned()),
            }
        }
        let step = known.len() as u32;
        let given = return_so_far(&kinds, self.config().rewards, self.config().lambda);
        let prompts = self.prompts(
            ask,
            &[PromptPosition {
                step,
                return_so_far: given,
                discount_to_step: self.decay(step),
                case,
            }],
        );
        let prompt = PromptUsed {
            ask,
            step,
            value: prompts.returns[0],
            mean_return: self.returns().mean_at(step),
        };
        SessionState {
            item_indices: known,
            unknown_items,
            prompt,
        }
    }

    /// Ranked indices by their raw ids.
    pub fn name(&self, top: &[(u32, f32)]) -> Vec<Recommendation> {
        let name = |&(i, score): &(u32, f32)| {
            Some(Recommendation {
                item: self.items().raw(i)?.to_owned(),
                score,
            })
        };
        top.iter().filter_map(name).collect()
    }

    /// The `k` best items after a session, oldest event first. Unknown ids are named and skipped; an empty session is answered
    /// from the empty state.
    pub fn recommend(
        &self,
        model: &Recommender,
        session: &[Event<impl AsRef<str>>],
        ask: PromptSpec,
        k: usize,
    ) -> Result<Recommendations> {
        let SessionState {
            item_indices,
            unknown_items,
            prompt,
        } = self.state(session, ask, 0);
        let mut windows = Windows::new(self.config().model.window);
        windows.push(&item_indices, self.items().len() as u32);
        let prompts = Prompts {
            returns: vec![prompt.value],
            steps: vec![prompt.step],
        };
        let ranking = model.rank(&windows, &prompts, None, k)?;
        let items = ranking
            .top
            .first()
            .map_or_else(Vec::new, |top| self.name(top));
        Ok(Recommendations {
            items,
            unknown_items,
            prompt: model.is_prompted().then_some(prompt),
        })
    }
}
