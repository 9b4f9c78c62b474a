//! Run directories: what a training writes, and the recommender that is loaded from it.
//!
//! A run directory holds the settings, the item ids, the mean returns of the training sessions,
//! checkpoints and a manifest: everything that a recommendation needs. The prepared dataset is
//! needed for evaluation only.
//!
//! ```no_run
//! use prl_core::PromptSpec;
//! use prl_runs::{Device, Event, Run};
//!
//! # fn main() -> prl_runs::Result<()> {
//! let run = Run::open("runs/prl".as_ref())?;
//! let model = run.load(&Device::Cpu)?;
//! let session = [Event::click("item-7"), Event::click("item-3")];
//! let list = run.recommend(&model, &session, PromptSpec::default(), 10)?;
//! println!("{:?}", list.items);
//! # Ok(())
//! # }
//! ```

mod arrange;
mod baseline;
mod blend;
mod checkpoint;
mod config;
mod error;
mod evaluate;
mod forecast;
mod format;
mod inference;
mod lineage;
mod manifest;
mod method;
mod popularity;
mod recipe;
mod recommend;
mod recommender;
mod registry;
mod request;
mod respond;
mod return_stats;
mod run_dir;
mod validation;

pub use arrange::{ArrangedList, Arrangement};
pub use baseline::fit_baseline;
pub use blend::{Blend, BlendBuilder, BlendManifest, BlendMember};
pub use candle_core::Device;
pub use checkpoint::{Checkpoint, Progress};
pub use config::Config;
pub use error::{Error, Result};
pub use evaluate::{
    CaseBatch, CaseLog, CaseSink, Cases, Change, CurvePoint, Evaluation, RankedCase, Tally, cases,
    cases_unless, curve, evaluate, list_len,
};
pub use forecast::{Forecast, ForecastReport, Forecaster};
pub use inference::{InferenceModel, ListInputs, ListRequest};
pub use lineage::{Lineage, NewItems, OptimizerStart, ParentRun};
pub use manifest::{ImportedWeights, Machine, RunManifest};
pub use method::Method;
pub use prl_dataset::Event;
pub use prl_items::{ItemMask, LiveItems, Where};
pub use prl_kernels::ops::top_k_serving::{ItemFilter, TopK, TopKRequest};
pub use recipe::{HoldOutBy, LossWeighting, LrSchedule, Recipe, Sampling, Selection};
pub use recommend::{PromptUsed, Recommendation, Recommendations, SessionState};
pub use recommender::{NoTilt, Recommender, rank_scores};
pub use registry::{CURRENT, Promotion, RegisteredRun, Registry};
#[cfg(feature = "openapi")]
pub use request::event_kinds;
pub use request::{
    DEFAULT_K, Filter, FromJson, Id, InvalidRequest, Json, JsonFields, MAX_ALLOWED, MAX_EXCLUDED,
    MAX_ID_BYTES, MAX_ITEMS, MAX_K, MAX_PROMPT, MAX_TILT, MaxPer, RecommendRequest, RequestFields,
    check_ids,
};
pub use respond::{AVAILABLE, Candidates, ListSource, RecommendResponse, Responder, unpinned};
pub use run_dir::Run;
pub use validation::Validation;
