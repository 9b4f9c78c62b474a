//! Choice of a blend's weights on validation cases.
//!
//! Passes over the cases: in each, the members' probabilities of a batch are computed once, and the
//! target is ranked under every candidate of the pass. A pass holds the probabilities of one batch,
//! and a sum for each candidate. The first pass tries every member alone and a grid over the
//! simplex, each later one the moves of a halved step between two members from the best so far.

use prl_core::{PromptPosition, PromptSpec, Prompts};
use prl_dataset::{Dataset, Kind, Windows};
use prl_eval::{CaseSplit, Conventions};
use rayon::prelude::*;

use super::{Blend, Weights};
use crate::error::{Error, Result};
use crate::evaluate::{CaseBatch, CaseLog};
use crate::recipe::Selection;
use crate::run_dir::Run;

/// Largest number of weights in the grid.
const MAX_GRID: usize = 128;
/// Finest step of the grid is one of this many.
const MAX_PARTS: usize = 10;
/// Halvings of the grid's step.
const REFINEMENTS: usize = 3;

/// Weights with their score on the validation cases.
pub(super) struct Chosen {
    pub(super) weights: Weights,
    /// Score of the weights.
    pub(super) score: f64,
    /// Score of each member alone.
    pub(super) single: Vec<f64>,
    /// Number of validation cases.
    pub(super) cases: u64,
}

/// Candidate weights of one kind of state, with the sums of their gains.
#[derive(Default)]
struct Candidates {
    weights: Vec<Vec<f64>>,
    gains: Vec<f64>,
}

impl Candidates {
    fn new(weights: Vec<Vec<f64>>) -> Self {
        let gains = vec![0.0; weights.len()];
        Self { weights, gains }
    }

    /// The first of the best.
    fn best(&self) -> (&Vec<f64>, f64) {
        let mut best = 0;
        for (at, gain) in self.gains.iter().enumerate() {
            if *gain > self.gains[best] {
                best = at;
            }
        }
        (&self.weights[best], self.gains[best])
    }
}

/// Candidates of both kinds of states.
struct Pass {
    session: Candidates,
    first: Candidates,
}

/// The validation cases of a blend.
pub(super) struct Cases<'a> {
    log: CaseLog<'a>,
    run: &'a Run,
    blend: &'a Blend,
    kind: Option<Kind>,
    metric: prl_eval::Metric,
}

