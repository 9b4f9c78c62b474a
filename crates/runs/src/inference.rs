//! Inference for serving: the output layer is transposed once into a layout for small batches.
//!
//! On a CPU the lists are computed in that layout, with the same bits as [`Recommender::rank`]. On
//! other devices, and for baselines and blends, longer lists of [`Recommender::rank`] are filtered.

use std::sync::{Arc, Mutex, PoisonError};

use prl_core::{PromptPosition, Prompts};
use prl_dataset::Windows;
use prl_kernels::ops::top_k_serving::{
    FirstPass, ItemFilter, TopK, TopKRequest, TransposedItemMatrix,
};
use prl_model::Model;

use crate::error::{Error, Result};
use crate::forecast::{Forecast, Forecaster};
use crate::recommend::SessionState;
use crate::recommender::Recommender;
use crate::request::{InvalidRequest, RecommendRequest};
use crate::run_dir::{NO_FORECAST, Run};

/// Environment variable that leaves the first pass out; the lists are the same.
const FIRST_PASS: &str = "PRL_FIRST_PASS";
/// Tilted layouts that are kept: more than an experiment has arms.
const MAX_TILTED: usize = 16;

/// A recommender prepared for serving.
pub struct InferenceModel {
    recommender: Recommender,
    catalogue: Option<Arc<TransposedItemMatrix<f32>>>,
    forecaster: Option<Forecaster>,
    /// The layout with the bias of each tilt, by its bits, the latest last.
    tilted: Mutex<Vec<(u64, Arc<TransposedItemMatrix<f32>>)>>,
}

impl InferenceModel {
    /// Prepares the recommender of a run; on a CPU this makes a second copy of its output layer.
    ///
    /// # Errors
    /// If the run's forecast is damaged.
    pub fn of_run(run: &Run, recommender: Recommender) -> Result<Self> {
        Ok(Self {
            forecaster: run.forecaster()?,
            ..Self::new(recommender)?
        })
    }

    /// Prepares a recommender without a forecast.
    fn new(recommender: Recommender) -> Result<Self> {
        let catalogue = match &recommender {
            Recommender::Neural(model) => model.catalogue()?,
            Recommender::Baseline(_) | Recommender::Blend(_) => None,
        };
        let first_pass = first_pass()?;
        Ok(Self {
            recommender,
            catalogue: catalogue.map(|all| Arc::new(all.with_first_pass(first_pass))),
            forecaster: None,
            tilted: Mutex::default(),
        })
    }

    /// Whether its scores depend on a prompt.
    pub fn is_prompted(&self) -> bool {
        self.recommender.is_prompted()
    }

    /// Fails if the model cannot answer a request with its prompt.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a tilt without a model that can be tilted, and for what needs a
    /// forecast without one.
    pub fn check(&self, request: &RecommendRequest) -> std::result::Result<(), InvalidRequest> {
        let needs_forecast = request.forecast || request.prompt.target.needs_forecast();
        if needs_forecast && self.forecaster.is_none() {
            return Err(InvalidRequest::new(format!("the run has {NO_FORECAST}")));
        }
        if request.prompt.tilt == 0.0 {
            return Ok(());
        }
        let tilted = self.recommender.can_tilt();
        tilted.map_err(|cause| InvalidRequest::new(format!("tilt: {cause}")))
    }

    /// The forecast after a session, if it is asked for; a prompt that needs it gets its return.
    ///
    /// # Errors
    /// If the model fails.
    pub fn forecast(
        &self,
        run: &Run,
        request: &RecommendRequest,
        state: &mut SessionState,
    ) -> Result<Option<Forecast>> {
        let target = request.prompt.target;
        let (Some(forecaster), true) = (
            &self.forecaster,
            request.forecast || target.needs_forecast(),
        ) else {
            return Ok(None);
        };
        let mut windows = Windows::new(run.config().model.window);
        windows.push_events(&state.item_indices, &state.kinds, run.items().len() as u32);
        let mut all = forecaster.probabilities(&self.recommender, &windows)?;
        let Some(probabilities) = all.pop() else {
            return Ok(None);
        };
        if let Some(value) = forecaster.bins().target(target, &probabilities) {
            let mut at = PromptPosition::at(state.prompt.step, request.case);
            at.return_of_state = value;
            state.prompt.value = run.prompts(request.prompt, &[at]).returns[0];
        }
        Ok(request.forecast.then(|| forecaster.summary(&probabilities)))
    }

