//! A trained run that answers many at once; it knows no HTTP.
//!
//! Those who ask read raw ids into indices and name the answer's items on their own threads; between them and the one thread
//! that infers stands a bounded queue ([`Engine::submit`]). Whatever waits when that thread comes round is one batch, scored
//! over the whole catalogue exactly, so an answer is the same bits in any company, and the same as
//! [`Run::recommend`](prl_runs::Run::recommend) gives. A reload swaps the model behind one pointer.

mod engine;
mod error;
mod loaded_model;
mod queue;
mod request;
mod session_store;
mod stats;
mod worker;

pub use engine::{Engine, Options, PendingResponse};
pub use error::{Error, Result};
pub use loaded_model::LoadedModel;
pub use prl_runs::Device;
pub use request::{Event, Filter, RecommendRequest, RecommendResponse};
pub use session_store::{SessionLimits, SessionStore};
pub use stats::{Histogram, SECONDS, Stats};
