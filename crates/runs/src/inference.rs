//! Inference for serving: the output layer is transposed once into a layout for small batches.
//!
//! On a CPU the lists are computed in that layout, with the same bits as [`Recommender::rank`]. On
//! other devices, and for baselines and blends, longer lists of [`Recommender::rank`] are filtered.

use prl_core::Prompts;
use prl_dataset::Windows;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TopKRequest, TransposedItemMatrix};

use crate::error::Result;
use crate::recommender::Recommender;

/// A recommender prepared for serving.
pub struct InferenceModel {
    recommender: Recommender,
    catalogue: Option<TransposedItemMatrix<f32>>,
}

impl InferenceModel {
    /// Prepares a recommender; on a CPU this makes a second copy of its output layer.
    pub fn new(recommender: Recommender) -> Result<Self> {
        let catalogue = match &recommender {
            Recommender::Neural(model) => model.catalogue()?,
            Recommender::Baseline(_) | Recommender::Blend(_) => None,
        };
        Ok(Self {
            recommender,
            catalogue,
        })
    }

    /// Whether its scores depend on a prompt.
    pub fn is_prompted(&self) -> bool {
        self.recommender.is_prompted()
    }

    /// The best items for each window under its prompt, best first, equal scores by lower index.
    pub fn top(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        wanted: &[TopKRequest<'_>],
    ) -> Result<Vec<TopK<f32>>> {
        match (&self.recommender, &self.catalogue) {
            (Recommender::Neural(model), Some(catalogue)) if !windows.is_empty() => Ok(model
                .with_hidden(windows, prompts, |hidden| {
                    let offsets = model.score_offsets(windows)?;
                    if offsets.as_slice().is_empty() {
                        return Ok(catalogue.top_k(hidden, wanted)?);
                    }
                    Ok(catalogue.top_k_with_offsets(hidden, wanted, &offsets)?)
                })?),
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
            if let ItemFilter::Exclude(items) = wanted.filter {
                k = k.max(wanted.k + items.len());
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

/// Window and prompt of one row.
fn row(windows: &Windows, prompts: &Prompts, b: usize) -> (Windows, Prompts) {
    let window = windows.rows(b..b + 1);
    (
        window,
        Prompts {
            returns: vec![prompts.returns[b]],
            steps: vec![prompts.steps[b]],
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use prl_model::{Model, ModelConfig, ModelSpec, NetworkOptions, OwnItems};

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

    fn assert_layouts_agree(options: NetworkOptions) -> Vec<TopK<f32>> {
        let model = Recommender::Neural(Box::new(model(options)));
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
        let filters = [
            ItemFilter::Exclude(&[]),
            ItemFilter::Exclude(&some),
            ItemFilter::Allow(&some),
        ];
        let wanted: Vec<TopKRequest<'_>> = (0..9)
            .map(|b| TopKRequest {
                k: b * 7,
                filter: filters[b % 3],
            })
            .collect();
        assert!(served.catalogue.is_some());
        let tops = served.top(&windows, &prompts, &wanted).unwrap();
        assert_eq!(tops, served.filtered(&windows, &prompts, &wanted).unwrap());
        tops
    }

    #[test]
    fn transposed_layout_matches_the_filtered_lists() {
        let tops = assert_layouts_agree(NetworkOptions::default());
        assert!(tops[8].len() == 50 && tops[7].len() == 49);
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
