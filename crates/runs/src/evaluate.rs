//! Evaluation of a trained model: the events of a log are cases, ranked among all items or among
//! those that a convention leaves.

mod case_log;
mod curve;
mod examples;
mod tally;

use std::time::Instant;

use prl_core::PromptSpec;
use prl_dataset::{Dataset, Kind, Split};
use prl_eval::{Case, Conventions, Report, TOP};

use crate::error::{Error, Result};
use crate::recommender::Recommender;
use crate::run_dir::Run;

pub use case_log::{CaseBatch, CaseLog};
pub use curve::{Change, CurvePoint, curve};
pub use examples::{cases, cases_unless};
pub use tally::Tally;

/// Rank and recommendations of every case.
#[derive(Default)]
pub struct Cases {
    /// Kind and rank of each event.
    pub cases: Vec<Case>,
    /// The session of each event: equal numbers mean one session.
    pub sessions: Vec<u32>,
    /// The best items of each event, `k` each.
    pub top: Vec<u32>,
}

/// A ranked case. Item indices are the run's.
#[derive(Clone, Copy, Debug)]
pub struct RankedCase<'a> {
    /// Number of its session among the sessions with a case.
    pub session: u32,
    /// Kind of its event.
    pub kind: Kind,
    /// Rank of its target; [`NOT_RANKED`](prl_eval::NOT_RANKED) if it has none.
    pub rank: u32,
    /// Raw id of its target.
    pub item: &'a str,
    /// Top items with their scores, best first.
    pub top: &'a [(u32, f32)],
    /// Time step: number of known items in the state.
    pub step: u32,
    /// Target return that was fed, in the model's unit; `None` for a model without a prompt.
    pub target_return: Option<f64>,
}

/// Receives the cases of an evaluation, in the order of the log.
pub trait CaseSink {
    /// Takes a case; an error ends the evaluation.
    fn push(
        &mut self,
        case: &RankedCase<'_>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

impl CaseSink for Cases {
    fn push(
        &mut self,
        case: &RankedCase<'_>,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.cases.push(Case {
            kind: case.kind,
            rank: case.rank,
        });
        self.sessions.push(case.session);
        for &(item, _) in case.top {
            self.top.push(item);
        }
        Ok(())
    }
}

/// An evaluation of a run's model on a log.
pub struct Evaluation<'a> {
    run: &'a Run,
    model: &'a Recommender,
    ask: PromptSpec,
    batch_size: usize,
    cutoffs: Option<&'a [u32]>,
}

impl<'a> Evaluation<'a> {
    /// Evaluation under the run's prompt.
    pub fn new(run: &'a Run, model: &'a Recommender) -> Self {
        Self {
            run,
            model,
            ask: run.ask(),
            batch_size: 256,
            cutoffs: None,
        }
    }

    /// Sets the prompt. `mu` and `eps` of the report are those of a relative prompt.
    pub fn prompt(mut self, ask: PromptSpec) -> Self {
        self.ask = ask;
        self
    }

    /// Sets the number of cases ranked at once; results do not depend on it.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Adds the metrics at these cutoffs to the report.
    pub fn cutoffs(mut self, k: &'a [u32]) -> Self {
        self.cutoffs = Some(k);
        self
    }

    /// Ranks all cases of a log, passes each to the sinks, and returns their metrics.
    ///
    /// # Errors
    /// A score that is not finite, or an error of a sink.
    pub fn run(self, log: &CaseLog<'_>, sinks: &mut [&mut dyn CaseSink]) -> Result<Report> {
        let Self {
            run, model, ask, ..
        } = self;
        let k = list_len(self.cutoffs);
        let forecaster = run.forecaster_for(ask)?;
        let mut tally = Tally::new(run, log)?;
        let start = Instant::now();
        let mut rank = |mut batch: CaseBatch| {
            if let Some(forecaster) = &forecaster {
                let positions = &mut batch.positions;
                forecaster.set_targets(model, &batch.windows, ask.target, positions)?;
            }
            let prompts = run.prompts(ask, &batch.positions);
            let ranking = model.rank_cases(&batch, &prompts, k)?;
            for (b, top) in ranking.top.iter().enumerate() {
                let case = RankedCase {
                    session: batch.sessions[b],
                    kind: batch.kinds[b],
                    rank: ranking.ranks[b],
                    item: log.data().items().raw(batch.log_items[b]).unwrap_or(""),
                    top,
                    step: batch.positions[b].step,
                    target_return: model.is_prompted().then_some(prompts.returns[b]),
                };
                tally.push(&case)?;
                for sink in sinks.iter_mut() {
                    sink.push(&case).map_err(Error::Sink)?;
                }
            }
            Ok(())
        };
        let window = run.config().model.window;
        let other_log = log.for_each_batch(self.batch_size, window, ask, &mut rank)?;
        let seconds = start.elapsed().as_secs_f64();
        let prompt = (model.is_prompted() || ask.tilt != 0.0).then_some(ask);
        tally.report(log, prompt, other_log, self.cutoffs, seconds)
    }
}

/// Length of the lists: that of the paper's tables, or the largest cutoff.
pub fn list_len(cutoffs: Option<&[u32]>) -> usize {
    let largest = cutoffs.and_then(|k| k.iter().max());
    TOP.max(largest.map_or(0, |&k| k as usize))
}

/// Evaluates a model on a split of the run's dataset by the paper's protocol.
pub fn evaluate(
    run: &Run,
    model: &Recommender,
    data: &Dataset,
    split: Split,
    ask: PromptSpec,
    batch: usize,
) -> Result<(Report, Cases)> {
    let conventions = Conventions {
        skip_first: run.config().skip_first,
        ..Conventions::default()
    };
    let log = CaseLog::own(run, data, split.into(), conventions)?;
    let mut cases = Cases::default();
    let report = Evaluation::new(run, model)
        .prompt(ask)
        .batch_size(batch)
        .run(&log, &mut [&mut cases])?;
    Ok((report, cases))
}
