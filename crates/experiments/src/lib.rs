//! Experiments of the paper.

pub mod bundle;
pub mod cases;
pub mod code_version;
pub mod datasets;
pub mod devices;
pub mod experiment;
pub mod files;
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
