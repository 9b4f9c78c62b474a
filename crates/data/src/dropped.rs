//! The rows of the source that are left out, counted by reason.

use std::collections::BTreeMap;

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// RetailRocket: it is a transaction.
    Transaction,
    /// Its session has too few events.
    ShortSession,
    /// Its item has too few events.
    RareItem,
    /// RC15: its session is not in the sample.
    NotSampled,
    /// RC15: a buy of an item that nobody in the sample clicked, so that it has no index.
    BuyOfUnclickedItem,
    /// It is neither click nor purchase.
    OtherEvent,
    /// Its session has too many events.
    LongSession,
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
        }
    }
}

/// Rows left out so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropped(BTreeMap<String, u64>);

impl Dropped {
    /// Counts `rows` more; a reason that never applied is not listed.
    pub(crate) fn add(&mut self, reason: Reason, rows: u64) {
        if rows > 0 {
            *self.0.entry(reason.name().to_owned()).or_default() += rows;
        }
    }

    /// Rows by reason.
    pub(crate) fn into_map(self) -> BTreeMap<String, u64> {
        self.0
    }
}
