//! A recommender: a trained model, a baseline or a blend.

use prl_baselines::Baseline;
use prl_core::Prompts;
use prl_dataset::Windows;
use prl_eval::{NOT_RANKED, pessimistic_rank};
use prl_kernels::ops::rank::Ranking;
use prl_kernels::ops::top_k_serving::TopK;
use prl_model::Model;
use rayon::prelude::*;

use crate::blend::Blend;
use crate::error::Result;
use crate::evaluate::CaseBatch;

/// Why the scores of a recommender cannot be tilted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTilt {
    /// It is a baseline.
    #[error(
        "the scores of a baseline have no unit in which to tilt; ask a network or a blend, or leave \
         tilt out"
    )]
    Baseline,
    /// The run has no purchase rates.
    #[error(
        "the run has no purchase rates: its log holds no purchases, or an older version trained it; \
         train it again on a log with purchases, or leave tilt out"
    )]
    NoRates,
}

/// A trained model, a baseline or a blend.
pub enum Recommender {
    /// A neural model.
    Neural(Box<Model>),
    /// A baseline.
    Baseline(Box<dyn Baseline>),
    /// A blend of runs.
    Blend(Box<Blend>),
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
            Recommender::Baseline(baseline) => {
                self.check_tilt(prompts.tilt)?;
                rank_densely(baseline.as_ref(), windows, targets, k, &[])
            }
            Recommender::Blend(blend) => blend.rank(windows, prompts, targets, k, &[]),
        }
    }

    /// Ranks of the targets and the `k` best items of each case, without its excluded items. A
    /// target that is excluded or unknown is not ranked.
    pub(crate) fn rank_cases(
        &self,
        batch: &CaseBatch,
        prompts: &Prompts,
        k: usize,
    ) -> Result<Ranking<f32>> {
        self.check_tilt(prompts.tilt)?;
        let windows = &batch.windows;
        let mut targets = Vec::with_capacity(batch.targets.len());
        for target in &batch.targets {
            // An unknown target's place is taken by any item; its rank is replaced below.
            targets.push(target.unwrap_or(0));
        }
        let mut ranking = match self {
            _ if batch.excluded.iter().all(Vec::is_empty) => {
                self.rank(windows, prompts, Some(&targets), k)?
            }
            Recommender::Neural(model) => {
                model.rank_excluding(windows, prompts, &targets, k, &batch.excluded)?
            }
            Recommender::Baseline(baseline) => {
                let excluded = &batch.excluded;
                rank_densely(baseline.as_ref(), windows, Some(&targets), k, excluded)?
            }
            Recommender::Blend(blend) => {
                blend.rank(windows, prompts, Some(&targets), k, &batch.excluded)?
            }
        };
        for (b, target) in batch.targets.iter().enumerate() {
            let is_ranked = match target {
                Some(target) => batch.excluded[b].binary_search(target).is_err(),
                None => false,
            };
            if !is_ranked {
                ranking.ranks[b] = NOT_RANKED;
            }
        }
        Ok(ranking)
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
                self.check_tilt(prompt.tilt)?;
                let scores = baseline.scores(history(window, 0));
                Ok(items
                    .iter()
                    .map(|&item| Some(scores[item as usize]))
                    .collect())
            }
            Recommender::Blend(blend) => blend.scores(window, prompt, items),
        }
    }

    /// Fails if a batch is tilted and the scores cannot be.
    fn check_tilt(&self, tilt: f64) -> Result<()> {
        if tilt != 0.0 {
            self.can_tilt()?;
        }
        Ok(())
    }

    /// Whether its scores can be tilted.
    ///
    /// # Errors
    /// The reason why not.
    pub fn can_tilt(&self) -> std::result::Result<(), NoTilt> {
        match self {
            Recommender::Neural(model) if model.has_item_values() => Ok(()),
            Recommender::Blend(blend) if blend.item_values.is_some() => Ok(()),
            Recommender::Baseline(_) => Err(NoTilt::Baseline),
            _ => Err(NoTilt::NoRates),
        }
    }

    /// Whether its scores depend on a return prompt.
    pub fn is_prompted(&self) -> bool {
        match self {
            Recommender::Neural(model) => model.is_prompted(),
            Recommender::Baseline(_) => false,
            Recommender::Blend(blend) => blend.is_prompted(),
        }
    }
}

/// The items of window `b`, without the pad that an empty window contains.
pub(crate) fn history(windows: &Windows, b: usize) -> &[u32] {
    let items = &windows.items[b * windows.window_len..][..windows.lengths[b] as usize];
    if windows.time_steps[b] == 0 {
        &[]
    } else {
        items
    }
}

/// The rank of a target, if given, and the `k` best items, by the finite `scores` of all items. The
/// items `excluded`, in ascending order, are left out of both; an excluded target is
/// [`NOT_RANKED`].
///
/// # Errors
/// A score that is NaN.
pub fn rank_scores(
    mut scores: Vec<f32>,
    target: Option<u32>,
    excluded: &[u32],
    k: usize,
) -> Result<(Option<u32>, TopK<f32>)> {
    for &item in excluded {
        // Below all scores, which are finite: no rank counts it.
        scores[item as usize] = f32::NEG_INFINITY;
    }
    let ranked = scores.len() - excluded.len();
    let rank = match target {
        Some(target) if excluded.binary_search(&target).is_ok() => Some(NOT_RANKED),
        Some(target) => Some(pessimistic_rank(&scores, target)?),
        None => None,
    };
    let mut top = Vec::with_capacity(scores.len());
    for (item, score) in (0..).zip(scores) {
        top.push((item, score));
    }
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let k = k.min(ranked);
    if 0 < k && k < top.len() {
        top.select_nth_unstable_by(k - 1, order);
    }
    top.truncate(k);
    top.sort_unstable_by(order);
    Ok((rank, top))
}

/// Ranks by the scores of all items; the items `excluded[b]`, if any, are left out of list and
/// rank.
fn rank_densely(
    baseline: &dyn Baseline,
    windows: &Windows,
    targets: Option<&[u32]>,
    k: usize,
    excluded: &[Vec<u32>],
) -> Result<Ranking<f32>> {
    let one = |b: usize| {
        let history = history(windows, b);
        let target = targets.map(|targets| targets[b]);
        let excluded = excluded.get(b).map_or(&[][..], Vec::as_slice);
        if excluded.is_empty()
            && let Some(votes) = baseline.votes(history)
        {
            return Ok((target.map(|target| votes.rank(target)), votes.top(k)));
        }
        rank_scores(baseline.scores(history), target, excluded, k)
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
