//! A recommender: a trained model or a baseline.

use prl_baselines::Baseline;
use prl_core::Prompts;
use prl_dataset::Windows;
use prl_eval::pessimistic_rank;
use prl_kernels::ops::rank::Ranking;
use prl_model::Model;
use rayon::prelude::*;

use crate::error::Result;

/// A trained model or a baseline.
pub enum Recommender {
    /// A neural model.
    Neural(Box<Model>),
    /// A baseline.
    Baseline(Box<dyn Baseline>),
}

impl Recommender {
    /// Ranks of the targets, if given, and the `k` best items for each window.
    pub fn rank(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        targets: Option<&[u32]>,
        k: usize,
    ) -> Result<Ranking<f32>> {
        match self {
            Recommender::Neural(model) => Ok(model.rank(windows, prompts, targets, k)?),
            Recommender::Baseline(baseline) => rank_densely(baseline.as_ref(), windows, targets, k),
        }
    }

    /// The score of each of `items` for one window under its prompt; on a CPU, the same bits as in
    /// [`rank`](Self::rank).
    /// `None` for an item that the model excludes.
    pub fn scores(
        &self,
        window: &Windows,
        prompt: &Prompts,
        items: &[u32],
    ) -> Result<Vec<Option<f32>>> {
        match self {
            Recommender::Neural(model) => Ok(model.scores(window, prompt, items)?),
            Recommender::Baseline(baseline) => {
                let scores = baseline.scores(history(window, 0));
                Ok(items
                    .iter()
                    .map(|&item| Some(scores[item as usize]))
                    .collect())
            }
        }
    }

    /// Whether its scores depend on a prompt.
    pub fn is_prompted(&self) -> bool {
        matches!(self, Recommender::Neural(model) if model.is_prompted())
    }
}

/// The items of window `b`, without the pad that an empty window contains.
fn history(windows: &Windows, b: usize) -> &[u32] {
    let items = &windows.items[b * windows.window_len..][..windows.lengths[b] as usize];
    if windows.time_steps[b] == 0 {
        &[]
    } else {
        items
    }
}

fn rank_densely(
    baseline: &dyn Baseline,
    windows: &Windows,
    targets: Option<&[u32]>,
    k: usize,
) -> Result<Ranking<f32>> {
    let one = |b: usize| {
        let scores = baseline.scores(history(windows, b));
        let rank = targets
            .map(|t| pessimistic_rank(&scores, t[b]))
            .transpose()?;
        let mut top: Vec<(u32, f32)> = scores.into_iter().zip(0..).map(|(s, i)| (i, s)).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if 0 < k && k < top.len() {
            top.select_nth_unstable_by(k - 1, order);
        }
        top.truncate(k);
        top.sort_unstable_by(order);
        Ok((rank, top))
    };
    let rows: Vec<_> = (0..windows.len())
        .into_par_iter()
        .map(one)
        .collect::<Result<_>>()?;
    let (ranks, top): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    Ok(Ranking {
        ranks: ranks.into_iter().flatten().collect(),
        top,
    })
}