    /// The best items for each window under its prompt and tilt `tilts[b]`, best first, equal
    /// scores by lower index. Rows of one tilt are ranked together.
    pub fn top(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        tilts: &[f64],
        wanted: &[TopKRequest<'_>],
    ) -> Result<Vec<TopK<f32>>> {
        let mut distinct = tilts.to_vec();
        distinct.sort_unstable_by(f64::total_cmp);
        distinct.dedup();
        if let [] | [_] = distinct[..] {
            let tilt = distinct.first().copied().unwrap_or(0.0);
            let prompts = Prompts {
                tilt,
                ..prompts.clone()
            };
            return self.top_of_tilt(windows, &prompts, wanted);
        }
        let mut tops = vec![TopK::new(); wanted.len()];
        for tilt in distinct {
            let mut rows = Vec::new();
            for (row, &own) in tilts.iter().enumerate() {
                // Not by `total_cmp`, under which -0 is another number than 0.
                if own == tilt {
                    rows.push(row);
                }
            }
            let prompts = Prompts {
                returns: rows.iter().map(|&b| prompts.returns[b]).collect(),
                steps: rows.iter().map(|&b| prompts.steps[b]).collect(),
                tilt,
            };
            let some: Vec<TopKRequest<'_>> = rows.iter().map(|&b| wanted[b]).collect();
            let found = self.top_of_tilt(&windows.select(&rows), &prompts, &some)?;
            for (row, top) in rows.into_iter().zip(found) {
                tops[row] = top;
            }
        }
        Ok(tops)
    }

    /// The layout with the bias of a tilt.
    fn tilted(
        &self,
        model: &Model,
        catalogue: &Arc<TransposedItemMatrix<f32>>,
        tilt: f64,
    ) -> Result<Arc<TransposedItemMatrix<f32>>> {
        if tilt == 0.0 {
            return Ok(Arc::clone(catalogue));
        }
        let bits = tilt.to_bits();
        let mut kept = self.tilted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tilted)) = kept.iter().find(|(tilt, _)| *tilt == bits) {
            return Ok(Arc::clone(tilted));
        }
        if kept.len() == MAX_TILTED {
            kept.remove(0);
        }
        let tilted = Arc::new(catalogue.with_bias_plus(&model.tilt(tilt)?));
        kept.push((bits, Arc::clone(&tilted)));
        Ok(tilted)
    }

    /// As [`top`](Self::top), under the tilt of the prompts.
    fn top_of_tilt(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        wanted: &[TopKRequest<'_>],
    ) -> Result<Vec<TopK<f32>>> {
        match (&self.recommender, &self.catalogue) {
            (Recommender::Neural(model), Some(catalogue)) if !windows.is_empty() => {
                let catalogue = self.tilted(model, catalogue, prompts.tilt)?;
                Ok(model.with_hidden(windows, prompts, |hidden| {
                    let offsets = model.score_offsets(windows)?;
                    if offsets.as_slice().is_empty() {
                        return Ok(catalogue.top_k(hidden, wanted)?);
                    }
                    Ok(catalogue.top_k_with_offsets(hidden, wanted, &offsets)?)
                })?)
            }
            _ => self.filtered(windows, prompts, wanted),
        }
    }

    fn filtered(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        wanted: &[TopKRequest<'_>],
    ) -> Result<Vec<TopK<f32>>> {
        // Excluded items may fill the head of a list.
        let mut k = 0;
        for wanted in wanted {
            match wanted.filter {
                ItemFilter::Exclude(items) => k = k.max(wanted.k + items.len()),
                ItemFilter::Mask { except, .. } => k = k.max(wanted.k + except.len()),
                ItemFilter::Allow(_) => {}
            }
        }
        let ranking = self.recommender.rank(windows, prompts, None, k)?;
        let mut tops = Vec::with_capacity(wanted.len());
        for (b, (mut candidates, wanted)) in ranking.top.into_iter().zip(wanted).enumerate() {
            let top = match wanted.filter {
                ItemFilter::Exclude(items) => {
                    candidates.retain(|(item, _)| items.binary_search(item).is_err());
                    candidates.truncate(wanted.k);
                    candidates
                }
                ItemFilter::Mask { words, .. } => {
                    let (window, prompt) = row(windows, prompts, b);
                    let items = 64 * words.len();
                    let mut len = k;
                    // Items that the mask leaves out may fill the head of any list: a longer one
                    // begins with a shorter one.
                    loop {
                        let is_all = candidates.len() < len || len >= items;
                        candidates.retain(|&(item, _)| wanted.filter.allows(item));
                        if candidates.len() >= wanted.k || is_all {
                            break;
                        }
                        len = (8 * len).max(256).min(items);
                        let mut longer = self.recommender.rank(&window, &prompt, None, len)?;
                        candidates = longer.top.pop().unwrap_or_default();
                    }
                    candidates.truncate(wanted.k);
                    candidates
                }
                ItemFilter::Allow(items) => {
                    let (window, prompt) = row(windows, prompts, b);
                    let scores = self.recommender.scores(&window, &prompt, items)?;
                    let mut top: TopK<f32> = Vec::with_capacity(items.len());
                    for (&item, score) in items.iter().zip(scores) {
                        top.extend(score.map(|score| (item, score)));
                    }
                    top.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                    top.truncate(wanted.k);
                    top
                }
            };
            tops.push(top);
        }
        Ok(tops)
    }
}

/// Use of the first pass in 8 bits: the environment variable `PRL_FIRST_PASS`, `auto` or `never`.
fn first_pass() -> Result<FirstPass> {
    match std::env::var(FIRST_PASS).as_deref() {
        Err(_) | Ok("auto") => Ok(FirstPass::Auto),
        Ok("never") => Ok(FirstPass::Never),
        Ok(other) => Err(Error::Config(format!(
            "{FIRST_PASS} is {other:?}; expected auto or never"
        ))),
    }
}

/// Window and prompt of one row.
fn row(windows: &Windows, prompts: &Prompts, b: usize) -> (Windows, Prompts) {
    let window = windows.rows(b..b + 1);
    (
        window,
        Prompts {
            returns: vec![prompts.returns[b]],
            steps: vec![prompts.steps[b]],
            tilt: prompts.tilt,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use prl_model::{ModelConfig, ModelSpec, NetworkOptions, OwnItems};

    /// A model of 150 items with a bias of own items that is not zero, if it has one.
    fn model(options: NetworkOptions) -> Model {
        let plan = ModelSpec {
            dim: 8,
            items: 150,
            block: None,
            is_double: false,
            seed: 3,
            dtype: DType::F32,
            options,
        };
        let shape = ModelConfig {
            dim: 8,
            window: 4,
            ..ModelConfig::default()
        };
        let model = Model::new(&shape, &plan, &Device::Cpu).unwrap();
        for (name, var) in model.parameters() {
            if name == "head.own_bias" {
                let bias = Tensor::new(&[0.5_f32, -0.25, 3.0, 0.125], &Device::Cpu).unwrap();
                var.set(&bias).unwrap();
            }
        }
        model
    }

    /// The value of each of the 150 items.
    fn value(item: u32) -> f32 {
        (item as f32 * 0.7).sin()
    }

    fn assert_layouts_agree(options: NetworkOptions) -> Vec<TopK<f32>> {
        let mut model = model(options);
        let values: Vec<f32> = (0..150).map(value).collect();
        model.set_item_values(&values).unwrap();
        let model = Recommender::Neural(Box::new(model));
        let served = InferenceModel::new(model).unwrap();
        let items = 150_u32;
        let (mut windows, mut prompts) = (Windows::new(4), Prompts::default());
        for n in 0..9 {
            windows.push(
                &(0..n)
                    .map(|t| (n * 31 + t * 17) % items)
                    .collect::<Vec<_>>(),
                items,
            );
            prompts.returns.push(1.0);
            prompts.steps.push(n);
        }
        let some: Vec<u32> = (0..items).step_by(3).collect();
        let mut words = [0; 3];
        for &item in &some {
            words[item as usize / 64] |= 1 << (item % 64);
        }
        let mask = ItemFilter::Mask {
            words: &words,
            except: &[3, 66],
        };
        let filters = [
            ItemFilter::Exclude(&[]),
            ItemFilter::Exclude(&some),
            ItemFilter::Allow(&some),
            mask,
        ];
        let wanted: Vec<TopKRequest<'_>> = (0..9)
            .map(|b| TopKRequest {
                k: b * 7,
                filter: filters[[0, 1, 2, 0, 1, 2, 3, 3, 2][b]],
            })
            .collect();
        assert!(served.catalogue.is_some());
        let tops = served.top(&windows, &prompts, &[0.0; 9], &wanted).unwrap();
        assert_eq!(tops, served.filtered(&windows, &prompts, &wanted).unwrap());
        assert_tilts_agree(&served, &windows, &prompts, &wanted);
        tops
    }

    /// A batch of several tilts has the lists of its rows one by one, and a tilted score is the
    /// score plus the tilt times the item's value.
    fn assert_tilts_agree(
        served: &InferenceModel,
        windows: &Windows,
        prompts: &Prompts,
        wanted: &[TopKRequest<'_>],
    ) {
        let tilts = [0.0, 0.5, -2.0, 0.5, -0.0, 0.5, -2.0, 0.0, 0.5];
        let tops = served.top(windows, prompts, &tilts, wanted).unwrap();
        for (b, &tilt) in tilts.iter().enumerate() {
            let (window, plain) = row(windows, prompts, b);
            let tilted = Prompts {
                tilt,
                ..plain.clone()
            };
            let of_row = served.filtered(&window, &tilted, &wanted[b..=b]).unwrap();
            assert_eq!(tops[b], of_row[0], "row {b}");
            let items: Vec<u32> = tops[b].iter().map(|top| top.0).collect();
            let scores = served.recommender.scores(&window, &plain, &items).unwrap();
            for (&(item, found), score) in tops[b].iter().zip(scores) {
                let expected = score.unwrap() + tilt as f32 * value(item);
                assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
            }
        }
    }

    #[test]
    fn tilt_without_item_values_is_refused() {
        let model = Recommender::Neural(Box::new(model(NetworkOptions::default())));
        let served = InferenceModel::new(model).unwrap();
        let mut request = RecommendRequest {
            session: Vec::new(),
            prompt: prl_core::PromptSpec::default(),
            case: 0,
            k: 5,
            forecast: false,
            filter: crate::Filter::default(),
            properties: Vec::new(),
        };
        assert_eq!(served.check(&request), Ok(()));
        request.prompt.tilt = 0.5;
        let refused = served.check(&request).unwrap_err().to_string();
        assert!(
            refused.starts_with("tilt: the run has no purchase rates"),
            "{refused}"
        );
        let mut windows = Windows::new(4);
        windows.push(&[1], 150);
        let wanted = [TopKRequest {
            k: 5,
            filter: ItemFilter::Exclude(&[]),
        }];
        let prompts = Prompts {
            returns: vec![1.0],
            steps: vec![1],
            tilt: 0.0,
        };
        assert!(served.top(&windows, &prompts, &[0.5], &wanted).is_err());
        request.prompt = prl_core::TargetReturn::StateQuantile(0.9).into();
        let refused = served.check(&request).unwrap_err().to_string();
        assert!(refused.contains("fit one with `prl forecast"), "{refused}");
    }

    #[test]
    fn transposed_layout_matches_the_filtered_lists() {
        let tops = assert_layouts_agree(NetworkOptions::default());
        assert!(tops[8].len() == 50 && tops[7].len() == 48);
    }

    #[test]
    fn transposed_layout_matches_the_filtered_lists_with_own_items() {
        let with = |own_items| {
            assert_layouts_agree(NetworkOptions {
                is_tied: true,
                temperature: Some(0.1),
                own_items,
                window: 4,
                ..NetworkOptions::default()
            })
        };
        let (learned, excluded) = (with(OwnItems::Learned), with(OwnItems::Exclude));
        // The last window holds 16, 33, 50 and 67 of the row that allows multiples of three.
        let has = |top: &TopK<f32>, item| top.iter().any(|t| t.0 == item);
        assert!(has(&learned[8], 33) && !has(&excluded[8], 33));
    }
}
