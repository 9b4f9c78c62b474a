//! Output of a search: the leaderboard on the terminal, `index.html`, and JSON.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use prl_dataset::Dataset;
use prl_fs::write_atomic;
use prl_tune::page::{SearchFacts, page};
use prl_tune::{Status, Trial, count, leaderboard, plain, ranking};
use serde_json::{Value, json};

use super::Args;
use super::candidates::Candidates;
use super::search_dir::SearchDir;
use crate::output::{errln, outln};

/// Trials on the leaderboard.
const TOP: usize = 10;

/// Reports of a search: leaderboard, page and result.
pub(super) struct Output<'a> {
    candidates: &'a Candidates,
    dir: &'a SearchDir,
    dataset: String,
    is_synthetic: bool,
    pruner: &'static str,
    seed: u64,
    /// The leaderboard while the search runs; hidden if stderr is no terminal.
    board: ProgressBar,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        candidates: &'a Candidates,
        dir: &'a SearchDir,
        data: &Dataset,
        args: &Args,
    ) -> Self {
        let board = if std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            board.set_style(style);
        }
        Self {
            candidates,
            dir,
            dataset: data.dir().display().to_string(),
            is_synthetic: data.manifest().input.source.synthetic,
            pruner: args.pruner.name(),
            seed: args.seed,
            board,
        }
    }

    /// Shows the trials so far.
    pub(super) fn report(&self, trials: &[Trial]) -> anyhow::Result<()> {
        if !self.board.is_hidden() {
            let table = leaderboard(trials, &self.candidates.metric, TOP);
            self.board.set_message(format!("{table}{}", counts(trials)));
            self.board.tick();
        }
        let facts = SearchFacts {
            dataset: &self.dataset,
            is_synthetic: self.is_synthetic,
            metric: &self.candidates.metric,
            pruner: self.pruner,
            seed: self.seed,
            space: &self.candidates.space,
        };
        let html = page(&facts, trials)?;
        write_atomic(&self.dir.path().join("index.html"), html)?;
        Ok(())
    }

    /// Reports a trial that has ended.
    pub(super) fn ended(&self, trial: &Trial, trials: &[Trial]) -> anyhow::Result<()> {
        let mut settings = Vec::new();
        for (name, value) in &trial.settings {
            settings.push(format!("{name}={}", plain(value)));
        }
        let (number, settings) = (trial.number, settings.join(" "));
        let state = state(trial.status);
        let value = match (trial.best(), &trial.message) {
            (_, Some(message)) => message.clone(),
            (Some(best), None) => format!(
                "{} {:.4} at epoch {:.2}, {:.1} s",
                self.candidates.metric, best.value, best.epoch, trial.seconds
            ),
            (None, None) => "no validation".into(),
        };
        self.board
            .suspend(|| errln!("trial {number} {state}: {value}; {settings}"));
        self.report(trials)
    }

    /// Prints the result.
    pub(super) fn finish(&self, trials: &[Trial], is_json: bool) -> anyhow::Result<()> {
        self.board.finish_and_clear();
        self.report(trials)?;
        if is_json {
            outln!("{}", self.json(trials))?;
            return Ok(());
        }
        let table = leaderboard(trials, &self.candidates.metric, TOP);
        outln!("{table}{}", counts(trials))?;
        if !ranking(trials).is_empty() {
            let dir = self.dir.path().display();
            outln!("the best run is {dir}/best, the page {dir}/index.html")?;
        }
        Ok(())
    }

    /// All trials as one JSON object.
    pub(super) fn json(&self, trials: &[Trial]) -> Value {
        let best = ranking(trials).first().map(|trial| trial.number);
        let mut all = Vec::new();
        for trial in trials {
            let point = trial.best();
            all.push(json!({
                "trial": trial.number,
                "status": trial.status,
                "value": point.map(|point| point.value),
                "epoch": point.map(|point| point.epoch),
                "seconds": trial.seconds,
                "settings": trial.settings,
                "message": trial.message,
            }));
        }
        json!({ "metric": self.candidates.metric, "best": best, "trials": all })
    }
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Incomplete => "incomplete",
        Status::Finished => "finished",
        Status::Stopped => "stopped",
        Status::Failed => "failed",
    }
}

/// Number of trials in each state that occurs.
fn counts(trials: &[Trial]) -> String {
    let mut parts = Vec::new();
    for status in [
        Status::Finished,
        Status::Stopped,
        Status::Failed,
        Status::Incomplete,
    ] {
        let count = count(trials, status);
        if count > 0 {
            parts.push(format!("{count} {}", state(status)));
        }
    }
    format!("{} trials: {}", trials.len(), parts.join(", "))
}
