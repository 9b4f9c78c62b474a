//! Evaluation of a model written in Python, on the cases and by the metrics of a run.

use std::path::Path;
use std::time::Instant;

use anyhow::anyhow;
use prl_dataset::Windows;
use prl_eval::{CaseSplit, Conventions, NOT_RANKED, Report};
use prl_runs::{CaseBatch, CaseLog, RankedCase, Run, Tally, TopK, list_len, rank_scores};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use rayon::prelude::*;

use crate::errors::{of_command, usage};

/// The cases of an evaluation.
pub struct Cases<'a> {
    /// The run whose dataset and catalogue they are of.
    pub run: &'a Run,
    /// The split.
    pub split: CaseSplit,
    /// Directory of the dataset, if it was moved.
    pub data: Option<&'a Path>,
    /// Which events are cases, and which items are ranked.
    pub conventions: Conventions,
    /// Cutoffs of further metrics.
    pub cutoffs: Option<&'a [u32]>,
    /// Cases that are scored at once.
    pub batch_size: usize,
}

/// The split of a name; `None` for another name, and for all events, which a run was trained on.
pub fn split(name: &str) -> Option<CaseSplit> {
    let splits = [CaseSplit::Train, CaseSplit::Val, CaseSplit::Test];
    splits.into_iter().find(|split| split.name() == name)
}

/// Evaluates `scorer`, which is called with the sessions of each batch.
pub fn evaluate(cases: &Cases<'_>, scorer: &Bound<'_, PyAny>) -> PyResult<Report> {
    let py = scorer.py();
    let failed = |error: prl_runs::Error| of_command(py, &anyhow!(error).into());
    let run = cases.run;
    let data = run.data(cases.data).map_err(failed)?;
    let log = CaseLog::own(run, &data, cases.split, cases.conventions).map_err(failed)?;
    let mut tally = Tally::new(run, &log).map_err(failed)?;
    let k = list_len(cases.cutoffs);
    let start = Instant::now();
    // An exception ends the evaluation, and is raised in place of its error.
    let mut raised = None;
    let mut rank = |batch: CaseBatch| {
        let scores = match scores(scorer, &batch.windows, run.items().len()) {
            Ok(scores) => scores,
            Err(error) => {
                raised = Some(error);
                return Err(prl_runs::Error::Sink("the scorer has failed".into()));
            }
        };
        let ranked = py.detach(|| rank_batch(&batch, &scores, k))?;
        for (b, (rank, top)) in ranked.iter().enumerate() {
            tally.push(&RankedCase {
                session: batch.sessions[b],
                kind: batch.kinds[b],
                rank: rank.unwrap_or(NOT_RANKED),
                item: "",
                top,
                step: batch.positions[b].step,
                target_return: None,
            })?;
        }
        Ok(())
    };
    let window = log.longest_session().max(1);
    let ended = log.for_each_batch(cases.batch_size, window, run.ask(), &mut rank);
    if let Some(raised) = raised {
        return Err(raised);
    }
    ended.map_err(failed)?;
    let seconds = start.elapsed().as_secs_f64();
    let report = tally.report(&log, None, None, cases.cutoffs, seconds);
    report.map_err(failed)
}

/// The scores of a batch `[B, items]`, in the order of its cases.
fn scores(scorer: &Bound<'_, PyAny>, windows: &Windows, items: usize) -> PyResult<Vec<f32>> {
    let py = scorer.py();
    py.check_signals()?;
    let sessions = PyList::empty(py);
    for b in 0..windows.len() {
        let own = &windows.items[b * windows.window_len..][..windows.lengths[b] as usize];
        // The one position of an empty session is a pad.
        let own = if windows.time_steps[b] == 0 { &[] } else { own };
        let mut bytes = Vec::with_capacity(4 * own.len());
        for item in own {
            bytes.extend(item.to_le_bytes());
        }
        sessions.append(PyBytes::new(py, &bytes))?;
    }
    let returned = scorer.call1((sessions,))?;
    let bytes = returned.cast::<PyBytes>()?.as_bytes();
    let mut scores = Vec::with_capacity(windows.len() * items);
    let (values, _) = bytes.as_chunks::<4>();
    for (at, value) in values.iter().enumerate() {
        let score = f32::from_le_bytes(*value);
        if score.is_nan() || score == f32::INFINITY {
            let item = at % items.max(1);
            let what = format!(
                "the scorer returned {score} for the item of index {item}; expected a finite score, or -inf for an item that is last"
            );
            return Err(usage(py, &what));
        }
        // Below it is only what a convention leaves out.
        scores.push(score.max(f32::MIN));
    }
    if scores.len() != windows.len() * items {
        let what = format!(
            "the scorer returned {} scores for {} sessions; expected {items} for each",
            scores.len(),
            windows.len()
        );
        return Err(usage(py, &what));
    }
    Ok(scores)
}

/// Rank of the target and best items of each case.
fn rank_batch(
    batch: &CaseBatch,
    scores: &[f32],
    k: usize,
) -> prl_runs::Result<Vec<(Option<u32>, TopK<f32>)>> {
    let items = scores.len() / batch.targets.len().max(1);
    let one = |b: usize| {
        let own = scores[b * items..][..items].to_vec();
        rank_scores(own, batch.targets[b], &batch.excluded[b], k)
    };
    (0..batch.targets.len()).into_par_iter().map(one).collect()
}
