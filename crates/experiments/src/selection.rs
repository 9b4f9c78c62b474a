//! Command-line flags that select runs, and the experiment planned from them.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use prl_fs::DirLock;

use crate::datasets::{DatasetDirs, SOURCES};
use crate::experiment::Experiment;
use crate::machine::Machine;
use crate::prl_binary::PrlBinary;
use crate::run_spec::{ExperimentRequest, Filter};
use crate::schedule::{Scale, ScheduleOverride};
use crate::workspace::Workspace;

/// Flags that select runs; the same flags select the same runs in every command.
#[derive(Clone, clap::Args)]
pub struct Selection {
    /// Raw logs: DIR/retailrocket/events.csv, DIR/rc15/yoochoose-clicks.dat and yoochoose-buys.dat
    #[arg(long, default_value = "datasets")]
    datasets: PathBuf,
    /// Size of the experiment
    #[arg(long, value_enum, default_value = "quick")]
    scale: Scale,
    /// Only these logs
    #[arg(long, value_delimiter = ',', default_value = "rc15,retailrocket")]
    logs: Vec<String>,
    /// Only these encoders, and methods without one [default: all; quick scale: GRU, and the others
    /// with normal and PRL]
    #[arg(long, value_delimiter = ',')]
    encoders: Vec<String>,
    /// Only these methods [default: all; quick scale: see --encoders]
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
    /// Seeds of every trained row (quick scale repeats GRU normal and PRL only)
    #[arg(long, default_value_t = 3)]
    repeats: u64,
    /// Steps of every run in place of the scale's, with as many validations
    #[arg(long)]
    steps: Option<u64>,
    /// Validations of every run in place of the scale's
    #[arg(long)]
    validations: Option<u64>,
    /// Run nothing: write the pages of the runs of this code version, as their page names it
    #[arg(long)]
    code: Option<String>,
    /// Directory of the runs and the prepared data [default: runs]
    #[arg(long)]
    runs: Option<PathBuf>,
    /// Directory of the pages [default: results/SCALE]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// An experiment with its binary and its directories.
pub struct PlannedExperiment {
    /// Runs.
    pub experiment: Experiment,
    /// Binary that makes them.
    pub prl: PrlBinary,
    /// Directory of the runs of this scale.
    pub runs: PathBuf,
    /// Directory of the pages.
    pub out: PathBuf,
}

/// Output directories, as absolute paths.
struct OutputDirs {
    /// Runs of all scales.
    runs: PathBuf,
    /// Pages.
    out: PathBuf,
}

impl Selection {
    /// Whether only runs of older code are reported, and nothing is run.
    pub fn is_report_only(&self) -> bool {
        self.code.is_some()
    }

    /// Fails for what [`plan`](Self::plan) would refuse in these flags and in the raw files, and
    /// writes nothing.
    ///
    /// # Errors
    /// If a flag has an invalid value, or a log's raw files are incomplete.
    pub fn check(&self, workspace: &Workspace) -> Result<()> {
        self.checked_filter()?;
        for source in &SOURCES {
            if self.logs.iter().any(|log| log == source.name) {
                DatasetDirs::check(workspace, source, &self.datasets)?;
            }
        }
        Ok(())
    }

    /// Prepares the data and plans the runs; builds `prl` for a device if necessary.
    ///
    /// # Errors
    /// If a flag has an invalid value, or the build or the preparation fails.
    pub fn plan(&self, workspace: &Workspace, device: &str) -> Result<PlannedExperiment> {
        let filter = self.checked_filter()?;
        let mut prl = PrlBinary::find(workspace, device)?;
        if let Some(code) = &self.code {
            prl = prl.with_code(code.clone());
        }
        let dirs = self.output_dirs(workspace)?;
        let data = DatasetDirs {
            raw: self.datasets.clone(),
            prepared: dirs.runs.join("data"),
        };
        let mut datasets = Vec::new();
        for source in &SOURCES {
            if self.logs.iter().any(|log| log == source.name) {
                datasets.push(data.open(workspace, source, self.scale, &prl)?);
            }
        }
        let request = ExperimentRequest {
            scale: self.scale,
            repeats: self.repeats,
            overrides: ScheduleOverride {
                steps: self.steps,
                validations: self.validations,
            },
            filter,
        };
        let experiment = Experiment {
            request,
            version: prl.version.clone(),
            code: prl.code.clone(),
            machine: Machine::detect(workspace),
            datasets,
            runs: Vec::new(),
        };
        let runs = dirs.runs.join(self.scale.name());
        Ok(PlannedExperiment {
            experiment: experiment.plan_runs(&runs),
            prl,
            runs,
            out: dirs.out,
        })
    }

    fn checked_filter(&self) -> Result<Filter> {
        ensure!(self.repeats > 0, "--repeats must be at least 1");
        ensure!(
            self.steps != Some(0) && self.validations != Some(0),
            "--steps and --validations must be at least 1"
        );
        let names = SOURCES.each_ref().map(|source| source.name);
        for log in &self.logs {
            if !names.contains(&log.as_str()) {
                bail!("--logs {log} is not one of {}", names.join(", "));
            }
        }
        let filter = Filter {
            encoders: self.encoders.clone(),
            methods: self.methods.clone(),
        };
        filter.check()?;
        Ok(filter)
    }

    /// Locks the directories of the runs and of the pages for this process.
    ///
    /// # Errors
    /// If another process holds one; the error names it.
    pub fn lock(&self, workspace: &Workspace) -> Result<[DirLock; 2]> {
        let dirs = self.output_dirs(workspace)?;
        let runs = dirs.runs.join(self.scale.name());
        std::fs::create_dir_all(&runs)?;
        std::fs::create_dir_all(&dirs.out)?;
        Ok([DirLock::acquire(&runs)?, DirLock::acquire(&dirs.out)?])
    }

    fn output_dirs(&self, workspace: &Workspace) -> Result<OutputDirs> {
        let runs = match &self.runs {
            Some(runs) => runs.clone(),
            None => workspace.root.join("runs"),
        };
        let out = match &self.out {
            Some(out) => out.clone(),
            None => workspace.root.join("results").join(self.scale.name()),
        };
        Ok(OutputDirs {
            runs: std::path::absolute(runs)?,
            out: std::path::absolute(out)?,
        })
    }

    /// Flags that make the same selection from any directory, without the code version.
    ///
    /// # Errors
    /// If the current directory cannot be determined.
    pub fn flags(&self, workspace: &Workspace) -> Result<Vec<String>> {
        let dirs = self.output_dirs(workspace)?;
        let datasets = std::path::absolute(&self.datasets)?;
        let flags = [
            ("--datasets", Some(datasets.display().to_string())),
            ("--scale", Some(self.scale.name().to_owned())),
            ("--logs", joined(&self.logs)),
            ("--encoders", joined(&self.encoders)),
            ("--methods", joined(&self.methods)),
            ("--repeats", Some(self.repeats.to_string())),
            ("--steps", self.steps.map(|n| n.to_string())),
            ("--validations", self.validations.map(|n| n.to_string())),
            ("--runs", Some(dirs.runs.display().to_string())),
            ("--out", Some(dirs.out.display().to_string())),
        ];
        let mut words = Vec::new();
        for (flag, value) in flags {
            if let Some(value) = value {
                words.extend([flag.to_owned(), value]);
            }
        }
        Ok(words)
    }
}

fn joined(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(","))
}
