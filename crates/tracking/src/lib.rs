//! Tracking of trainings in the tools of others: TensorBoard's event files, and MLflow's file store
//! and server.
//!
//! [`Tracking`] observes a training. Each tracker gets every number of `metrics.jsonl` under one
//! name, the settings as parameters, and the state in which the training ended. It has a thread of
//! its own, so a tracker that is slow or down delays no training step: the records wait, one
//! warning is printed, and what is missing is sent with the next record, at the end, or when the
//! training is resumed. A resumed training continues the tracker's run, whose name is in the run
//! directory's `tracking.json`; records that the tracker has are not sent again.
//!
//! MLflow gets 64-bit floats. TensorBoard gets them rounded to 32 bits (`simple_value`), since its
//! server shows no others.

mod delivery;
mod error;
mod mlflow;
mod numbers;
mod run_ids;
mod target;
mod tensorboard;
mod tracked_run;
mod tracking;

pub use error::{Error, Result};
pub use target::Target;
pub use tracked_run::{RunEnd, name_of_folder};
pub use tracking::{Tracking, track_scores};
