//! A trainable session recommender: item embedding, encoder, prompt block and output layer, with
//! one training step and one inference.
//!
//! The item embedding and the output layer have a row for each item of the catalogue; the backbone
//! between them, encoder and prompt block, is small. Only the backbone is differentiated by
//! candle: the embedding hands it gathered rows as a variable and receives their gradient, the
//! output layer returns the gradient of the hidden vectors, and each updates its own table in one
//! pass, so that no training step allocates a tensor of the catalogue's size.

mod backend;
mod config;
mod device;
mod dtype;
mod embedding;
mod error;
mod finite;
mod finite_check;
mod gradients;
mod head;
mod model;
mod network;
mod param;
mod process_group;
mod q_learning;
mod timing;
mod training_batch;

pub use candle_core::Device;
pub use config::{ModelConfig, check_bf16_head};
pub use device::{describe as describe_device, device};
pub use error::{Error, Result};
pub use finite::is_finite;
pub use model::{MainNetwork, Model, ModelSpec};
pub use param::AdamParam;
pub use prl_kernels::ops::adam::Adam;
pub use process_group::{Buffer, ProcessGroup, SingleProcess};
pub use timing::StepTimes;
pub use training_batch::{TrainingBatch, Transitions};
