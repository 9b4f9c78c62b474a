//! Search over the settings of a training.
//!
//! A [`Space`] is parsed from TOML, [`tpe`] proposes the settings of each trial from those before
//! it, a [`Pruner`] stops trials early, and a [`TrialLog`] keeps what happened, so that a killed
//! search continues. [`leaderboard`](fn@leaderboard) and [`page`](page::page) report the trials.
//! How a trial is run is not in this crate.
//!
//! ```
//! use prl_tune::tpe::{Sample, propose};
//! use prl_tune::Space;
//!
//! let space = Space::parse("space.toml", "x = { min = 0.0, max = 1.0 }")?;
//! let mut trials = Vec::new();
//! for number in 0..30 {
//!     let mut samples = Vec::new();
//!     for (settings, value) in &trials {
//!         samples.push(Sample { settings, value: Some(*value) });
//!     }
//!     let settings = propose(&space, &samples, 7, (number, 0));
//!     let x = settings["x"].as_float().unwrap();
//!     trials.push((settings, -(x - 0.3).abs()));
//! }
//! assert!(trials.iter().any(|(_, value)| *value > -0.02));
//! # Ok::<(), prl_tune::Error>(())
//! ```

mod domain;
mod error;
mod leaderboard;
pub mod page;
mod parallel;
mod parzen;
mod pruner;
mod space;
pub mod tpe;
mod trial;
mod trial_log;

pub use domain::{Axis, Domain, Range, plain};
pub use error::{Error, Result};
pub use leaderboard::{common, differing, leaderboard};
pub use pruner::Pruner;
pub use space::{Assignment, DEFAULT_SPACE, Space, Variable};
pub use trial::{CurvePoint, Status, Trial, count, ranking};
pub use trial_log::TrialLog;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
