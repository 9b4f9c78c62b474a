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

mod accept;
mod admin;
mod app;
mod body;
mod catalogue;
mod events;
mod experiment;
mod guard;
mod health;
mod items;
mod metrics;
mod openapi;
mod page;
mod problem;
mod recommend;
mod response;
mod server;
mod sessions;
mod signals;
mod similar;

pub use guard::ApiKey;
pub use server::{Error, Options, Server};
