//! The engine over HTTP: `prl serve`.
//!
//! A thin layer: it reads and checks JSON, asks [`prl_engine`], and writes JSON or a problem document (RFC 9457). All routes
//! stand in one table (`app.rs`) with who may use them; the OpenAPI document is tested against it. The server listens before
//! its model is loaded and says so until then, so that an orchestrator sees it live, then ready.

mod accept;
mod admin;
mod app;
mod body;
mod catalogue;
mod guard;
mod health;
mod metrics;
mod page;
mod problem;
mod recommend;
mod request;
mod server;
mod sessions;
mod signals;

pub use guard::ApiKey;
pub use server::{Error, Options, Server};
