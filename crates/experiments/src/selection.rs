//! Which runs a call is about: the flags that choose them, and the study that they make.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use prl_fs::DirLock;

use crate::datasets::{Dataset, SOURCES};
use crate::experiment::{Study, Wish};
use crate::machine::Machine;
use crate::prl_binary::PrlBinary;
use crate::run_spec::Filter;
use crate::schedule::{Cut, Scale};
use crate::workspace::Workspace;

/// Flags that choose runs; the same ones name the same runs in every task.
#[derive(Clone, clap::Args)]
pub struct Choice {
    /// Where the raw logs lie: DIR/retailrocket/events.csv, DIR/rc15/yoochoose-clicks.dat and yoochoose-buys.dat
    #[arg(long, default_value = "datasets")]
    datasets: PathBuf,
    /// How much of it all
    #[arg(long, value_enum, default_value = "quick")]
    scale: Scale,
    /// Only these logs
    #[arg(long, value_delimiter = ',', default_value = "rc15,retailrocket")]
    logs: Vec<String>,
    /// Only these encoders, and what needs none [default: all; quick scale: GRU, and the others with normal and PRL]
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
    /// Run nothing: write the pages of the runs that this version of the code made, as their page names it
    #[arg(long)]
    code: Option<String>,
    /// Where the runs and the prepared data lie [default: runs]
    #[arg(long)]
    runs: Option<PathBuf>,
    /// Where the pages go [default: results/SCALE]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A study with its places.
pub struct Planned {
    /// The runs.
    pub study: Study,
    /// What makes them.
    pub prl: PrlBinary,
    /// Where they lie.
    pub runs: PathBuf,
    /// Where the pages go.
    pub out: PathBuf,
}

impl Choice {
    /// Whether nothing is to be run.
    pub fn is_of_the_past(&self) -> bool {
        self.code.is_some()
    }

    /// Prepares the data and plans the runs; builds `prl` for a device if need be.
    ///
    /// # Errors
    /// If a flag names what does not exist, or building or preparing fails.
    pub fn plan(&self, workspace: &Workspace, device: &str) -> Result<Planned> {
        ensure!(self.repeats > 0, "--repeats must be at least 1");
        ensure!(
            self.steps != Some(0) && self.validations != Some(0),
            "--steps and --validations must be at least 1"
        );
        let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
        if let Some(log) = self.logs.iter().find(|log| !names.contains(&log.as_str())) {
            bail!("--logs {log} is not one of {}", names.join(", "));
        }
        let filter = Filter {
            encoders: self.encoders.clone(),
            methods: self.methods.clone(),
        };
        filter.check()?;
        let prl = PrlBinary::find(workspace, device)?;
        let prl = match &self.code {
            Some(code) => prl.with_code(code.clone()),
            None => prl,
        };
        let [all_runs, out] = self.places(workspace)?;
        let open = |source| {
            Dataset::open(
                workspace,
                source,
                &self.datasets,
                &all_runs.join("data"),
                self.scale,
                &prl,
            )
        };
        let wanted = SOURCES
            .iter()
            .filter(|source| self.logs.iter().any(|log| log == source.name));
        let datasets = wanted.map(open).collect::<Result<Vec<_>>>()?;
        let cut = Cut {
            steps: self.steps,
            validations: self.validations,
        };
        let wish = Wish {
            scale: self.scale,
            repeats: self.repeats,
            cut,
            filter,
        };
        let runs = all_runs.join(self.scale.name());
        let study = Study::plan(
            wish,
            prl.version.clone(),
            prl.code.clone(),
            Machine::detect(workspace),
            datasets,
            &runs,
        );
        Ok(Planned {
            study,
            prl,
            runs,
            out,
        })
    }

    /// Takes the folders of the runs and of the pages for this process alone.
    ///
    /// # Errors
    /// If another process holds one: who it is.
    pub fn hold(&self, workspace: &Workspace) -> Result<[DirLock; 2]> {
        let [runs, out] = self.places(workspace)?;
        let take = |dir: PathBuf| {
            std::fs::create_dir_all(&dir)?;
            anyhow::Ok(DirLock::acquire(&dir)?)
        };
        Ok([take(runs.join(self.scale.name()))?, take(out)?])
    }

    /// Where the runs of all scales lie, and where the pages go.
    fn places(&self, workspace: &Workspace) -> Result<[PathBuf; 2]> {
        let runs = self
            .runs
            .clone()
            .unwrap_or_else(|| workspace.root.join("runs"));
        let out = self
            .out
            .clone()
            .unwrap_or_else(|| workspace.root.join("results").join(self.scale.name()));
        Ok([std::path::absolute(runs)?, std::path::absolute(out)?])
    }

    /// The flags that make the same choice from any folder, without the code.
    ///
    /// # Errors
    /// If the current folder is not known.
    pub fn flags(&self, workspace: &Workspace) -> Result<Vec<String>> {
        let [runs, out] = self
            .places(workspace)?
            .map(|path| path.display().to_string());
        let datasets = std::path::absolute(&self.datasets)?.display().to_string();
        let list = |names: &[String]| (!names.is_empty()).then(|| names.join(","));
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        let flags = [
            ("--datasets", Some(datasets)),
            ("--scale", Some(self.scale.name().to_owned())),
            ("--logs", list(&self.logs)),
            ("--encoders", list(&self.encoders)),
            ("--methods", list(&self.methods)),
            ("--repeats", Some(self.repeats.to_string())),
            ("--steps", number(self.steps)),
            ("--validations", number(self.validations)),
            ("--runs", Some(runs)),
            ("--out", Some(out)),
        ];
        Ok(flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?]))
            .flatten()
            .collect())
    }
}
