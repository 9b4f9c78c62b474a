//! Tests of the `prl` binary. Modules `slow_*` train models or start other programs; modules
//! `network_*` open sockets on the loopback interface.

#[path = "../../../train/tests/common/mod.rs"]
mod common;

#[cfg(all(feature = "data", feature = "serve", unix))]
#[path = "../../../serve/tests/it/common/http.rs"]
#[allow(dead_code, reason = "only a part of the client is used")]
mod http;

#[cfg(all(feature = "data", feature = "serve", unix))]
#[path = "../../../store/tests/it/redis_server.rs"]
mod redis_server;

mod docs;
mod evaluate;
#[cfg(all(feature = "data", feature = "serve"))]
mod first_use;
#[cfg(feature = "data")]
mod item_properties;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_evening;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_experiment;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_operations;
#[cfg(feature = "serve")]
mod network_remote;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_replicas;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_requests;
#[cfg(all(feature = "data", feature = "serve"))]
mod network_simulate;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_stores;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod network_web;
#[cfg(feature = "tables")]
mod ope;
#[cfg(feature = "data")]
mod prepare_inputs;
mod prompts;
mod refused;
#[cfg(feature = "data")]
mod serenade;
mod slow_batch;
#[cfg(all(feature = "data", feature = "serve", unix))]
mod slow_demo;
mod slow_export;
#[cfg(feature = "data")]
mod slow_grow;
#[cfg(unix)]
mod slow_kill;
#[cfg(feature = "data")]
mod slow_simulate;
#[cfg(all(unix, feature = "data"))]
mod slow_spark;
#[cfg(unix)]
mod slow_tune;
#[cfg(feature = "data")]
mod slow_workflow;
