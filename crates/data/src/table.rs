//! Table of events from any source: CSV, Parquet, `.inter` and frames. The steps are set by its
//! options.

use polars::prelude::*;

use crate::dropped::Reason;
use crate::error::Result;
use crate::log::{ITEM, Log, SESSION, events_per};
use crate::options::Table;

/// Filters of a table, in the order of RetailRocket's, each one pass (protocol, section 1).
///
/// Rows of other event kinds are dropped before, in the reader: their ids and times may be missing.
pub(crate) fn steps(mut log: Log, table: &Table) -> Result<Log> {
    // "drop visitors with <= 2 events": a minimum of 3. Every session has one event.
    if table.min_session_events > 1 {
        let is_long = events_per(SESSION).gt_eq(lit(table.min_session_events as u64));
        log.keep(is_long, Reason::ShortSession)?;
    }
    // "then drop items with <= 2 events (so sessions of 1-2 events can remain)"
    if table.min_item_events > 1 {
        let is_frequent = events_per(ITEM).gt_eq(lit(table.min_item_events as u64));
        log.keep(is_frequent, Reason::RareItem)?;
    }
    // "re-index items by sorted raw id; sort by (session, timestamp), stable": `Log::reindex_items`,
    // `Log::order`.
    Ok(log)
}
