//! Training of session recommenders: a prepared dataset in, a run directory out.
//!
//! All randomness is a function of the seed and the training step, so that a resumed training has
//! the same bits as an uninterrupted one.

mod batches;
mod network_schedule;
mod observer;
mod trainer;

pub use batches::Batches;
pub use observer::{Evaluation, Observer, Outcome};
pub use trainer::Trainer;
