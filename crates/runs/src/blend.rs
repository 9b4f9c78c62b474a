//! Blends: recommendations by the weighted sum of several runs' probabilities.
//!
//! ```text
//! p(i) = sum over the members r of w_r p_r(i)
//! ```
//!
//! p_r is the softmax of a neural run's scores over all items, without the items that the model
//! excludes; of a kNN the score / sum of the scores; of a popularity its share of the counts
//! ([`Baseline::probabilities`]). The score of an item is p(i); an item with probability 0 is
//! excluded by every member and never recommended. The weights of empty states are apart from the
//! others: the first event of a session depends on popularity only.
//!
//! A blend's directory is a run directory whose weights are those of the members, beside a
//! directory for each member that holds what its run needs to be loaded.

mod build;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::Device;
use prl_baselines::Baseline;
use prl_core::Prompts;
use prl_dataset::Windows;
use prl_kernels::ops::rank::Ranking;
use prl_kernels::ops::top_k_serving::TransposedItemMatrix;
use prl_model::Model;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::method::Method;
use crate::recommender::{NoTilt, Recommender, history};
use crate::run_dir::Run;

pub use build::{BlendBuilder, BlendManifest, BlendMember};

/// Probabilities of a member that are held at once, which bounds the rows of a batch.
const MAX_HELD: usize = 1 << 21;
/// Names of the arrays of weights.
const WEIGHTS: &str = "weights";
const FIRST_WEIGHTS: &str = "first_weights";

/// Name of a member's directory.
fn member_dir(dir: &Path, member: usize) -> PathBuf {
    dir.join(format!("member-{member}"))
}

/// Name of the array that holds the SHA-256 of a member's weights.
fn hash_name(member: usize) -> String {
    format!("member-{member}.sha256")
}

/// Weights of the members, each list with sum 1.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    /// For states with at least one item.
    session: Vec<f64>,
    /// For the empty state.
    first: Vec<f64>,
}

impl Weights {
    fn of(&self, is_first: bool) -> &[f64] {
        if is_first { &self.first } else { &self.session }
    }
}

/// A blend of loaded runs.
pub struct Blend {
    members: Vec<Member>,
    weights: Weights,
    items: usize,
    /// The value of each item, by which a prompt tilts its probability.
    pub(crate) item_values: Option<Vec<f32>>,
}

/// A loaded run of a blend.
struct Member {
    window: usize,
    scorer: Scorer,
}

/// Scores of a member.
enum Scorer {
    Neural {
        model: Box<Model>,
        /// `None` on a device other than the CPU.
        catalogue: Option<TransposedItemMatrix<f32>>,
    },
    Baseline(Box<dyn Baseline>),
}

impl Member {
    fn load(run: &Run, device: &Device) -> Result<Self> {
        let scorer = match run.load(device)? {
            Recommender::Neural(model) => Scorer::Neural {
                catalogue: model.catalogue()?,
                model,
            },
            Recommender::Baseline(baseline) => Scorer::Baseline(baseline),
            Recommender::Blend(_) => {
                return Err(Error::Blend(format!(
                    "{} is itself a blend; name its members instead",
                    run.dir().display()
                )));
            }
        };
        Ok(Self {
            window: run.config().model.window,
            scorer,
        })
    }

    /// Whether it scores this many items; a network is checked when its weights are read.
    fn scores_all(&self, items: usize) -> bool {
        match &self.scorer {
            Scorer::Neural { .. } => true,
            Scorer::Baseline(baseline) => baseline.probabilities(&[]).len() == items,
        }
    }

    /// Windows of this member's length, and prompts, of some rows.
    fn inputs(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        rows: &[usize],
        pad: u32,
    ) -> (Windows, Prompts) {
        let (mut own, mut asked) = (Windows::new(self.window), Prompts::default());
        for &b in rows {
            let (first, held) = (b * windows.window_len, windows.lengths[b] as usize);
            let tail = first + held.saturating_sub(self.window)..first + held;
            own.push_events(&windows.items[tail.clone()], &windows.kinds[tail], pad);
            // The window knows the whole session's length, not its own.
            own.time_steps.pop();
            own.time_steps.push(windows.time_steps[b]);
            asked.returns.push(prompts.returns[b]);
            asked.steps.push(prompts.steps[b]);
        }
        (own, asked)
    }

