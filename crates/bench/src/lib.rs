//! Benches of the system. The `prl-bench` program runs them and writes a page for each; the library
//! holds the measurement of a child process, which the reliability tests share.
//!
//! ```no_run
//! use std::process::Command;
//!
//! let measured = prl_bench::measure::run(Command::new("prl").arg("--version"))?;
//! println!("{:.3} s, {:?} MB", measured.seconds, measured.peak_mb);
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod jsonl;
pub mod measure;
