//! Connections and what every request passes: listeners, middleware, signals.

pub(crate) mod accept;
pub(crate) mod guard;
pub(crate) mod signals;
