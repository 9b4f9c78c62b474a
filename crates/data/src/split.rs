//! Division into training, validation and test.
//!
//! "sessions shuffled, 80/10/10, events keep their order. [..] Other splits as switches: global
//! time split, and leave-last-out" (protocol, section 1, Split). A split by dates of the user's is
//! a step beside the protocol.

use polars::prelude::*;
use prl_dataset::Split;
use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::log::{SESSION, SPLIT, TIME, events_per, same_session_as};
use crate::options::{Inputs, Moment, Options, Source, SplitRule};

/// Number of events of a session.
const EVENTS: &str = "events";
/// Position of a session in the dataset.
const SESSION_INDEX: &str = "session_index";
/// Position of a session in the order in which sessions are assigned to the splits.
const PLACE: &str = "place";

/// Sessions of ordered events, in their order: [`SESSION`], [`EVENTS`] and the [`TIME`] of the last
/// event.
pub(crate) fn sessions(events: &DataFrame) -> Result<DataFrame> {
    let sessions = events.clone().lazy().group_by_stable([col(SESSION)]);
    Ok(sessions
        .agg([len().alias(EVENTS), col(TIME).last()])
        .collect()?)
}

/// Number of events of each session.
pub(crate) fn session_sizes(sessions: &DataFrame) -> Result<&IdxCa> {
    Ok(sessions.column(EVENTS)?.idx()?)
}

/// Split of every event.
pub(crate) fn splits(
    options: &Options,
    events: &DataFrame,
    sessions: &DataFrame,
) -> Result<Vec<Split>> {
    let codes = match options.split {
        SplitRule::LeaveLastOut => last_events(events)?,
        SplitRule::Random => whole_sessions(options, sessions, shuffled(options, sessions))?,
        SplitRule::Time => whole_sessions(options, sessions, by_last_time(sessions)?)?,
        SplitRule::Date => by_date(&options.steps.split_at, sessions)?,
        SplitRule::Given => given(options, events, sessions)?,
    };
    let mut splits = Vec::with_capacity(events.height());
    for code in codes.u8()?.into_no_null_iter() {
        splits.push(Split::ALL[usize::from(code)]);
    }
    Ok(splits)
}

/// Split that the log gives. Along a session it may not go back. A session is in one of the files
/// that give it: equal ids in two files are as often two sessions as one. RecBole's files are the
/// exception, as they divide the sessions of one log.
fn given(options: &Options, events: &DataFrame, sessions: &DataFrame) -> Result<Column> {
    let column = events.column(SPLIT)?;
    let codes: Vec<u8> = column.u8()?.into_no_null_iter().collect();
    let by_files = options.source.inputs().is_some_and(Inputs::has_splits)
        && !matches!(options.source, Source::Inter { .. });
    let mut rest = codes.as_slice();
    for (session, size) in session_sizes(sessions)?.into_no_null_iter().enumerate() {
        let (own, after) = rest.split_at(size as usize);
        rest = after;
        let what = match (own.first(), own.last()) {
            (first, last) if by_files && first != last => {
                "has events in files of two splits; if the ids of each file are its own, make them distinct, and if \
                 it is one session, join the files and give the split as a column: split=NAME"
            }
            _ if !own.is_sorted() => {
                "goes back from test to validation or training, or from validation to training; its events are in \
                 the order of their times: correct times or splits, or divide the session"
            }
            _ => continue,
        };
        let id = sessions.column(SESSION)?.get(session)?;
        return Err(Error::Session {
            session: id.str_value().into_owned(),
            what,
        });
    }
    Ok(column.clone())
}

/// Splits each session of three events or more: the last event is test and the one before it
/// validation.
fn last_events(events: &DataFrame) -> Result<Column> {
    let is_last = || same_session_as(1).not();
    let is_second_last = same_session_as(1).and(same_session_as(2).not());
    let has_three = || events_per(SESSION).gt_eq(lit(3));
    let split = when(has_three().and(is_last()))
        .then(code(Split::Test))
        .when(has_three().and(is_second_last))
        .then(code(Split::Val))
        .otherwise(code(Split::Train));
    let splits = events
        .clone()
        .lazy()
        .select([split.alias(SPLIT)])
        .collect()?;
    Ok(splits.column(SPLIT)?.clone())
}

