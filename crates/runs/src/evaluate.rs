//! Evaluation of a trained model on a split: every event is a case, ranked among all items.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use prl_core::{PromptPosition, PromptSpec, TargetReturn};
use prl_dataset::{Dataset, Split, SplitExamples};
use prl_eval::{Case, Recommended, Report, Setting, TOP};

use crate::error::{Error, Result};
use crate::recommender::Recommender;
use crate::run_dir::Run;

/// Rank and recommendations of every case.
pub struct Cases {
    /// Kind and rank of each event.
    pub cases: Vec<Case>,
    /// The session of each event: equal numbers mean one session.
    pub sessions: Vec<u32>,
    /// The best items of each event, `k` each.
    pub top: Vec<u32>,
}

/// Ranks the target of every example under a prompt, and keeps the `k` best items.
pub fn cases(
    run: &Run,
    model: &Recommender,
    rows: &SplitExamples<'_>,
    ask: PromptSpec,
    batch: usize,
    k: usize,
) -> Result<Cases> {
    let all = cases_unless(&AtomicBool::new(false), run, model, rows, ask, batch, k)?;
    Ok(all.expect("the flag is never set"))
}

/// As [`cases`], but `None` if `stop` becomes true between two batches.
pub fn cases_unless(
    stop: &AtomicBool,
    run: &Run,
    model: &Recommender,
    rows: &SplitExamples<'_>,
    ask: PromptSpec,
    batch: usize,
    k: usize,
) -> Result<Option<Cases>> {
    let sessions = rows.session_of_examples();
    let (mut cases, mut top) = (
        Vec::with_capacity(rows.len()),
        Vec::with_capacity(rows.len() * k),
    );
    for start in (0..rows.len()).step_by(batch.max(1)) {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let range = start..(start + batch.max(1)).min(rows.len());
        let batch = rows.batch(range.clone(), run.config().model.window, None);
        let moments = moments(run, rows, range, &batch.windows.time_steps, ask, &sessions);
        let prompts = run.prompts(ask, &moments);
        let ranking = model.rank(&batch.windows, &prompts, Some(&batch.targets), k)?;
        for (&kind, rank) in batch.kinds.iter().zip(ranking.ranks) {
            cases.push(Case { kind, rank });
        }
        for (item, _) in ranking.top.into_iter().flatten() {
            top.push(item);
        }
    }
    Ok(Some(Cases {
        cases,
        sessions,
        top,
    }))
}

/// Prompt positions of the examples: each by itself, or within its session if the prompt is
/// sequence-wise.
fn moments(
    run: &Run,
    rows: &SplitExamples<'_>,
    range: Range<usize>,
    steps: &[u32],
    ask: PromptSpec,
    sessions: &[u32],
) -> Vec<PromptPosition> {
    let mut positions = Vec::with_capacity(steps.len());
    if !ask.sequence_wise {
        for (row, &step) in range.zip(steps) {
            positions.push(PromptPosition::at(step, row as u64));
        }
        return positions;
    }
    let given = rows.returns_so_far(range.clone(), run.config().return_rule());
    for ((row, &step), return_so_far) in range.zip(steps).zip(given) {
        positions.push(PromptPosition {
            step,
            return_so_far,
            discount_to_step: run.decay(step),
            case: u64::from(sessions[row]),
        });
    }
    positions
}

/// The cases of a split under the run's settings.
///
/// # Errors
/// [`Error::EmptySplit`] if there are none.
pub fn rows<'a>(run: &Run, data: &'a Dataset, split: Split) -> Result<SplitExamples<'a>> {
    let rows = run.config().examples(data, split);
    if rows.is_empty() {
        return Err(Error::EmptySplit {
            path: data.dir().to_owned(),
            split: split.name(),
        });
    }
    Ok(rows)
}

/// Evaluates a model on a split under a prompt. `mu` and `eps` of the report are those of a relative
/// prompt.
pub fn evaluate(
    run: &Run,
    model: &Recommender,
    data: &Dataset,
    split: Split,
    ask: PromptSpec,
    batch: usize,
) -> Result<(Report, Cases)> {
    let rows = rows(run, data, split)?;
    let start = Instant::now();
    let said = cases(run, model, &rows, ask, batch, TOP)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut report = report(run, data, split, model.is_prompted().then_some(ask), &said)?;
    report.events_per_second = Some(rows.len() as f64 / seconds.max(1e-9));
    Ok((report, said))
}

/// The metrics of a split's cases; `ask` is the prompt, `None` for a model without one.
pub fn report(
    run: &Run,
    data: &Dataset,
    split: Split,
    ask: Option<PromptSpec>,
    said: &Cases,
) -> Result<Report> {
    let (mu, eps) = match ask.map(|ask| ask.target) {
        Some(TargetReturn::Relative { mu, eps }) => (Some(mu), Some(eps)),
        _ => (None, None),
    };
    let setting = Setting {
        split,
        dataset: data.manifest().dataset.clone(),
        mu,
        eps,
        prompt: ask
            .map(serde_json::to_value)
            .transpose()
            .map_err(|e| Error::Config(e.to_string()))?,
        rewards: run.config().rewards,
        interval_seed: run.config().seed,
    };
    let popularity = prl_baselines::Popularity::fit(data);
    let recommended = Recommended {
        items: &said.top,
        popularity: popularity.counts(),
    };
    Ok(Report::new(
        setting,
        &said.cases,
        &said.sessions,
        Some(recommended),
    )?)
}
