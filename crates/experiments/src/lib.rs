//! Experiments of the paper: plans the runs, makes them with the `prl` binary, and reads and tests
//! their results.
//!
//! - Plan: [`matrix`] lists the encoders, methods and tables. [`selection`] holds the command-line
//!   flags, [`schedule`] the training lengths. A [`RunSpec`](run_spec::RunSpec) is one system and
//!   seed; an [`Experiment`](experiment::Experiment) is all runs of a request.
//! - Run: [`runner`] makes the runs on this machine, [`slurm`] on a cluster. Both execute a
//!   [`Task`](task::Task) per run, through [`prl_binary`].
//! - Read: [`outcome`] reads a run's directory, [`cases`] the ranks of its test cases, and
//!   [`paper`] has the paper's numbers.
//! - Tables: a [`ResultTable`](result_table::ResultTable) combines all of these with the tests of
//!   [`significance`].
//!
//! The directory of a run is its only state. Its name contains a fingerprint of code, dataset and
//! flags, so results of different settings never mix.
//!
//! # Example
//!
//! The runs of one system of the matrix, and their flags for `prl train`:
//!
//! ```
//! use prl_experiments::run_spec::{ExperimentRequest, Filter, RunSpec};
//! use prl_experiments::schedule::{Scale, ScheduleOverride};
//!
//! let request = ExperimentRequest {
//!     scale: Scale::Paper,
//!     repeats: 3,
//!     overrides: ScheduleOverride::default(),
//!     filter: Filter {
//!         encoders: vec!["gru".into()],
//!         methods: vec!["prl".into()],
//!     },
//! };
//! let runs = RunSpec::all("rc15", &request);
//! assert_eq!(runs.len(), 3);
//! assert_eq!(runs[0].title(), "GRU PRL seed 0");
//!
//! let schedule = Scale::Paper.schedule(1_000_000, request.overrides);
//! let flags = runs[0].flags("rc15", schedule);
//! assert!(flags.join(" ").starts_with("--method prl --seed 0 --encoder gru"));
//! ```

pub mod bundle;
pub mod cases;
pub mod code_version;
pub mod datasets;
pub mod devices;
pub mod experiment;
pub mod files;
pub mod fingerprint;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod machine;
pub mod matrix;
pub mod outcome;
pub mod paper;
pub mod prl_binary;
pub mod programs;
pub mod progress;
pub mod prompt_sweep;
pub mod result_table;
pub mod run_spec;
pub mod runner;
pub mod schedule;
pub mod selection;
pub mod significance;
pub mod slurm;
pub mod table_row;
pub mod task;
pub mod workspace;

pub use files::write_file;
pub use machine::Machine;
pub use workspace::Workspace;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
