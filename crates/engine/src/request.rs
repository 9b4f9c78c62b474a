//! Requests to the engine and their responses, as `prl-runs` defines them.

/// An event of a session, by raw item id.
pub type Event = prl_runs::Event<Box<str>>;

#[cfg(feature = "openapi")]
pub use prl_runs::event_kinds;
pub use prl_runs::{
    Filter, FromJson, Id, InvalidRequest, Json, JsonFields, MAX_ID_BYTES, MAX_ITEMS,
    RecommendRequest, RecommendResponse, RequestFields, check_ids,
};
