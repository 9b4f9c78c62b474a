//! A trainable session recommender: item embedding, encoder, prompt block and output layer, with
//! one training step and one inference.
//!
//! The item embedding and the output layer have a row for each item of the catalogue; the backbone
//! between them, encoder and prompt block, is small. Only the backbone is differentiated by candle:
//! the embedding hands it gathered rows as a variable and receives their gradient, the output layer
//! returns the gradient of the hidden vectors, and each updates its own table in one pass, so that
//! no training step allocates a tensor of the catalogue's size. The similarity head of the modern
//! recipe does, unless negatives are sampled: a scaled copy of the item vectors, and their
//! gradient.
//!
//! ```
//! use candle_core::DType;
//! use prl_core::Prompts;
//! use prl_kernels::ops::adam::Adam;
//! use prl_model::{Device, MainNetwork, Model, ModelConfig, ModelSpec, NetworkOptions};
//! use prl_model::{StepTimes, TrainingBatch};
//! use prl_dataset::Windows;
//!
//! # fn main() -> prl_model::Result<()> {
//! let config = ModelConfig {
//!     dim: 8,
//!     window: 5,
//!     ..ModelConfig::default()
//! };
//! let spec = ModelSpec {
//!     dim: 8,
//!     items: 100,
//!     block: None,
//!     is_double: false,
//!     seed: 1,
//!     dtype: DType::F32,
//!     options: NetworkOptions::default(),
//! };
//! let model = Model::new(&config, &spec, &Device::Cpu)?;
//!
//! // One example: after the items 3 and 7, the session continues with 9.
//! let mut windows = Windows::new(5);
//! windows.push(&[3, 7], 100);
//! let batch = TrainingBatch {
//!     windows,
//!     prompts: Prompts {
//!         returns: vec![0.0],
//!         steps: vec![2],
//!         tilt: 0.0,
//!     },
//!     targets: vec![9],
//!     loss_weights: vec![1.0],
//!     transitions: None,
//!     sequences: None,
//! };
//! for step in 1..=20 {
//!     let adam = Adam::new(0.01);
//!     model.step(adam, MainNetwork::single(step), &batch, &mut StepTimes::default())?;
//! }
//! let ranking = model.rank(&batch.windows, &batch.prompts, Some(&batch.targets), 1)?;
//! assert_eq!(ranking.top[0][0].0, 9);
//! # Ok(())
//! # }
//! ```

mod config;
mod device;
mod dtype;
mod embedding;
mod error;
mod event_kinds;
mod finite;
mod finite_check;
mod forecast_head;
mod gradients;
mod head;
mod head_dtype;
mod model;
mod negative_sampler;
mod network;
mod own_items;
mod packed_cache;
mod param;
mod process_group;
mod q_learning;
mod similarity_head;
mod state_residual;
#[cfg(feature = "cuda")]
mod step_graphs;
mod timing;
mod training_batch;

pub use candle_core::Device;
pub use config::{ModelConfig, check_negatives};
pub use device::{describe as describe_device, device};
pub use error::{Error, Result};
pub use finite::is_finite;
pub use forecast_head::{ForecastExamples, ForecastHead};
pub use head_dtype::HeadDtype;
pub use model::{MainNetwork, Model, ModelSpec};
pub use negative_sampler::{NegativeOptions, NegativeSampler, NegativeSampling};
pub use network::NetworkOptions;
pub use own_items::OwnItems;
pub use param::AdamParam;
pub use prl_kernels::ops::adam::Adam;
pub use process_group::{Buffer, ProcessGroup, SingleProcess};
pub use state_residual::ResidualKind;
pub use timing::StepTimes;
pub use training_batch::{TrainingBatch, Transitions};