impl<'a> Cases<'a> {
    /// The cases of the validation split, or of the sessions that the run holds out.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn new(
        run: &'a Run,
        blend: &'a Blend,
        data: &'a Dataset,
        select: Selection,
    ) -> Result<Self> {
        let conventions = Conventions {
            skip_first: run.config().skip_first,
            ..Conventions::default()
        };
        let log = CaseLog::own(run, data, CaseSplit::Val, conventions)?;
        let mut has_purchases = false;
        let window = run.config().model.window;
        log.for_each_batch(1 << 12, window, run.ask(), &mut |batch| {
            has_purchases |= batch.kinds.contains(&Kind::Purchase);
            Ok(())
        })?;
        let (kind, metric) = select.gain(has_purchases);
        Ok(Self {
            log,
            run,
            blend,
            kind,
            metric,
        })
    }

    /// Chooses the weights: those `given` are fixed.
    pub(super) fn choose(&self, given: Option<Weights>) -> Result<Chosen> {
        let members = self.blend.members.len();
        let alone = alone(members);
        let (mut session, mut first) = (alone.clone(), alone);
        match &given {
            Some(given) => {
                session.push(given.session.clone());
                first.push(given.first.clone());
            }
            None => {
                session.extend(grid(members, parts(members)));
                first.clone_from(&session);
            }
        }
        let mut pass = Pass {
            session: Candidates::new(session),
            first: Candidates::new(first),
        };
        let cases = self.run_pass(&mut pass)?;
        if cases == 0 {
            let what =
                "no validation case is of the kind that --select counts; name another metric";
            return Err(Error::Blend(what.into()));
        }
        let count = cases as f64;
        let mut single = Vec::with_capacity(members);
        for r in 0..members {
            single.push((pass.session.gains[r] + pass.first.gains[r]) / count);
        }
        let score = |a: f64, b: f64| (a + b) / count;
        if let Some(weights) = given {
            let score = score(pass.session.gains[members], pass.first.gains[members]);
            return Ok(Chosen {
                weights,
                score,
                single,
                cases,
            });
        }
        let mut step = 1.0 / parts(members) as f64;
        for _ in 0..REFINEMENTS {
            step /= 2.0;
            // The best so far is a candidate again, so no pass makes it worse.
            let mut next = Pass {
                session: Candidates::new(moves(pass.session.best().0, step)),
                first: Candidates::new(moves(pass.first.best().0, step)),
            };
            if next.session.weights.len() + next.first.weights.len() > 2 {
                self.run_pass(&mut next)?;
                pass = next;
            }
        }
        let (session, of_session) = pass.session.best();
        let (first, of_first) = pass.first.best();
        Ok(Chosen {
            weights: Weights {
                session: session.clone(),
                first: first.clone(),
            },
            score: score(of_session, of_first),
            single,
            cases,
        })
    }

    /// Adds the gains of all cases to the candidates; returns the number of cases that count.
    fn run_pass(&self, pass: &mut Pass) -> Result<u64> {
        let mut count = 0;
        let (window, ask) = (self.run.config().model.window, self.run.ask());
        let rows = self.blend.rows_at_once().min(256);
        let mut visit = |batch: CaseBatch| {
            count += self.add(pass, &batch, ask)?;
            Ok(())
        };
        self.log.for_each_batch(rows, window, ask, &mut visit)?;
        Ok(count)
    }

    fn add(&self, pass: &mut Pass, batch: &CaseBatch, ask: PromptSpec) -> Result<u64> {
        let prompts = self.run.prompts(ask, &batch.positions);
        let shares = self.members(&batch.windows, &prompts)?;
        let items = self.blend.items;
        let one = |b: usize| {
            let is_counted = self.kind.is_none_or(|kind| kind == batch.kinds[b]);
            let (Some(target), true) = (batch.targets[b], is_counted) else {
                return None;
            };
            let mut rows = Vec::with_capacity(shares.len());
            for share in &shares {
                rows.push(&share[b * items..][..items]);
            }
            let candidates = match batch.positions[b] {
                PromptPosition { step: 0, .. } => &pass.first.weights,
                _ => &pass.session.weights,
            };
            Some(ranks(&rows, target as usize, candidates))
        };
        let all: Vec<Option<Vec<u32>>> =
            (0..batch.targets.len()).into_par_iter().map(one).collect();
        let mut count = 0;
        for (ranks, position) in all.into_iter().zip(&batch.positions) {
            let Some(ranks) = ranks else { continue };
            count += 1;
            let candidates = match position.step {
                0 => &mut pass.first,
                _ => &mut pass.session,
            };
            for (gain, rank) in candidates.gains.iter_mut().zip(ranks) {
                *gain += self.metric.gain(rank);
            }
        }
        Ok(count)
    }

    /// Probabilities of all members, `[B, items]` each.
    fn members(&self, windows: &Windows, prompts: &Prompts) -> Result<Vec<Vec<f64>>> {
        let rows: Vec<usize> = (0..windows.len()).collect();
        let mut all = Vec::with_capacity(self.blend.members.len());
        for member in &self.blend.members {
            let (own, asked) = member.inputs(windows, prompts, &rows, self.blend.items as u32);
            all.push(member.probabilities(&own, &asked, self.blend.items)?);
        }
        Ok(all)
    }
}

/// Rank of the target under each candidate; where it is beyond [`Selection::MAX_RANK`], some rank
/// beyond.
///
/// An item that no member puts at least as high as the target is above it under no weights, and one
/// that all do under all, so only the others are summed.
fn ranks(rows: &[&[f64]], target: usize, candidates: &[Vec<f64>]) -> Vec<u32> {
    let own: Vec<f64> = rows.iter().map(|row| row[target]).collect();
    let (mut always, mut mixed) = (0, Vec::new());
    for item in 0..rows[0].len() {
        let mut above = 0;
        for (row, own) in rows.iter().zip(&own) {
            above += usize::from(row[item] >= *own);
        }
        if above == rows.len() {
            always += 1;
            if always > Selection::MAX_RANK {
                return vec![always; candidates.len()];
            }
        } else if above > 0 {
            mixed.extend(rows.iter().map(|row| row[item]));
        }
    }
    let mut ranks = Vec::with_capacity(candidates.len());
    for weights in candidates {
        let (bar, mut rank) = (weighted(weights, &own), always);
        for item in mixed.chunks_exact(rows.len()) {
            rank += u32::from(weighted(weights, item) >= bar);
            if rank > Selection::MAX_RANK {
                break;
            }
        }
        ranks.push(rank);
    }
    ranks
}