/// Session indices in an order drawn from the seed.
fn shuffled(options: &Options, sessions: &DataFrame) -> Column {
    let mut order: Vec<IdxSize> = (0..sessions.height() as IdxSize).collect();
    order.shuffle(&mut prl_seed::stream(options.seed, "split", 0));
    Column::new(SESSION_INDEX.into(), order)
}

/// Session indices by the time of the last event; the order of the dataset breaks ties.
fn by_last_time(sessions: &DataFrame) -> Result<Column> {
    let sorted = sessions
        .clone()
        .lazy()
        .with_row_index(SESSION_INDEX, None)
        .sort(
            [TIME],
            SortMultipleOptions::default().with_maintain_order(true),
        )
        .select([col(SESSION_INDEX)])
        .collect()?;
    Ok(sorted.column(SESSION_INDEX)?.clone())
}

/// Assigns sessions in the given `order`: training first, then validation, then test; the shares of
/// the latter two are rounded down. Returns the split of every event.
fn whole_sessions(options: &Options, sessions: &DataFrame, order: Column) -> Result<Column> {
    let n = order.len();
    // 0.1 x 30 is 2.9999999999999996: a product that is whole but for its last bit counts as whole.
    let share = |fraction: f64| (n as f64 * fraction + 1e-9) as usize;
    let (val, test) = (share(options.val_fraction), share(options.test_fraction));
    let first_val = lit((n - val - test) as u64);
    let first_test = lit((n - test) as u64);
    let split = when(col(PLACE).lt(first_val))
        .then(code(Split::Train))
        .when(col(PLACE).lt(first_test))
        .then(code(Split::Val))
        .otherwise(code(Split::Test));
    let of_sessions = DataFrame::new(n, vec![order])?
        .lazy()
        .with_row_index(PLACE, None)
        .select([col(SESSION_INDEX), split.alias(SPLIT)])
        .sort([SESSION_INDEX], SortMultipleOptions::default())
        .collect()?;
    of_events(of_sessions.column(SPLIT)?, sessions)
}

/// Assigns each session by the time of its last event: test from the last date on, validation from
/// the date before it on, if there is one. Returns the split of every event.
fn by_date(dates: &[Moment], sessions: &DataFrame) -> Result<Column> {
    let mut split = code(Split::Train);
    let later = [Split::Test, Split::Val];
    for (date, later) in dates.iter().rev().zip(later).rev() {
        let is_later = col(TIME).gt_eq(lit(date.0));
        split = when(is_later).then(code(later)).otherwise(split);
    }
    let of_sessions = sessions
        .clone()
        .lazy()
        .select([split.alias(SPLIT)])
        .collect()?;
    let splits = of_sessions.column(SPLIT)?;
    for needed in [Split::Train, Split::Test] {
        if !splits.u8()?.iter().any(|split| split == Some(needed as u8)) {
            let ends = sessions.column(TIME)?.i64()?;
            let (first, last) = (ends.min().unwrap_or(0), ends.max().unwrap_or(0));
            return Err(Error::Options(format!(
                "the dates leave no session for {}: sessions end from {} to {}; name other dates",
                needed.name(),
                Moment(first),
                Moment(last)
            )));
        }
    }
    of_events(splits, sessions)
}

/// Repeats the split of each session for its events.
fn of_events(of_sessions: &Column, sessions: &DataFrame) -> Result<Column> {
    let sizes = session_sizes(sessions)?;
    let mut of_events: Vec<u8> = Vec::new();
    for (split, events) in of_sessions.u8()?.iter().zip(sizes.iter()) {
        let last = of_events.len() + events.unwrap_or(0) as usize;
        of_events.resize(last, split.unwrap_or(0));
    }
    Ok(Column::new(SPLIT.into(), of_events))
}

/// Code of a split in a column.
fn code(split: Split) -> Expr {
    lit(split as u8).cast(DataType::UInt8)
}
