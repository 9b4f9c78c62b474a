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

    /// Returns the rows by reason.
    pub(crate) fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }
}
