//! Table of events from any source: CSV, Parquet, `.inter` and frames. The steps are set by its
//! options.

use crate::error::Result;
use crate::log::Log;
use crate::options::{Steps, Table};
use crate::steps;

/// Filters of a table, in the order of RetailRocket's, each one pass unless they are to be repeated
/// (protocol, section 1).
///
/// Rows of other event kinds are dropped before, in the reader: their ids and times may be missing.
pub(crate) fn steps(log: &mut Log, table: &Table, options: &Steps) -> Result<()> {
    steps::before_filters(log, options)?;
    // "drop visitors with <= 2 events": a minimum of 3, "then drop items with <= 2 events (so
    // sessions of 1-2 events can remain)"
    let least = (table.min_session_events, table.min_item_events);
    log.keep_frequent(least, options.filter_until_stable)
    // "re-index items by sorted raw id; sort by (session, timestamp), stable":
    // `Log::reindex_items`, `Log::order`.
}