/// The blended probability, summed as [`Blend`] sums it.
fn weighted(weights: &[f64], p: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (weight, p) in weights.iter().zip(p) {
        sum += weight * p;
    }
    sum
}

/// Each member alone.
fn alone(members: usize) -> Vec<Vec<f64>> {
    let mut all = vec![vec![0.0; members]; members];
    for (r, weights) in all.iter_mut().enumerate() {
        weights[r] = 1.0;
    }
    all
}

/// The finest division of the simplex with at most [`MAX_GRID`] points.
fn parts(members: usize) -> usize {
    let mut parts = MAX_PARTS;
    while parts > 1 && points(parts, members) > MAX_GRID {
        parts -= 1;
    }
    parts
}

/// Number of ways to write `parts` as a sum of `members` numbers: a binomial coefficient.
fn points(parts: usize, members: usize) -> usize {
    let mut points = 1_usize;
    for r in 1..members {
        points = points.saturating_mul(parts + r) / r;
    }
    points
}

/// Weights in steps of 1 / `parts`.
fn grid(members: usize, parts: usize) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for r in 0..members {
        let mut longer = Vec::new();
        for counts in all {
            let left = parts - counts.iter().sum::<usize>();
            let least = if r + 1 == members { left } else { 0 };
            for count in least..=left {
                let mut counts = counts.clone();
                counts.push(count);
                longer.push(counts);
            }
        }
        all = longer;
    }
    let mut weights = Vec::with_capacity(all.len());
    for counts in all {
        weights.push(counts.iter().map(|&n| n as f64 / parts as f64).collect());
    }
    weights
}

/// These weights, and those with up to `step` moved from one member to another.
fn moves(weights: &[f64], step: f64) -> Vec<Vec<f64>> {
    let mut all = vec![weights.to_vec()];
    for from in 0..weights.len() {
        let moved = step.min(weights[from]);
        for to in 0..weights.len() {
            if from != to && moved > 0.0 {
                let mut next = weights.to_vec();
                next[from] -= moved;
                next[to] += moved;
                all.push(next);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{MAX_GRID, alone, grid, moves, parts, points, ranks, weighted};
    use crate::recipe::Selection;

    #[test]
    fn grid_spans_the_simplex() {
        assert_eq!(grid(2, 2), [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]);
        for members in 1..9 {
            let parts = parts(members);
            let all = grid(members, parts);
            assert_eq!(all.len(), points(parts, members));
            assert!(all.len() <= MAX_GRID);
            assert!(
                all.iter()
                    .all(|w| (w.iter().sum::<f64>() - 1.0).abs() < 1e-12)
            );
        }
        assert_eq!([1, 2, 3, 4].map(parts), [10, 10, 10, 7]);
        assert_eq!(
            moves(&[0.9, 0.1], 0.25),
            [[0.9, 0.1], [0.65, 0.35], [1.0, 0.0]]
        );
    }

    #[test]
    fn ranks_match_the_plain_count() {
        let value = |item: usize, r: usize| ((item * 37 + r * 101 + 13) % 97) as f64 / 97.0;
        let rows: Vec<Vec<f64>> = (0..3)
            .map(|r| (0..200).map(|i| value(i, r)).collect())
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let mut candidates = grid(3, 10);
        candidates.extend(alone(3));
        let mut within = 0;
        for target in 0..200 {
            let found = ranks(&rows, target, &candidates);
            for (weights, found) in candidates.iter().zip(found) {
                let at =
                    |item: usize| weighted(weights, &[rows[0][item], rows[1][item], rows[2][item]]);
                let rank = (0..200).filter(|&item| at(item) >= at(target)).count() as u32;
                if rank <= Selection::MAX_RANK {
                    within += 1;
                    assert_eq!(found, rank);
                } else {
                    assert!(found > Selection::MAX_RANK);
                }
            }
        }
        assert!(within > 500);
    }
}
