//! Ranks of the examples of a split, as validation during training needs them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use prl_core::{PromptPosition, PromptSpec};
use prl_dataset::SplitExamples;
use prl_eval::Case;

use crate::error::Result;
use crate::evaluate::Cases;
use crate::recommender::Recommender;
use crate::run_dir::Run;

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
            return_of_state: 0.0,
            case: u64::from(sessions[row]),
        });
    }
    positions
}
