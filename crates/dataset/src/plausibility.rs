//! Figures of a log that show whether it was read as it was meant.

use serde::{Deserialize, Serialize};

/// Figures of the events before the filter by session length, and warnings about the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plausibility {
    /// Earliest time, ISO 8601, UTC; `None` if the log has no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_time: Option<String>,
    /// Latest time, ISO 8601, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<String>,
    /// Number of events that the counts below refer to.
    pub events: u64,
    /// Events at the time of the event before them in their session: their order is the files'.
    pub tied_in_session: u64,
    /// Events whose time another event of the log has.
    pub tied_in_log: u64,
    /// Events whose item occurred before in their session.
    pub repeats: Repeats,
    /// Warnings; empty if nothing was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// Numbers of repeated items by lag: the number of time steps since the item last occurred in the
/// session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// Repeats of the event before.
    pub lag_1: u64,
    /// Repeats after one other event.
    pub lag_2: u64,
    /// Repeats after two other events.
    pub lag_3: u64,
    /// Repeats after three other events or more.
    pub lag_4_or_more: u64,
    /// Repeats of any lag.
    pub any: u64,
}

/// Something about a log that may be wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Name of the check.
    pub name: String,
    /// Number of rows, events or ids that it holds for.
    pub count: u64,
    /// Message with an example and a hint.
    pub message: String,
}
