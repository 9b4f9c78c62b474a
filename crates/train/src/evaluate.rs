//! A trained model on a split: every event a case, every item ranked.

use std::time::Instant;

use prl_core::Ask;
use prl_eval::{Case, Recommended, Report, Setting, TOP};
use prl_sessions::{Dataset, Rows, Split};

use crate::error::{Error, Result};
use crate::run::{Run, Trained};

/// What a model said of each case.
pub struct Cases {
    /// Kind and rank of each event.
    pub cases: Vec<Case>,
    /// The best items of each event, `k` each.
    pub top: Vec<u32>,
}

/// Ranks the target of every row under a prompt, and keeps the `k` best items.
pub fn cases(run: &Run, model: &Trained, rows: &Rows<'_>, ask: Ask, batch: usize, k: usize) -> Result<Cases> {
    let (mut cases, mut top) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() * k));
    for start in (0..rows.len()).step_by(batch) {
        let batch = rows.batch(start..(start + batch).min(rows.len()), run.config().model.window, None);
        let prompts = run.prompts(ask, &batch.windows.steps, start as u64);
        let ranking = model.rank(&batch.windows, &prompts, Some(&batch.targets), k)?;
        cases.extend(batch.kinds.iter().zip(ranking.ranks).map(|(&kind, rank)| Case { kind, rank }));
        top.extend(ranking.top.into_iter().flatten().map(|(item, _)| item));
    }
    Ok(Cases { cases, top })
}

/// Evaluates the run's best weights on a split under a prompt. `mu` and `eps` of the report are those of a relative prompt.
pub fn evaluate(run: &Run, model: &Trained, data: &Dataset, split: Split, ask: Ask, batch: usize) -> Result<Report> {
    let rows = Rows::new(data, split, run.config().skip_first);
    if rows.is_empty() {
        return Err(Error::EmptySplit { path: data.dir().to_owned(), split: split.name() });
    }
    let start = Instant::now();
    let said = cases(run, model, &rows, ask, batch.max(1), TOP)?;
    let seconds = start.elapsed().as_secs_f64();
    let (mu, eps) = match ask {
        Ask::Relative { mu, eps } if model.is_prompted() => (Some(mu), Some(eps)),
        _ => (None, None),
    };
    let setting = Setting {
        split,
        dataset: data.manifest().dataset.clone(),
        mu,
        eps,
        rewards: run.config().rewards,
        interval_seed: run.config().seed,
    };
    let popularity = prl_baselines::Popularity::fit(data);
    let recommended = Recommended { items: &said.top, popularity: popularity.counts() };
    let mut report = Report::new(setting, &said.cases, &rows.session_of_rows(), Some(recommended))?;
    report.events_per_second = Some(rows.len() as f64 / seconds.max(1e-9));
    Ok(report)
}
