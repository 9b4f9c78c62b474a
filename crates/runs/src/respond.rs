//! Responses to recommendation requests, in batches.

use std::sync::Arc;

use prl_core::Prompts;
use prl_dataset::Windows;
use prl_items::{ItemMask, LiveItems};
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TopKRequest};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::Result;
use crate::forecast::Forecast;
use crate::inference::InferenceModel;
use crate::recommend::{Recommendations, SessionState};
use crate::recommender::Recommender;
use crate::request::{Filter, InvalidRequest, RecommendRequest};
use crate::run_dir::Run;

/// Column by which items are hidden by default: those whose value is false.
pub const AVAILABLE: &str = "available";

/// The response to a [`RecommendRequest`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecommendResponse {
    /// Recommended items, ids outside the catalogue, and the prompt.
    #[serde(flatten)]
    pub answer: Recommendations,
    /// The model's name: the first 12 digits of the SHA-256 of its weights.
    pub model: String,
    /// True if no item of the session is in the catalogue: the model ran on the empty state.
    pub cold: bool,
}

/// Item indices that a response may contain; both lists of indices are ascending and without
/// duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    /// The only items that may be recommended; `None` allows all that are not excluded.
    allowed: Option<Vec<u32>>,
    /// Items that are not recommended; already removed from `allowed`.
    excluded: Vec<u32>,
    /// Items that the properties allow; `None` allows all, and if `allowed` holds them already.
    mask: Option<Arc<ItemMask>>,
    /// Excluded raw ids that are not in the catalogue.
    pub unknown_exclude: Vec<String>,
    /// Allowed raw ids that are not in the catalogue.
    pub unknown_allow: Vec<String>,
}

impl Candidates {
    /// The filter to rank with.
    pub fn filter(&self) -> ItemFilter<'_> {
        match (&self.allowed, &self.mask) {
            (Some(items), _) => ItemFilter::Allow(items),
            (None, None) => ItemFilter::Exclude(&self.excluded),
            (None, Some(mask)) => match mask.few() {
                Some(items) => ItemFilter::Allow(items),
                None => ItemFilter::Mask {
                    words: mask.words(),
                    except: &self.excluded,
                },
            },
        }
    }
}

impl RecommendRequest {
    /// Fails for conditions and properties that the items have not.
    ///
    /// # Errors
    /// [`InvalidRequest`] with the columns of the items.
    pub fn check_properties(&self, items: &LiveItems) -> std::result::Result<(), InvalidRequest> {
        items.check(&self.filter.conditions)?;
        Ok(items.check_columns("properties", &self.properties)?)
    }
}

impl Run {
    /// Resolves a filter to item indices, given the properties of the items and the indices of the
    /// session's own items.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a condition that the items cannot be filtered by.
    pub fn candidates(
        &self,
        items: &LiveItems,
        filter: &Filter,
        seen: &[u32],
    ) -> std::result::Result<Candidates, InvalidRequest> {
        let mask = items.mask(&filter.conditions)?;
        let (mut excluded, unknown_exclude) = self.indices(&filter.exclude);
        if filter.exclude_seen {
            excluded.extend(seen);
            sort_unique(&mut excluded);
        }
        let (mut allowed, mut unknown_allow) = (None, Vec::new());
        if let Some(allow) = &filter.allow {
            let (mut items, unknown) = self.indices(allow);
            if let Some(mask) = &mask {
                items.retain(|&item| mask.contains(item));
            }
            items.retain(|item| excluded.binary_search(item).is_err());
            (allowed, unknown_allow) = (Some(items), unknown);
        } else if !excluded.is_empty()
            && let Some(few) = mask.as_ref().and_then(|mask| mask.few())
        {
            let mut items = few.to_vec();
            items.retain(|item| excluded.binary_search(item).is_err());
            allowed = Some(items);
        }
        Ok(Candidates {
            mask: mask.filter(|_| allowed.is_none()),
            allowed,
            excluded,
            unknown_exclude,
            unknown_allow,
        })
    }

