//! Rows of the source that are left out, counted by reason.

use std::collections::BTreeMap;

/// Reason for leaving out a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Transaction rows of RetailRocket.
    Transaction,
    /// Too few events in the session.
    ShortSession,
    /// Too few events of the item.
    RareItem,
    /// RC15: session outside the sample.
    NotSampled,
    /// RC15: buy of an item without clicks in the sample, so that it has no index.
    BuyOfUnclickedItem,
    /// Event kind that is neither click nor purchase.
    OtherEvent,
    /// Too many events in the session.
    LongSession,
    /// Events before the last ones of a session with too many.
    LongSessionStart,
    /// Time outside the chosen period.
    OutsidePeriod,
    /// Event that agrees with an earlier one in everything.
    Duplicate,
    /// Item and kind of the event before.
    Repeat,
    /// No session, time or item.
    MissingValue,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Transaction => "transaction",
            Reason::ShortSession => "short_session",
            Reason::RareItem => "rare_item",
            Reason::NotSampled => "session_not_sampled",
            Reason::BuyOfUnclickedItem => "buy_of_unclicked_item",
            Reason::OtherEvent => "other_event",
            Reason::LongSession => "long_session",
            Reason::LongSessionStart => "long_session_start",
            Reason::OutsidePeriod => "outside_period",
            Reason::Duplicate => "duplicate",
            Reason::Repeat => "repeat",
            Reason::MissingValue => "missing_value",
        }
    }
}

/// Number of rows left out so far, by reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropped(BTreeMap<String, u64>);

impl Dropped {
    /// Counts `rows` more; a reason with zero rows is not listed.
    pub(crate) fn add(&mut self, reason: Reason, rows: u64) {
        if rows > 0 {
            *self.0.entry(reason.name().to_owned()).or_default() += rows;
        }
    }

    /// Counts that were made before.
    pub(crate) fn of_map(rows: BTreeMap<String, u64>) -> Self {
        Self(rows)
    }

    /// Adds the counts of other rows.
    pub(crate) fn merge(&mut self, other: Dropped) {
        for (reason, rows) in other.0 {
            *self.0.entry(reason).or_default() += rows;
        }
    }

    /// Returns the rows by reason.
    pub(crate) fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }
}

/// Flags that govern a filter, by the name of its reason; `None` if nothing does.
pub(crate) fn flags(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "long_session" => "--max-length, --long-sessions and, for users over weeks, --session-gap",
        "long_session_start" => "--max-length and --long-sessions",
        "short_session" => "--min-session-events",
        "rare_item" => "--min-item-events",
        "session_not_sampled" => "--sample",
        "other_event" => "--click, --purchase and --drop-other-events",
        "outside_period" => "--from and --until",
        "duplicate" => "--drop-duplicates",
        "repeat" => "--drop-repeats",
        "missing_value" => "--drop-missing and --missing",
        _ => return None,
    })
}
