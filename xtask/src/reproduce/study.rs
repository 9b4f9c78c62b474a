//! A study: every run of one scale, how it stands, and what may be said of it.

use std::path::{Path, PathBuf};

use super::data::Dataset;
use super::outcome::{Finished, Outcome, Report};
use super::paper;
use super::spec::{Scale, Schedule, Spec};
use crate::machine::Machine;

/// All runs of one scale on all datasets.
pub struct Study {
    /// How much of it all.
    pub scale: Scale,
    /// What `prl --version` says.
    pub version: String,
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
    /// How much work it is, in a unit of its own.
    pub cost: u64,
}

impl Study {
    /// Plans the runs, to lie in `runs`.
    pub fn plan(
        scale: Scale,
        repeats: u64,
        version: String,
        machine: Machine,
        datasets: Vec<Dataset>,
        runs: &Path,
    ) -> Self {
        let mut study = Self { scale, version, machine, datasets, runs: Vec::new() };
        for (i, dataset) in study.datasets.iter().enumerate() {
            let schedule = study.schedule(dataset);
            let planned = Spec::all(repeats).into_iter().map(|spec| {
                let flags = spec.flags(schedule);
                let name = spec.directory(dataset.source.name, &dataset.manifest.dataset, &study.version, &flags);
                // Nearly all of a step is spent on the head, over all items.
                let steps = if spec.encoder.is_some() { schedule.steps } else { 1 };
                let cost = steps * dataset.manifest.counts.after_length_filter.items.max(1);
                Run { dataset: i, spec, dir: runs.join(name), flags, cost }
            });
            study.runs.extend(planned);
        }
        study
    }

    /// How long the runs on a dataset train.
    pub fn schedule(&self, dataset: &Dataset) -> Schedule {
        self.scale.schedule(dataset.training_rows())
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
            Some(full) if full.sessions != counts.sessions => {
                Some(format!("the log holds {} sessions, the full one {}", counts.sessions, full.sessions))
            }
            _ if self.scale == Scale::Quick => Some("a quick run trains for fewer steps than the protocol".into()),
            _ => None,
        }
    }

    /// The rows of a dataset's table.
    pub fn rows<'a>(&'a self, dataset: usize, outcomes: &'a [Outcome]) -> Vec<Row<'a>> {
        let all: Vec<(&Run, &Outcome)> =
            self.runs.iter().zip(outcomes).filter(|(run, _)| run.dataset == dataset).collect();
        let same = |a: &(&Run, &Outcome), b: &(&Run, &Outcome)| {
            (a.0.spec.encoder, a.0.spec.method) == (b.0.spec.encoder, b.0.spec.method)
        };
        all.chunk_by(same).map(Row::of).filter(|row| !row.done.is_empty() || !row.failed.is_empty()).collect()
    }
}

/// A row of a table: the same run with every seed, those that are not done yet left out.
pub struct Row<'a> {
    /// The encoder, if it has one.
    pub encoder: Option<&'static str>,
    /// The method.
    pub method: &'static str,
    /// The runs that are done, with their seeds.
    pub done: Vec<(u64, &'a Finished)>,
    /// Those that failed, with why.
    pub failed: Vec<(u64, &'a str)>,
}

/// Which split a number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The one the paper reports.
    Test,
    /// The one the best weights are chosen by.
    Val,
}

impl Split {
    /// In the order of the tables.
    pub const ALL: [Split; 2] = [Split::Test, Split::Val];

    /// As `prl` names it.
    pub fn name(self) -> &'static str {
        match self {
            Split::Test => "test",
            Split::Val => "val",
        }
    }

    /// The report on it.
    pub fn of(self, run: &Finished) -> &Report {
        match self {
            Split::Test => &run.test,
            Split::Val => &run.val,
        }
    }
}

impl<'a> Row<'a> {
    fn of(runs: &[(&'a Run, &'a Outcome)]) -> Self {
        let spec = &runs[0].0.spec;
        let mut row = Self { encoder: spec.encoder, method: spec.method, done: Vec::new(), failed: Vec::new() };
        for (run, outcome) in runs {
            match outcome {
                Outcome::Pending => {}
                Outcome::Failed(why) => row.failed.push((run.spec.seed, why)),
                Outcome::Done(finished) => row.done.push((run.spec.seed, finished)),
            }
        }
        row
    }

    /// Its name: `gru prl`, `popularity`.
    pub fn title(&self) -> String {
        self.encoder.map_or(self.method.to_owned(), |encoder| format!("{encoder} {}", self.method))
    }

    /// The seeds of the runs that are done: `seed 0`, `seeds 0, 1, 2`.
    pub fn seeds(&self) -> String {
        let seeds: Vec<String> = self.done.iter().map(|(seed, _)| seed.to_string()).collect();
        format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, seeds.join(", "))
    }

    /// A number over the seeds; `None` if a run lacks it, or none is done.
    pub fn over_seeds(&self, split: Split, value: impl Fn(&Report) -> Option<f64>) -> Option<OverSeeds> {
        let values: Vec<f64> = self.done.iter().map(|(_, run)| value(split.of(run))).collect::<Option<_>>()?;
        OverSeeds::of(&values)
    }

    /// The first run that is done.
    pub fn first(&self) -> Option<(u64, &'a Finished)> {
        self.done.first().copied()
    }
}

/// A number over the seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverSeeds {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl OverSeeds {
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        (n > 0).then(|| Self {
            mean: values.iter().sum::<f64>() / n as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// What is ours less what is the paper's, and whether that is within the tolerance. Both are taken as they are printed, to
/// four decimals.
pub fn difference(ours: f64, paper: f64) -> (f64, bool) {
    let to_print = |x: f64| (x * 1e4).round();
    let difference = to_print(ours) - to_print(paper);
    (difference / 1e4, difference.abs() <= to_print(paper::TOLERANCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_holds_the_mean() {
        assert_eq!(OverSeeds::of(&[0.25, 0.75, 0.5]), Some(OverSeeds { mean: 0.5, min: 0.25, max: 0.75 }));
        assert_eq!(OverSeeds::of(&[]), None);
    }

    #[test]
    fn the_verdict_is_on_what_is_printed() {
        assert_eq!(difference(0.4714, 0.4514), (0.02, true));
        assert_eq!(difference(0.47144, 0.4514), (0.02, true), "prints as 0.4714");
        assert_eq!(difference(0.4715, 0.4514), (0.0201, false));
        assert_eq!(difference(0.4304, 0.4514), (-0.021, false));
    }
}
