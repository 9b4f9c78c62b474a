//! A recommender in service: it is asked and never trained, so its output layer is laid out for small batches, once.
//!
//! On a CPU the lists come from that layout, bit for bit those of [`Recommender::rank`]; elsewhere, and from baselines, they are
//! its longer lists with what was not wanted taken out.

use prl_core::Prompts;
use prl_dataset::Windows;
use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TopKRequest, TransposedItemMatrix};

use crate::error::Result;
use crate::recommender::Recommender;

/// A recommender in service.
pub struct InferenceModel {
    recommender: Recommender,
    catalogue: Option<TransposedItemMatrix<f32>>,
}

impl InferenceModel {
    /// Puts a recommender in service; on a CPU this keeps a second copy of its output layer.
    pub fn new(recommender: Recommender) -> Result<Self> {
        let catalogue = match &recommender {
            Recommender::Neural(model) => model.catalogue()?,
            Recommender::Baseline(_) => None,
        };
        Ok(Self {
            recommender,
            catalogue,
        })
    }

    /// Whether it is fed a prompt.
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
                    Ok(catalogue.top_k(hidden, wanted)?)
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
        let room = |wanted: &TopKRequest<'_>| match wanted.filter {
            ItemFilter::Exclude(items) => wanted.k + items.len(),
            ItemFilter::Allow(_) => 0,
        };
        let k = wanted.iter().map(room).max().unwrap_or(0);
        let ranking = self.recommender.rank(windows, prompts, None, k)?;
        let one = |((b, all), wanted): ((usize, TopK<f32>), &TopKRequest<'_>)| match wanted.filter {
            ItemFilter::Exclude(items) => {
                let may = |item: &u32| items.binary_search(item).is_err();
                Ok(all
                    .into_iter()
                    .filter(|(item, _)| may(item))
                    .take(wanted.k)
                    .collect())
            }
            ItemFilter::Allow(items) => {
                let (window, prompt) = row(windows, prompts, b);
                let scores = self.recommender.scores(&window, &prompt, items)?;
                let mut top: TopK<f32> = items.iter().copied().zip(scores).collect();
                top.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                top.truncate(wanted.k);
                Ok(top)
            }
        };
        ranking
            .top
            .into_iter()
            .enumerate()
            .zip(wanted)
            .map(one)
            .collect()
    }
}

/// Window and prompt of one row.
fn row(windows: &Windows, prompts: &Prompts, b: usize) -> (Windows, Prompts) {
    let window = Windows {
        window_len: windows.window_len,
        items: windows.items[b * windows.window_len..][..windows.window_len].to_vec(),
        lengths: vec![windows.lengths[b]],
        time_steps: vec![windows.time_steps[b]],
    };
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
    use candle_core::{DType, Device};
    use prl_model::{Model, ModelConfig, ModelSpec};

    #[test]
    fn the_layout_and_the_filtered_lists_are_one() {
        let items = 150_u32;
        let plan = ModelSpec {
            dim: 8,
            items: 150,
            block: None,
            is_double: false,
            seed: 3,
            dtype: DType::F32,
        };
        let shape = ModelConfig {
            dim: 8,
            window: 4,
            ..ModelConfig::default()
        };
        let served = InferenceModel::new(Recommender::Neural(Box::new(
            Model::new(&shape, &plan, &Device::Cpu).unwrap(),
        )))
        .unwrap();
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
        assert!(tops[8].len() == 50 && tops[7].len() == 49);
    }
}
