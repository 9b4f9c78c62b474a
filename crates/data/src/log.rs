//! A log as a polars frame, and the steps of the protocol that every source shares.
//!
//! The frame has one row per event, in the order of the files, and the columns [`SESSION`],
//! [`ITEM`], [`KIND`] and [`TIME`]. A step is a named expression; [`Log::keep`] applies one and
//! counts the rows that it drops.

use polars::prelude::*;
use prl_dataset::{Counts, Kind};

use crate::dropped::{Dropped, Reason};
use crate::error::{Error, Result};
use crate::findings::Findings;
use crate::ids::{IdColumn, counts_per_id, ranks, total_order};

/// Raw session id: `UInt32`, `UInt64`, or an `Enum` of the sorted ids if they are not whole
/// numbers.
pub(crate) const SESSION: &str = "session";
/// Raw item id, as [`SESSION`].
pub(crate) const ITEM: &str = "item";
/// [`CLICK`] or [`PURCHASE`], `UInt8`.
pub(crate) const KIND: &str = "kind";
/// Nanoseconds since 1970, UTC, `Int64`: the finest unit of the logs, since order depends on it.
pub(crate) const TIME: &str = "time";

/// Position of the event's kind among the named ones, `UInt8`: only in logs whose kinds are kept.
pub(crate) const LABEL: &str = "label";
/// Split of an event, `UInt8`: only in logs that give it.
pub(crate) const SPLIT: &str = "split";

/// Reward of the event, NaN where it has none of its own, `Float32`: only in logs with a column of
/// values.
pub(crate) const VALUE: &str = "value";

/// [`KIND`] of a click.
pub(crate) const CLICK: u8 = Kind::Click as u8;
/// [`KIND`] of a purchase.
pub(crate) const PURCHASE: u8 = Kind::Purchase as u8;

/// Columns of a log while its files are read.
#[derive(Debug, Default)]
pub(crate) struct EventColumns {
    pub sessions: IdColumn,
    pub items: IdColumn,
    pub kinds: Vec<u8>,
    pub times: Vec<i64>,
}

/// Events left after the steps so far, the number of rows that each step dropped, and what the
/// reader found irregular.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub events: DataFrame,
    pub dropped: Dropped,
    pub findings: Findings,
    /// True if the log has no times: [`TIME`] then is the order of its events.
    pub is_timeless: bool,
}

impl Log {
    /// Builds a log of the events read, with `extra` columns that a step of its source needs.
    pub(crate) fn new(columns: EventColumns, extra: Vec<Column>) -> Result<Self> {
        let rows = columns.kinds.len();
        if rows >= IdxSize::MAX as usize {
            let why = format!(
                "a log of {rows} events; at most {} can be held",
                IdxSize::MAX - 1
            );
            return Err(Error::Options(why));
        }
        let mut all = vec![
            columns.sessions.finish(SESSION)?,
            columns.items.finish(ITEM)?,
            Column::new(KIND.into(), columns.kinds),
            Column::new(TIME.into(), columns.times),
        ];
        all.extend(extra);
        Ok(Self {
            events: DataFrame::new(rows, all)?,
            dropped: Dropped::default(),
            findings: Findings::default(),
            is_timeless: false,
        })
    }

    /// Keeps the events for which `condition` holds and counts the others as dropped for `reason`.
    pub(crate) fn keep(&mut self, condition: Expr, reason: Reason) -> Result<()> {
        let before = self.events.height();
        let events = std::mem::take(&mut self.events);
        self.events = events.lazy().filter(condition).collect()?;
        self.dropped
            .add(reason, (before - self.events.height()) as u64);
        Ok(())
    }

    /// Replaces the raw id in [`ITEM`] by the item's index; returns the raw ids in index order.
    ///
    /// "re-index items by sorted raw id" (protocol, section 1, RetailRocket 4 and RC15 3).
    pub(crate) fn reindex_items(&mut self) -> Result<Column> {
        let events = std::mem::take(&mut self.events);
        let (ids, index) = ranks(events.column(ITEM)?)?;
        let mut columns = events.into_columns();
        for column in &mut columns {
            if column.name() == ITEM {
                *column = index.clone().with_name(ITEM.into());
            }
        }
        self.events = DataFrame::new(index.len(), columns)?;
        Ok(ids)
    }

    /// Sorts the events into their total order.
    ///
    /// "sort by (session, timestamp), stable: file order breaks ties" (protocol, section 1,
    /// RetailRocket 4 and RC15 4).
    pub(crate) fn order(&mut self) -> Result<()> {
        let order = total_order(self.events.column(SESSION)?, self.events.column(TIME)?)?;
        let rows = order.len();
        // Column by column, so that memory holds one column twice and not the log.
        let mut columns = std::mem::take(&mut self.events).into_columns();
        for column in &mut columns {
            *column = column.take(&order)?;
            if column.name() == SESSION {
                column.set_sorted_flag(polars::series::IsSorted::Ascending);
            }
        }
        self.events = DataFrame::new(rows, columns)?;
        Ok(())
    }

    /// Drops short sessions, then rare items, below these numbers of events: once, or until neither
    /// filter drops an event. Every session and item has one event.
    pub(crate) fn keep_frequent(
        &mut self,
        (session_events, item_events): (usize, usize),
        until_stable: bool,
    ) -> Result<()> {
        loop {
            let before = self.events.height();
            if session_events > 1 {
                let is_long = events_per(SESSION).gt_eq(lit(session_events as u64));
                self.keep(is_long, Reason::ShortSession)?;
            }
            if item_events > 1 {
                let is_frequent = events_per(ITEM).gt_eq(lit(item_events as u64));
                self.keep(is_frequent, Reason::RareItem)?;
            }
            if !until_stable || self.events.height() == before {
                return Ok(());
            }
        }
    }

    /// Counts of Table 1 of the paper, over the current events.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let events = self.events.clone().lazy();
        let row = events
            .select([
                col(SESSION).n_unique(),
                col(ITEM).n_unique(),
                is_kind(CLICK).sum().alias("clicks"),
                is_kind(PURCHASE).sum().alias("purchases"),
            ])
            .collect()?;
        let mut counts = [0; 4];
        for (count, column) in counts.iter_mut().zip(row.columns()) {
            *count = column.get(0)?.extract().unwrap_or(0);
        }
        let [sessions, items, clicks, purchases] = counts;
        Ok(Counts {
            sessions,
            items,
            clicks,
            purchases,
        })
    }
}

/// Number of events with this event's value of `column`: `len().over(column)`, computed with a
/// table. Polars' own expression is several times slower on the million groups of a log's sessions.
pub(crate) fn events_per(column: &str) -> Expr {
    col(column).apply(
        |ids| counts_per_id(&ids),
        |_, field| Ok(Field::new(field.name().clone(), DataType::UInt32)),
    )
}

/// Condition that the event is of a kind: [`CLICK`] or [`PURCHASE`].
pub(crate) fn is_kind(kind: u8) -> Expr {
    col(KIND).eq(lit(kind))
}

/// Condition that the event `n` rows further down is of the same session.
pub(crate) fn same_session_as(n: i64) -> Expr {
    let later = col(SESSION).shift(lit(-n));
    col(SESSION).eq(later).fill_null(lit(false))
}