    /// Indices of raw ids, ascending and without duplicates, and the ids outside the catalogue.
    fn indices(&self, ids: &[String]) -> (Vec<u32>, Vec<String>) {
        let (mut indices, mut unknown) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            match self.items().index(id) {
                Some(index) => indices.push(index),
                None => unknown.push(id.clone()),
            }
        }
        sort_unique(&mut indices);
        (indices, unknown)
    }
}

fn sort_unique(items: &mut Vec<u32>) {
    items.sort_unstable();
    items.dedup();
}

/// A run that answers requests. A response does not depend on the batch.
pub struct Responder {
    run: Run,
    model: InferenceModel,
    items: LiveItems,
    name: String,
}

impl Responder {
    /// Prepares a run's recommender to answer.
    ///
    /// # Errors
    /// If the weights cannot be read.
    pub fn new(run: Run, recommender: Recommender) -> Result<Self> {
        Ok(Self {
            model: InferenceModel::of_run(&run, recommender)?,
            name: run.model_name()?,
            items: LiveItems::new(run.item_table()?, AVAILABLE),
            run,
        })
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Fails if the model cannot answer a request with its prompt.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a tilt without a model that can be tilted, and for properties that the
    /// items have not.
    pub fn check(&self, request: &RecommendRequest) -> std::result::Result<(), InvalidRequest> {
        self.model.check(request)?;
        request.check_properties(&self.items)
    }

    /// The responses to requests, in their order, from one ranking over all items.
    ///
    /// # Errors
    /// If the model fails or a score is not finite.
    pub fn respond(&self, requests: &[RecommendRequest]) -> Result<Vec<RecommendResponse>> {
        let one = |request: &RecommendRequest| self.prepare(request);
        let prepared: Vec<Prepared> = requests.par_iter().map(one).collect::<Result<_>>()?;
        let items = self.run.items().len();
        let mut windows = Windows::new(self.run.config().model.window);
        let (mut prompts, mut tilts) = (Prompts::default(), Vec::with_capacity(requests.len()));
        let mut wanted = Vec::with_capacity(requests.len());
        for (
            Prepared {
                state, candidates, ..
            },
            request,
        ) in prepared.iter().zip(requests)
        {
            windows.push_events(&state.item_indices, &state.kinds, items as u32);
            prompts.returns.push(state.prompt.value);
            prompts.steps.push(state.prompt.step);
            tilts.push(state.prompt.ask.tilt);
            wanted.push(TopKRequest {
                k: request.k.min(items),
                filter: candidates.filter(),
            });
        }
        let tops = self.model.top(&windows, &prompts, &tilts, &wanted)?;
        drop(wanted);
        let one = |((prepared, request), top): ((Prepared, &RecommendRequest), TopK<f32>)| {
            self.response(prepared, &request.properties, &top)
        };
        let prepared = prepared.into_par_iter().zip(requests);
        Ok(prepared.zip(tops).map(one).collect())
    }

    fn prepare(&self, request: &RecommendRequest) -> Result<Prepared> {
        let mut state = self
            .run
            .state(&request.session, request.prompt, request.case);
        let forecast = self.model.forecast(&self.run, request, &mut state)?;
        let seen = &state.item_indices;
        let candidates = self.run.candidates(&self.items, &request.filter, seen)?;
        Ok(Prepared {
            state,
            candidates,
            forecast,
        })
    }

    fn response(
        &self,
        prepared: Prepared,
        properties: &[String],
        top: &[(u32, f32)],
    ) -> RecommendResponse {
        let Prepared {
            state,
            candidates,
            forecast,
        } = prepared;
        RecommendResponse {
            answer: Recommendations {
                items: self.run.name_with(&self.items, properties, top),
                unknown_items: state.unknown_items,
                unknown_exclude: candidates.unknown_exclude,
                unknown_allow: candidates.unknown_allow,
                prompt: state.prompt.of_model(self.model.is_prompted()),
                forecast,
            },
            model: self.name.clone(),
            cold: state.item_indices.is_empty(),
        }
    }
}

/// A request in item indices.
struct Prepared {
    state: SessionState,
    candidates: Candidates,
    forecast: Option<Forecast>,
}