    /// Probabilities of all items for each window, `[B, items]`.
    fn probabilities(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        items: usize,
    ) -> Result<Vec<f64>> {
        let mut all = vec![0.0; windows.len() * items];
        let rows = all.par_chunks_mut(items).enumerate();
        match &self.scorer {
            Scorer::Neural { model, catalogue } => {
                let scores = all_scores(model, catalogue.as_ref(), windows, prompts, items)?;
                rows.zip(scores.par_chunks(items))
                    .for_each(|((_, out), scores)| softmax(scores, out));
            }
            Scorer::Baseline(baseline) => rows.for_each(|(b, out)| {
                out.copy_from_slice(&baseline.probabilities(history(windows, b)));
            }),
        }
        Ok(all)
    }
}

/// Scores of all items, `[B, items]`; negative infinity for an excluded one.
fn all_scores(
    model: &Model,
    catalogue: Option<&TransposedItemMatrix<f32>>,
    windows: &Windows,
    prompts: &Prompts,
    items: usize,
) -> Result<Vec<f32>> {
    if let Some(catalogue) = catalogue {
        let offsets = model.score_offsets(windows)?;
        let scores = model.with_hidden(windows, prompts, |hidden| {
            Ok(catalogue.scores(hidden, &offsets)?)
        });
        return Ok(scores?);
    }
    let mut all = vec![f32::NEG_INFINITY; windows.len() * items];
    let ranking = model.rank(windows, prompts, None, items)?;
    for (b, top) in ranking.top.into_iter().enumerate() {
        for (item, score) in top {
            all[b * items + item as usize] = score;
        }
    }
    Ok(all)
}

/// exp(s_i) / sum of exp(s_j).
fn softmax(scores: &[f32], out: &mut [f64]) {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if top == f32::NEG_INFINITY {
        // Every item is excluded: the session holds the whole catalogue.
        return out.fill(0.0);
    }
    let mut sum = 0.0;
    for (&score, out) in scores.iter().zip(out.iter_mut()) {
        *out = f64::from(score - top).exp();
        sum += *out;
    }
    for out in out {
        *out /= sum;
    }
}

impl Blend {
    /// Loads the blend of a run.
    pub(crate) fn load(blend: &Run, device: &Device) -> Result<Self> {
        let (saved, items) = (blend.best(), blend.items().len());
        let arrays = saved.load_arrays()?;
        let damaged =
            |what: String| Error::run(saved.dir(), format!("{what}; make the blend again"));
        let get = |name: &str| {
            let missing = || damaged(format!("the array {name} of a blend is missing"));
            arrays.get(name).ok_or_else(missing)
        };
        let weights = Weights {
            session: get(WEIGHTS)?.to_vec1()?,
            first: get(FIRST_WEIGHTS)?.to_vec1()?,
        };
        let count = weights.session.len();
        for list in [&weights.session, &weights.first] {
            if list.len() != count || check_weights(list).is_err() {
                return Err(damaged("the weights are not those of a blend".into()));
            }
        }
        let mut members = Vec::with_capacity(count);
        for member in 0..count {
            let run = Run::open(&member_dir(blend.dir(), member))?;
            let hash: Vec<u8> = get(&hash_name(member))?.to_vec1()?;
            if run.config().method == Method::Blend || run.best().hash()?.as_bytes() != hash {
                let what = format!("member {member} is not the run that was blended");
                return Err(damaged(what));
            }
            let loaded = Member::load(&run, device)?;
            if run.items().len() != items || !loaded.scores_all(items) {
                return Err(damaged(format!("member {member} has another catalogue")));
            }
            members.push(loaded);
        }
        Ok(Self {
            members,
            weights,
            items,
            item_values: None,
        })
    }

    /// Whether the scores depend on a prompt.
    pub fn is_prompted(&self) -> bool {
        let is_prompted = |member: &Member| match &member.scorer {
            Scorer::Neural { model, .. } => model.is_prompted(),
            Scorer::Baseline(_) => false,
        };
        self.members.iter().any(is_prompted)
    }

    /// Rows of a batch that are held at once.
    fn rows_at_once(&self) -> usize {
        (MAX_HELD / self.items.max(1)).max(1)
    }

