//! Recommendations for a session that was never in training, by raw item ids.

use prl_core::{PromptPosition, PromptSpec, Prompts};
use prl_dataset::{Event, Kind, Windows, return_so_far};
use prl_items::LiveItems;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::forecast::Forecast;
use crate::recommender::Recommender;
use crate::run_dir::Run;

/// One recommended item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// Its raw id.
    pub item: String,
    /// The model's score, comparable within one list: a logit, or a blend's probability.
    pub score: f32,
    /// Values of the properties that the request asks for, by column; those that the item has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Map<String, Value>>,
}

/// Recommendations for one session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendations {
    /// Best first.
    pub items: Vec<Recommendation>,
    /// Raw ids of the session that are not in the catalogue; they were skipped.
    pub unknown_items: Vec<String>,
    /// Excluded raw ids that are not in the catalogue; they had no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_exclude: Vec<String>,
    /// Allowed raw ids that are not in the catalogue; they had no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_allow: Vec<String>,
    /// The prompt; absent for a model without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptUsed>,
    /// Forecast of the return of the rest of the session, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

/// The prompt of a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PromptUsed {
    /// The request.
    #[serde(flatten)]
    pub ask: PromptSpec,
    /// The time step: number of events so far.
    pub step: u32,
    /// The target return that was fed, in the model's unit.
    pub value: f64,
    /// Mean return of the training sessions from this step on.
    pub mean_return: f64,
}

impl PromptUsed {
    /// The prompt as a response shows it: absent where it has no effect, since the model takes no
    /// return and nothing is tilted.
    pub fn of_model(self, is_prompted: bool) -> Option<Self> {
        (is_prompted || self.ask.tilt != 0.0).then_some(self)
    }
}

/// A session in item indices, and the prompt for its next item.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionState {
    /// Indices of the items in the catalogue, oldest first.
    pub item_indices: Vec<u32>,
    /// Kinds of their events.
    pub kinds: Vec<Kind>,
    /// Raw ids that are not in the catalogue.
    pub unknown_items: Vec<String>,
    /// The prompt to feed.
    pub prompt: PromptUsed,
}

impl Run {
    /// The state after a session, oldest event first. Unknown ids are listed and skipped; `case`
    /// seeds the draw of eps.
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
                return_of_state: 0.0,
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
            kinds,
            unknown_items,
            prompt,
        }
    }

    /// Ranked items with their raw ids.
    pub fn name(&self, top: &[(u32, f32)]) -> Vec<Recommendation> {
        let name = |&(i, score): &(u32, f32)| {
            Some(Recommendation {
                item: self.items().raw(i)?.to_owned(),
                score,
                properties: None,
            })
        };
        top.iter().filter_map(name).collect()
    }

    /// Ranked items with their raw ids and the properties in these columns.
    pub fn name_with(
        &self,
        items: &LiveItems,
        properties: &[String],
        top: &[(u32, f32)],
    ) -> Vec<Recommendation> {
        let mut named = self.name(top);
        if !properties.is_empty() {
            for (recommendation, &(item, _)) in named.iter_mut().zip(top) {
                recommendation.properties = Some(items.properties(item, Some(properties)));
            }
        }
        named
    }

    /// The `k` best items after a session, oldest event first. Unknown ids are listed and skipped;
    /// an empty session is the empty state.
    ///
    /// # Errors
    /// If the prompt needs a forecast, which [`Responder`](crate::Responder) makes, or the model
    /// fails.
    pub fn recommend(
        &self,
        model: &Recommender,
        session: &[Event<impl AsRef<str>>],
        ask: PromptSpec,
        k: usize,
    ) -> Result<Recommendations> {
        if ask.target.needs_forecast() {
            let what = "a target return of the state is answered by a responder alone";
            return Err(Error::Config(what.into()));
        }
        let SessionState {
            item_indices,
            kinds,
            unknown_items,
            prompt,
        } = self.state(session, ask, 0);
        let mut windows = Windows::new(self.config().model.window);
        windows.push_events(&item_indices, &kinds, self.items().len() as u32);
        let prompts = Prompts {
            returns: vec![prompt.value],
            steps: vec![prompt.step],
            tilt: ask.tilt,
        };
        let ranking = model.rank(&windows, &prompts, None, k)?;
        let items = ranking
            .top
            .first()
            .map_or_else(Vec::new, |top| self.name(top));
        Ok(Recommendations {
            items,
            unknown_items,
            unknown_exclude: Vec::new(),
            unknown_allow: Vec::new(),
            prompt: prompt.of_model(model.is_prompted()),
            forecast: None,
        })
    }
}
