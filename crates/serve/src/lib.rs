//! HTTP server of a trained run: `prl serve`.
//!
//! Reads and validates JSON, calls [`prl_engine`], and writes JSON or a problem document (RFC
//! 9457). Every handler carries its OpenAPI description, so the routes and `/openapi.json` have one
//! source. The server listens before its model is loaded: it is live first and ready later, as an
//! orchestrator expects.
//!
//! ```no_run
//! use prl_serve::{Options, Server};
//!
//! let mut options = Options::new("runs/prl");
//! options.requests = 256;
//! let server = Server::start(options)?;
//! println!("listening on http://{}", server.addr());
//! server.wait()?; // until Ctrl-C or SIGTERM
//! # Ok::<(), prl_serve::Error>(())
//! ```

mod admin;
mod app;
mod body;
mod candidate;
mod catalogue;
mod events;
mod experiment;
mod follow;
mod health;
mod items;
mod keys;
mod metrics;
mod openapi;
mod page;
mod problem;
mod recommend;
mod response;
mod server;
mod sessions;
mod storage;
mod web;

pub use candidate::CandidateOptions;
pub use keys::{ApiKey, KeysError, Role, check_keys, new_secret};
pub use prl_store::{Error as StoreError, SessionLimits, StoreAddress};
pub use server::{Error, Options, Server};
pub use web::cors::{CorsOrigin, InvalidOrigin};
pub use web::listen::{InvalidAddr, ListenAddr};
pub use web::options::{TlsOptions, WebOptions};
pub use web::prefix::{InvalidPrefix, PathPrefix};
pub use web::tls::TlsError;
