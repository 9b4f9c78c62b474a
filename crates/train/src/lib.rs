//! Training, evaluating and asking a model: the prepared dataset in, a run directory out.
//!
//! A model has two large ends, the item embedding and the output layer, and a small middle, the encoder and the prompt
//! block. Only the middle is differentiated as a whole: the ends hand it a leaf and take a gradient back, and update themselves in
//! one sweep each, so that no step ever allocates anything of the catalogue's size. All randomness is a function of the
//! seed and the step, which makes resuming exact and repeats equal.

mod ask;
mod baseline;
mod batches;
mod checkpoint;
mod config;
mod device;
mod double_q;
mod dtype;
mod embedding;
mod error;
mod evaluate;
mod finite;
mod head;
mod manifest;
mod method;
mod model;
mod network;
mod ranks;
mod returns;
mod run;
mod served;
mod slot;
mod trained;
mod trainer;
mod watch;

pub use ask::{Answer, Event, PromptUsed, Recommendation, State};
pub use batches::Batches;
pub use candle_core::Device;
pub use config::{Config, Model as ModelConfig};
pub use device::{describe as describe_device, device};
pub use double_q::Turn;
pub use error::{Error, Result};
pub use evaluate::{Cases, cases, evaluate, report, rows};
pub use manifest::{Machine, RunManifest};
pub use method::Method;
pub use model::{Examples, Model, Plan, Transitions};
pub use network::StepTimes;
pub use prl_kernels::catalogue::{Among, Top, Wanted};
pub use ranks::{Alone, Numbers, Ranks};
pub use run::Run;
pub use served::Served;
pub use trained::Trained;
pub use trainer::{Evaluation, Observer, Outcome, train, train_over};
