//! Training of session recommenders: a prepared dataset in, a run directory out.
//!
//! All randomness is a function of the seed and the training step, so a resumed training is bitwise
//! equal to an uninterrupted one.
//!
//! ```no_run
//! use prl_runs::Config;
//! use prl_train::{Evaluation, Observer, Trainer};
//!
//! struct Print;
//!
//! impl Observer for Print {
//!     fn evaluated(&mut self, evaluation: &Evaluation, is_best: bool) {
//!         println!("step {}, best: {is_best}", evaluation.step);
//!     }
//! }
//!
//! # fn main() -> prl_runs::Result<()> {
//! let config = Config {
//!     data: "datasets/prepared/rr".into(),
//!     ..Config::default()
//! };
//! Trainer::new(&config, "runs/prl".as_ref()).run(&mut Print)?;
//! # Ok(())
//! # }
//! ```

mod batches;
mod grow;
mod memory;
mod network_schedule;
mod observer;
mod trainer;

pub use batches::Batches;
pub use observer::{Evaluation, Observer, Observers, Outcome};
pub use trainer::Trainer;
