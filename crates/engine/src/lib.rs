//! In-process inference engine: one trained run answers concurrent requests.
//!
//! [`Engine::submit`] resolves raw item ids to indices on the caller's thread and puts the request
//! into a bounded queue. One inference thread drains the queue in batches and scores every item of
//! the catalogue; the caller's thread maps the ranked indices back to raw ids. A response does not
//! depend on the batch: it has the same bits as [`Run::recommend`](prl_runs::Run::recommend).
//! [`Engine::reload`] replaces the model behind one pointer.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use prl_core::{PromptSpec, TargetReturn};
//! use prl_engine::{Engine, Event, Filter, Options, RecommendRequest};
//!
//! let engine = Engine::open(Path::new("runs/prl"), Options::default())?;
//! let response = engine.recommend(&RecommendRequest {
//!     session: vec![Event::click("item-4".into()), Event::click("item-5".into())],
//!     prompt: PromptSpec::from(TargetReturn::Relative { mu: 2.0, eps: 0.0 }),
//!     case: 0,
//!     forecast: false,
//!     k: 10,
//!     filter: Filter::default(),
//!     properties: Vec::new(),
//! })?;
//! for item in &response.answer.items {
//!     println!("{} {:.3}", item.item, item.score);
//! }
//! # Ok::<(), prl_engine::Error>(())
//! ```

mod engine;
mod error;
mod loaded_model;
mod queue;
mod request;
mod stats;
mod worker;

pub use engine::{Engine, Options, PendingResponse};
pub use error::{Error, Result};
pub use loaded_model::LoadedModel;
pub use prl_runs::{Device, PromptUsed, Recommendation, Recommendations};
#[cfg(feature = "openapi")]
pub use request::event_kinds;
pub use request::{
    Event, Filter, FromJson, Id, InvalidRequest, Json, JsonFields, MAX_ID_BYTES, MAX_ITEMS,
    RecommendRequest, RecommendResponse, RequestFields, check_ids,
};
pub use stats::{Histogram, SECONDS, Stats};