    /// The blended probabilities of all items for each window, `[B, items]`. A member without
    /// weight for a state is not computed.
    fn probabilities(&self, windows: &Windows, prompts: &Prompts) -> Result<Vec<f64>> {
        let items = self.items;
        let mut all = vec![0.0; windows.len() * items];
        for (r, member) in self.members.iter().enumerate() {
            let (mut rows, mut parts) = (Vec::new(), Vec::new());
            for (b, &step) in windows.time_steps.iter().enumerate() {
                let weight = self.weights.of(step == 0)[r];
                parts.push((weight > 0.0).then_some((rows.len(), weight)));
                if weight > 0.0 {
                    rows.push(b);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let (own, asked) = member.inputs(windows, prompts, &rows, items as u32);
            let own = member.probabilities(&own, &asked, items)?;
            let sums = all.par_chunks_mut(items).zip(parts);
            sums.for_each(|(sums, part)| {
                if let Some((at, weight)) = part {
                    add_weighted(sums, &own[at * items..][..items], weight);
                }
            });
        }
        Ok(all)
    }

    /// Tilts probabilities `[B, items]`: `p_i exp(tilt v_i)`, with sum 1 again.
    fn tilt(&self, all: &mut [f64], tilt: f64) -> Result<()> {
        if tilt == 0.0 {
            return Ok(());
        }
        let values = self.item_values.as_ref().ok_or(NoTilt::NoRates)?;
        let mut factors = Vec::with_capacity(values.len());
        for &value in values {
            factors.push((tilt * f64::from(value)).exp());
        }
        all.par_chunks_mut(self.items).for_each(|row| {
            let mut sum = 0.0;
            for (p, factor) in row.iter_mut().zip(&factors) {
                *p *= factor;
                sum += *p;
            }
            if sum > 0.0 {
                row.iter_mut().for_each(|p| *p /= sum);
            }
        });
        Ok(())
    }

    /// Ranks of the targets, if given, and the `k` best items of each window; the items
    /// `excluded[b]`, if any, are left out of list and rank.
    pub(crate) fn rank(
        &self,
        windows: &Windows,
        prompts: &Prompts,
        targets: Option<&[u32]>,
        k: usize,
        excluded: &[Vec<u32>],
    ) -> Result<Ranking<f32>> {
        let mut ranking = Ranking::default();
        let rows = self.rows_at_once();
        for start in (0..windows.len()).step_by(rows) {
            let range = start..(start + rows).min(windows.len());
            let part = Prompts {
                returns: prompts.returns[range.clone()].to_vec(),
                steps: prompts.steps[range.clone()].to_vec(),
                tilt: 0.0,
            };
            let mut all = self.probabilities(&windows.rows(range), &part)?;
            self.tilt(&mut all, prompts.tilt)?;
            let ranked = all.par_chunks(self.items).enumerate().map(|(at, row)| {
                let without = excluded.get(start + at).map_or(&[][..], Vec::as_slice);
                rank_row(row, targets.map(|t| t[start + at]), k, without)
            });
            let ranked: Vec<_> = ranked.collect();
            for (rank, top) in ranked {
                ranking.ranks.extend(rank);
                ranking.top.push(top);
            }
        }
        Ok(ranking)
    }

    /// The score of each of `items` for one window; `None` for an excluded item.
    pub(crate) fn scores(
        &self,
        window: &Windows,
        prompt: &Prompts,
        items: &[u32],
    ) -> Result<Vec<Option<f32>>> {
        let mut all = self.probabilities(window, prompt)?;
        self.tilt(&mut all, prompt.tilt)?;
        let mut scores = Vec::with_capacity(items.len());
        for &item in items {
            let p = all[item as usize];
            scores.push((p > 0.0).then_some(p as f32));
        }
        Ok(scores)
    }
}

/// sums += weight p.
fn add_weighted(sums: &mut [f64], p: &[f64], weight: f64) {
    for (sum, p) in sums.iter_mut().zip(p) {
        *sum += weight * p;
    }
}

/// Pessimistic rank of the target, and the `k` best items without those of `without` (ascending)
/// and those of probability 0.
fn rank_row(
    row: &[f64],
    target: Option<u32>,
    k: usize,
    without: &[u32],
) -> (Option<u32>, Vec<(u32, f32)>) {
    let rank = target.map(|target| {
        let own = row[target as usize];
        let mut rank = row.iter().filter(|&&p| p >= own).count();
        for &item in without {
            rank -= usize::from(item != target && row[item as usize] >= own);
        }
        rank as u32
    });
    let mut top: Vec<(u32, f64)> = Vec::new();
    if k > 0 {
        for (&p, item) in row.iter().zip(0..) {
            if p > 0.0 && without.binary_search(&item).is_err() {
                top.push((item, p));
            }
        }
    }
    let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if 0 < k && k < top.len() {
        top.select_nth_unstable_by(k - 1, order);
    }
    top.truncate(k);
    top.sort_unstable_by(order);
    let single = top.into_iter().map(|(item, p)| (item, p as f32));
    (rank, single.collect())
}

/// Fails if weights are not finite, negative or all zero.
fn check_weights(weights: &[f64]) -> std::result::Result<(), String> {
    let is_valid = |w: &f64| w.is_finite() && *w >= 0.0;
    if !weights.iter().all(is_valid) {
        return Err("a weight is negative or not finite; expected numbers from 0".into());
    }
    if weights.iter().sum::<f64>() <= 0.0 {
        return Err("all weights are 0; expected one above".into());
    }
    Ok(())
}
