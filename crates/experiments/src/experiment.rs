//! A study: every run of one scale, how it stands, and what may be said of it.

use std::path::{Path, PathBuf};

use crate::datasets::Dataset;
use crate::machine::Machine;
use crate::matrix::{System, systems};
use crate::outcome::Outcome;
use crate::paper;
use crate::prompt_sweep::{self, Ask};
use crate::run_spec::{Filter, Spec};
use crate::schedule::{BATCH, Cut, Scale, Schedule};
use crate::table_row::Row;
use crate::task::Task;

/// What a call asks for.
pub struct Wish {
    /// How much of it all.
    pub scale: Scale,
    /// Seeds of every trained row.
    pub repeats: u64,
    /// What is cut of its schedule.
    pub cut: Cut,
    /// Which systems.
    pub filter: Filter,
}

impl Wish {
    /// Whether a system is run: the scale's own choice, unless the call names encoders or methods.
    pub fn keeps(&self, system: &System) -> bool {
        self.filter.keeps(system) && (self.scale.runs(system) || !self.filter.is_open())
    }
}

/// All runs of one scale on all datasets.
pub struct Study {
    /// What was asked for.
    pub wish: Wish,
    /// What `prl --version` says.
    pub version: String,
    /// What tells the code from any other's.
    pub code: String,
    /// The machine of this call.
    pub machine: Machine,
    /// The datasets, in the order of the tables.
    pub datasets: Vec<Dataset>,
    /// The runs, dataset by dataset, row by row.
    pub runs: Vec<Run>,
}

/// A run that is planned.
pub struct Run {
    /// Position of its dataset.
    pub dataset: usize,
    /// What it is.
    pub spec: Spec,
    /// Where it lies.
    pub dir: PathBuf,
    /// The flags of `prl train` that shape it.
    pub flags: Vec<String>,
    /// The prompts it is asked beside that of the tables.
    pub asks: Vec<Ask>,
    /// How much work it is, in a unit of its own.
    pub cost: f64,
}

impl Study {
    /// Plans the runs of `code`, to lie in `runs`.
    pub fn plan(
        wish: Wish,
        version: String,
        code: String,
        machine: Machine,
        datasets: Vec<Dataset>,
        runs: &Path,
    ) -> Self {
        let mut study = Self {
            wish,
            version,
            code,
            machine,
            datasets,
            runs: Vec::new(),
        };
        for (i, dataset) in study.datasets.iter().enumerate() {
            let specs = Spec::all(dataset.source.name, &study.wish);
            let planned: Vec<Run> = specs
                .into_iter()
                .map(|spec| study.run(i, dataset, spec, runs))
                .collect();
            study.runs.extend(planned);
        }
        study
    }

    fn run(&self, i: usize, dataset: &Dataset, spec: Spec, runs: &Path) -> Run {
        let schedule = self.schedule(dataset);
        let flags = spec.flags(dataset.source.name, schedule);
        let name = spec.directory(
            dataset.source.name,
            &dataset.manifest.dataset,
            &self.code,
            &flags,
        );
        let scale = self.wish.scale;
        let asks = if scale.asks(&spec.system) {
            prompt_sweep::asks(scale)
        } else {
            Vec::new()
        };
        let cost = cost(dataset, schedule, &spec.system, asks.len());
        Run {
            dataset: i,
            spec,
            dir: runs.join(name),
            flags,
            asks,
            cost,
        }
    }

    /// What there is to do for a run.
    pub fn task(&self, run: &Run) -> Task {
        let data = self.dataset(run).dir.clone();
        Task {
            dir: run.dir.clone(),
            data,
            flags: run.flags.clone(),
            asks: run.asks.clone(),
        }
    }

    /// How long the runs on a dataset train.
    pub fn schedule(&self, dataset: &Dataset) -> Schedule {
        self.wish
            .scale
            .schedule(dataset.training_rows(), self.wish.cut)
    }

    /// The dataset of a run.
    pub fn dataset(&self, run: &Run) -> &Dataset {
        &self.datasets[run.dataset]
    }

    /// Why numbers on a dataset say nothing about the paper's; `None` if they do.
    pub fn incomparable(&self, dataset: &Dataset) -> Option<String> {
        let title = dataset.source.title;
        let counts = dataset.manifest.counts.before_length_filter;
        if dataset.is_synthetic() {
            return Some(format!("the data is SYNTHETIC, not {title}"));
        }
        match paper::counts(dataset.source.name) {
            // The paper's sample of RC15 is lost: any other has other items and clicks.
            Some(full) if full.sessions != counts.sessions => Some(format!(
                "the log holds {} sessions, the full one {}",
                counts.sessions, full.sessions
            )),
            _ if self.schedule(dataset).is_cut() => {
                Some("runs train for fewer steps than the protocol has".into())
            }
            _ => None,
        }
    }

    /// The row of a system on a dataset; `None` if nothing of it was asked for.
    pub fn row<'a>(
        &'a self,
        dataset: usize,
        system: System,
        outcomes: &'a [Outcome],
    ) -> Option<Row<'a>> {
        let own = |(run, _): &(&Run, &Outcome)| run.dataset == dataset && run.spec.system == system;
        let mut runs = self.runs.iter().zip(outcomes).filter(own).peekable();
        runs.peek()?;
        Some(Row::of(system, runs))
    }

    /// The systems that no run was asked of on a dataset.
    pub fn left_out(&self, dataset: &Dataset) -> Vec<System> {
        systems(dataset.source.name)
            .into_iter()
            .filter(|system| !self.wish.keeps(system))
            .collect()
    }
}

/// One pass over all items a row that is ranked; three and the encoder's own work a row that is learned from.
fn cost(dataset: &Dataset, schedule: Schedule, system: &System, asks: usize) -> f64 {
    let items = dataset.manifest.counts.after_length_filter.items.max(1);
    let (steps, validations) = if system.is_baseline() {
        (0, 1)
    } else {
        (schedule.steps, 1 + schedule.steps / schedule.eval_every)
    };
    let learned = (steps * BATCH) as f64 * system.cost(items);
    let ranked = validations * dataset.rows("val") + (1 + asks as u64) * dataset.rows("test");
    learned + (ranked * items) as f64 / 3.0
}
