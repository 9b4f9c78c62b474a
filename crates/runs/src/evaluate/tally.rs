//! Running totals of an evaluation, and its report.

use prl_baselines::Popularity;
use prl_core::{PromptSpec, TargetReturn};
use prl_eval::{Case, Cutoffs, OtherLog, Recommended, Report, Setting};

use crate::error::{Error, Result};
use crate::evaluate::{CaseLog, RankedCase};
use crate::run_dir::Run;

/// Ranks and statistics of the lists of the cases so far: 12 bytes a case, and a few an item.
pub struct Tally<'a> {
    run: &'a Run,
    cases: Vec<Case>,
    sessions: Vec<u32>,
    lists: Recommended,
}

impl<'a> Tally<'a> {
    /// No case yet.
    pub fn new(run: &'a Run, log: &CaseLog<'_>) -> Result<Self> {
        // Another log does not hold the events that the run was trained on.
        let popularity = match log.is_other() {
            true => None,
            false => Some(Popularity::fit(log.data()).counts().to_vec()),
        };
        Ok(Self {
            run,
            cases: Vec::new(),
            sessions: Vec::new(),
            lists: Recommended::new(run.items().len(), popularity)?,
        })
    }

    /// Adds a case.
    pub fn push(&mut self, case: &RankedCase<'_>) -> Result<()> {
        self.cases.push(Case {
            kind: case.kind,
            rank: case.rank,
        });
        self.sessions.push(case.session);
        self.lists.add(case.top.iter().map(|&(item, _)| item))?;
        Ok(())
    }

    /// The metrics of all cases; `ask` is the prompt, `None` for a model without one.
    pub fn report(
        self,
        log: &CaseLog<'_>,
        ask: Option<PromptSpec>,
        other_log: Option<OtherLog>,
        cutoffs: Option<&[u32]>,
        seconds: f64,
    ) -> Result<Report> {
        let (mu, eps) = match ask.map(|ask| ask.target) {
            Some(TargetReturn::Relative { mu, eps }) => (Some(mu), Some(eps)),
            _ => (None, None),
        };
        let prompt = ask.map(serde_json::to_value).transpose();
        let config = self.run.config();
        let setting = Setting {
            split: log.split(),
            dataset: log.data().manifest().dataset.clone(),
            mu,
            eps,
            prompt: prompt.map_err(|e| Error::Config(e.to_string()))?,
            rewards: config.rewards,
            interval_seed: config.seed,
            conventions: log.conventions(),
            other_log,
        };
        let (cases, sessions, lists) = (&self.cases, &self.sessions, Some(&self.lists));
        let mut report = Report::new(setting, cases, sessions, lists)?;
        if let Some(k) = cutoffs {
            report.at_k = Some(Cutoffs::new(k, cases, sessions, lists, config.seed)?);
        }
        report.events_per_second = Some(cases.len() as f64 / seconds.max(1e-9));
        Ok(report)
    }
}
