//! Connections and what every request passes: listeners, TLS, middleware, signals.

pub(crate) mod accept;
pub(crate) mod context;
pub(crate) mod cors;
pub(crate) mod encoding;
pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod options;
pub(crate) mod prefix;
pub(crate) mod signals;
pub(crate) mod tls;
#[cfg(unix)]
pub(crate) mod unix;
