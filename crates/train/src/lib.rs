//! Training of session recommenders: a prepared dataset in, a run directory out.
//!
//! All randomness is a function of the seed and the training step, so that a resumed training has
//! the same bits as an uninterrupted one.

mod batches;
mod network_schedule;
mod trainer;

pub use batches::Batches;
pub use trainer::{Evaluation, Observer, Outcome, train, train_over};
