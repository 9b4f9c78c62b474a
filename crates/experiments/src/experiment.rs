//! An experiment: all planned runs of one scale on all datasets.

use std::path::{Path, PathBuf};

use crate::datasets::Dataset;
use crate::machine::Machine;
use crate::matrix::{System, systems};
use crate::paper;
use crate::prompt_sweep::{self, PromptSetting};
use crate::run_spec::{ExperimentRequest, RunSpec};
use crate::schedule::{BATCH, Schedule};
use crate::task::Task;

/// All runs of one scale on all datasets.
pub struct Experiment {
    /// Request that it answers.
    pub request: ExperimentRequest,
    /// Output of `prl --version`.
    pub version: String,
    /// Code version, see [`code_version`](crate::code_version).
    pub code: String,
    /// Machine of the current command.
    pub machine: Machine,
    /// Datasets, in the order of the paper's tables.
    pub datasets: Vec<Dataset>,
    /// Runs, dataset by dataset and row by row; filled by [`plan_runs`](Self::plan_runs).
    pub runs: Vec<PlannedRun>,
}

/// A run of an experiment.
pub struct PlannedRun {
    /// Index of its dataset.
    pub dataset: usize,
    /// System and seed.
    pub spec: RunSpec,
    /// Directory of its files.
    pub dir: PathBuf,
    /// Flags of `prl train` that determine its result.
    pub flags: Vec<String>,
    /// Prompts to evaluate, that of the tables included.
    pub prompts: Vec<PromptSetting>,
    /// Estimated work, in units of scoring one item with its gradient.
    pub cost: f64,
}

impl Experiment {
    /// Plans all runs, with directories below `runs`.
    pub fn plan_runs(mut self, runs: &Path) -> Self {
        let mut planned = Vec::new();
        for (i, dataset) in self.datasets.iter().enumerate() {
            for spec in RunSpec::all(dataset.source.name, &self.request) {
                planned.push(self.plan_run(i, spec, runs));
            }
        }
        self.runs = planned;
        self
    }

    fn plan_run(&self, i: usize, spec: RunSpec, runs: &Path) -> PlannedRun {
        let dataset = &self.datasets[i];
        let log = dataset.source.name;
        let schedule = self.schedule(dataset);
        let flags = spec.flags(log, schedule);
        let name = spec.directory(log, &dataset.manifest.dataset, &self.code, &flags);
        let scale = self.request.scale;
        let prompts = if scale.sweeps_prompts(&spec.system) {
            prompt_sweep::prompts(scale)
        } else {
            Vec::new()
        };
        let cost = cost(dataset, schedule, &spec.system, prompts.len());
        PlannedRun {
            dataset: i,
            spec,
            dir: runs.join(name),
            flags,
            prompts,
            cost,
        }
    }

    /// Self-contained description of the work of a run.
    pub fn task(&self, run: &PlannedRun) -> Task {
        Task {
            dir: run.dir.clone(),
            data: self.dataset(run).dir.clone(),
            flags: run.flags.clone(),
            prompts: run.prompts.clone(),
        }
    }

    /// Schedule of the runs on a dataset.
    pub fn schedule(&self, dataset: &Dataset) -> Schedule {
        self.request
            .scale
            .schedule(dataset.rows("train"), self.request.overrides)
    }

    /// Dataset of a run.
    pub fn dataset(&self, run: &PlannedRun) -> &Dataset {
        &self.datasets[run.dataset]
    }

    /// Title of a run with its log: `RC15 GRU PRL seed 0`.
    pub fn run_title(&self, run: &PlannedRun) -> String {
        format!("{} {}", self.dataset(run).source.title, run.spec.title())
    }

    /// Why results on a dataset cannot be compared with the paper's; `None` if they can.
    pub fn incomparable(&self, dataset: &Dataset) -> Option<String> {
        let title = dataset.source.title;
        if dataset.is_synthetic() {
            return Some(format!("the data is SYNTHETIC, not {title}"));
        }
        // Only sessions are compared: the paper's sample of RC15 is lost, and any other sample has
        // other numbers of items and clicks.
        let sessions = dataset.manifest.counts.before_length_filter.sessions;
        if let Some(full) = paper::counts(dataset.source.name)
            && full.sessions != sessions
        {
            return Some(format!(
                "the log holds {sessions} sessions, the full one {}",
                full.sessions
            ));
        }
        self.schedule(dataset)
            .is_shortened()
            .then(|| "runs train for fewer steps than the protocol has".into())
    }

    /// Systems of the matrix that are not run on a dataset.
    pub fn excluded_systems(&self, dataset: &Dataset) -> Vec<System> {
        let mut excluded = systems(dataset.source.name);
        excluded.retain(|system| !self.request.includes(system));
        excluded
    }
}

/// Estimated work of a run. Ranking an example scores every item once; learning from it costs three
/// times that (forward and backward pass) and the work of the encoder.
fn cost(dataset: &Dataset, schedule: Schedule, system: &System, prompts: usize) -> f64 {
    let items = dataset.manifest.counts.after_length_filter.items.max(1);
    let (steps, validations) = if system.has_encoder() {
        (schedule.steps, 1 + schedule.steps / schedule.eval_every)
    } else {
        (0, 1)
    };
    let learned = (steps * BATCH) as f64 * system.cost(items);
    let ranked = validations * dataset.rows("val") + (1 + prompts as u64) * dataset.rows("test");
    learned + (ranked * items) as f64 / 3.0
}
