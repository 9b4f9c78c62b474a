//! Steps that a log may take beside the protocol's: period, duplicates, sessions by a gap in time,
//! repeats, and long sessions that are cut instead of dropped.

use std::collections::HashSet;

use polars::prelude::*;

use crate::dropped::Reason;
use crate::error::{Error, Result};
use crate::ids::text_column;
use crate::log::{ITEM, KIND, LABEL, Log, SESSION, TIME, events_per, same_session_as};
use crate::options::{LongSessions, Steps};

/// Condition that the event is the first of a session by its gap.
const IS_FIRST: &str = "is_first";

/// Steps before the filters of short sessions and rare items.
pub(crate) fn before_filters(log: &mut Log, options: &Steps) -> Result<()> {
    if let Some(from) = options.from {
        log.keep(col(TIME).gt_eq(lit(from.0)), Reason::OutsidePeriod)?;
    }
    if let Some(until) = options.until {
        log.keep(col(TIME).lt(lit(until.0)), Reason::OutsidePeriod)?;
    }
    if options.drop_duplicates {
        drop_duplicates(log)?;
    }
    if let Some(gap) = options.session_gap {
        divide_by_gap(log, gap.nanos())?;
    }
    if options.drop_repeats {
        // Which event comes before depends on the order.
        log.order()?;
        let is_repeat = is_repeat(log);
        log.keep(is_repeat.not(), Reason::Repeat)?;
    }
    Ok(())
}

/// Drops all but the first of events that agree in every column.
fn drop_duplicates(log: &mut Log) -> Result<()> {
    let before = log.events.height();
    let events = std::mem::take(&mut log.events);
    let distinct = events.lazy().unique_stable(None, UniqueKeepStrategy::First);
    log.events = distinct.collect()?;
    let dropped = before - log.events.height();
    log.dropped.add(Reason::Duplicate, dropped as u64);
    Ok(())
}

/// Condition that the item and the kind are those of the event before in the session.
fn is_repeat(log: &Log) -> Expr {
    let mut is_repeat = same_session_as(-1).and(is_same(ITEM)).and(is_same(KIND));
    if log.events.column(LABEL).is_ok() {
        is_repeat = is_repeat.and(is_same(LABEL));
    }
    is_repeat.fill_null(lit(false))
}

/// Condition that the column's value is that of the event before.
fn is_same(column: &str) -> Expr {
    col(column).eq(col(column).shift(lit(1)))
}

/// Divides the events of each session where more than `gap` nanoseconds pass between two.
fn divide_by_gap(log: &mut Log, gap: i64) -> Result<()> {
    log.order()?;
    let waited = col(TIME) - col(TIME).shift(lit(1));
    let is_first = same_session_as(-1).not().or(waited.gt(lit(gap)));
    let events = log.events.clone().lazy();
    let firsts = events
        .select([is_first.fill_null(lit(true)).alias(IS_FIRST)])
        .collect()?;
    let times = log.events.column(TIME)?.i64()?.clone();
    // A part's id depends on the user's events alone, so that it stays when others are added.
    let name = |row: usize, id: &str| {
        let millis = times.get(row).unwrap_or(0).div_euclid(1_000_000);
        format!("{id}_{millis}")
    };
    rename_runs(log, firsts.column(IS_FIRST)?, name)
}

/// Applies the maximum length to ordered sessions: drops longer ones, cuts them into pieces, or
/// keeps their last events.
pub(crate) fn limit_length(log: &mut Log, max: usize, rule: LongSessions) -> Result<()> {
    let max = max as u64;
    match rule {
        // "drop sessions of more than 50 events for every method, after the counts of Table 1 are
        // taken" (protocol, section 1, Length <= 50).
        LongSessions::Drop => log.keep(events_per(SESSION).lt_eq(lit(max)), Reason::LongSession),
        LongSessions::Last => {
            let remaining = events_per(SESSION).cast(DataType::UInt64) - position();
            log.keep(remaining.lt_eq(lit(max)), Reason::LongSessionStart)
        }
        LongSessions::Split => {
            let is_first = (position() % lit(max)).eq(lit(0_u64)).alias(IS_FIRST);
            let events = log.events.clone().lazy();
            let firsts = events.select([position(), is_first]).collect()?;
            let positions = firsts.column(SESSION)?.u64()?.clone();
            let name = |row: usize, id: &str| match positions.get(row).unwrap_or(0) / max {
                0 => id.to_owned(),
                piece => format!("{id}/{}", piece + 1),
            };
            let is_long = positions.max().is_some_and(|last| last >= max);
            match is_long {
                true => rename_runs(log, firsts.column(IS_FIRST)?, name),
                false => Ok(()),
            }
        }
    }
}

/// Number of earlier events of the session, `UInt64`, in ordered events.
fn position() -> Expr {
    col(SESSION).apply(
        |ids| positions(&ids),
        |_, field| Ok(Field::new(field.name().clone(), DataType::UInt64)),
    )
}

/// Number of earlier rows with the id of each row, in sorted ids.
fn positions(ids: &Column) -> PolarsResult<Column> {
    let is_same = ids.equal(&ids.shift(1))?;
    let mut positions = Vec::with_capacity(ids.len());
    let mut position = 0_u64;
    for is_same in is_same.iter() {
        position = match is_same {
            Some(true) => position + 1,
            _ => 0,
        };
        positions.push(position);
    }
    Ok(Column::new(ids.name().clone(), positions))
}

/// Gives each run of events, from a first one to before the next, a session id of its own: `name`
/// of the row and its id. The new sessions are in the order of their events.
fn rename_runs(log: &mut Log, firsts: &Column, name: impl Fn(usize, &str) -> String) -> Result<()> {
    let ids = log.events.column(SESSION)?.clone();
    let mut names: Vec<String> = Vec::new();
    let mut codes: Vec<u32> = Vec::with_capacity(ids.len());
    for (row, is_first) in firsts.bool()?.iter().enumerate() {
        if is_first == Some(true) {
            names.push(name(row, &ids.get(row)?.str_value()));
        }
        codes.push(names.len().saturating_sub(1) as u32);
    }
    let mut seen = HashSet::with_capacity(names.len());
    for name in &names {
        if !seen.insert(name.as_str()) {
            return Err(Error::Options(format!(
                "two sessions would have the id {name:?} after sessions are divided; write the log's session ids in \
                 another way"
            )));
        }
    }
    log.events
        .replace(SESSION, text_column(SESSION, &names, codes)?)?;
    Ok(())
}
