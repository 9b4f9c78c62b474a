//! Rows that hold a target and the items before it in its session, as RecBole's benchmark files do.
//!
//! The events of a session are its targets, and the items that no row has as a target: usually the
//! first one, whose time and split are then those of the next target. The order is that of the
//! lists.

use std::collections::HashMap;
use std::path::Path;

use polars::prelude::Column;

use crate::columns::Columns;
use crate::delimited_reader::Batch;
use crate::error::{Error, Result};
use crate::findings::{FindingReason, Findings};
use crate::ids::IdColumn;
use crate::log::{CLICK, EventColumns, Log, SPLIT};
use crate::missing::MissingValues;
use crate::options::{Table, TimeUnit};
use crate::roles::{Role, Roles};
use crate::table_reader::{Value, take_splits, time_parser};
use crate::time_column::{Mark, TimeColumn};
use crate::times::NANOS;

/// Sessions during reading.
pub(crate) struct Histories {
    sessions: Ids,
    items: Ids,
    /// Events of each session, in order.
    events: Vec<Vec<Event>>,
    times: TimeColumn,
    splits: Vec<u8>,
    missing: MissingValues,
    /// Number of rows so far.
    rows: u32,
}

/// Event of a session.
#[derive(Clone, Copy, Debug)]
struct Event {
    item: u32,
    /// Index of its row as a target, from 0; [`Event::UNSEEN`] for none.
    target: u32,
}

impl Event {
    const UNSEEN: u32 = u32::MAX;
}

/// Distinct texts and their numbers.
#[derive(Default)]
struct Ids {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Ids {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.into(), number);
        self.texts.push(text.into());
        number
    }
}

impl Histories {
    /// Creates an empty log.
    pub(crate) fn new(table: &Table) -> Result<Self> {
        Ok(Self {
            sessions: Ids::default(),
            items: Ids::default(),
            events: Vec::new(),
            times: TimeColumn::new(time_parser(table)?),
            splits: Vec::new(),
            missing: MissingValues::new(&table.rules),
            rows: 0,
        })
    }

    /// Appends a batch of rows, whose column at the position `history` holds the items before the
    /// target.
    pub(crate) fn append(&mut self, roles: &Roles, history: usize, batch: &Batch) -> Result<()> {
        if roles.has(Role::Event) {
            return Err(Error::Options(
                "rows that hold the items before them have no event kinds; leave out event=.."
                    .into(),
            ));
        }
        if roles.has(Role::Value) {
            return Err(Error::Options(
                "rows that hold the items before them have no values; leave out value=..".into(),
            ));
        }
        let column = |role| {
            let rows = batch.rows();
            roles.values(role, rows, 0, |position| {
                Ok(batch
                    .texts(position)?
                    .map(|t| t.map_or(Value::Missing, Value::Text)))
            })
        };
        let error = |row: usize, role: Role, expected: &str| {
            let shared = roles.constant_fault(role, expected);
            shared.unwrap_or_else(|| batch.fault(row, roles.column(role).unwrap_or(0), expected))
        };
        let rows = column(Role::Session)?.zip(column(Role::Item)?);
        let mut lists = batch.texts(history)?;
        for (row, (session, item)) in rows.enumerate() {
            for (role, value) in [(Role::Session, session), (Role::Item, item)] {
                if self.missing.contains(value) {
                    return Err(error(row, role, "an id"));
                }
            }
            let list = lists.next().flatten().unwrap_or_default();
            if self.push(&session.text(), list, &item.text()).is_none() {
                let expected = "the items before the target, as in the session's other rows";
                return Err(batch.fault(row, history, expected));
            }
        }
        if roles.has(Role::Time) {
            for (row, time) in column(Role::Time)?.enumerate() {
                let pushed = match time {
                    Value::Text(time) => self.times.push(time),
                    _ => Err("a time"),
                };
                if let Err(expected) = pushed {
                    return Err(error(row, Role::Time, expected));
                }
            }
        }
        if roles.has(Role::Split) {
            let values: Vec<Value<'_>> = column(Role::Split)?.collect();
            let rows: Vec<usize> = (0..values.len()).collect();
            if let Some((row, role, expected)) = take_splits(&mut self.splits, &values, &rows) {
                return Err(error(row, role, expected));
            }
        }
        Ok(())
    }
    /// Adds a target and the items before it; `None` if they contradict the session's other rows.
    fn push(&mut self, session: &str, history: &str, target: &str) -> Option<()> {
        let session = self.sessions.number(session) as usize;
        if session == self.events.len() {
            self.events.push(Vec::new());
        }
        let mut items = Vec::new();
        for item in history.split_whitespace() {
            items.push(self.items.number(item));
        }
        let event = Event {
            item: self.items.number(target),
            target: self.rows,
        };
        self.rows += 1;
        let known = &mut self.events[session];
        let is_start = known
            .iter()
            .zip(&items)
            .all(|(event, item)| event.item == *item);
        if is_start && known.len() <= items.len() {
            for &item in &items[known.len()..] {
                let target = Event::UNSEEN;
                known.push(Event { item, target });
            }
            known.push(event);
            return Some(());
        }
        // Rows need not be in the order of the session.
        let place = known.get_mut(items.len());
        if is_start
            && let Some(place) = place
            && place.item == event.item
            && place.target == Event::UNSEEN
        {
            *place = event;
            return Some(());
        }
        // Histories may be cut to their last items.
        let start = known.len().checked_sub(items.len().max(1))?;
        let is_end = known[start..]
            .iter()
            .zip(&items)
            .all(|(event, item)| event.item == *item);
        if is_end && !items.is_empty() {
            known.push(event);
            return Some(());
        }
        None
    }

    /// Returns the log, session by session. Errors name `source`.
    pub(crate) fn finish(self, source: &Path, table: &Table, columns: &Columns) -> Result<Log> {
        let times = self.times_of_rows(source, table, columns)?;
        let mut log = EventColumns::default();
        let mut splits: Vec<u8> = Vec::new();
        let mut findings = Findings::default();
        for (events, session) in self.events.iter().zip(&self.sessions.texts) {
            let first = log.times.len();
            let mut next = None;
            // Backwards, since an event that is no target has time and split of the next target.
            for event in events.iter().rev() {
                if event.target != Event::UNSEEN {
                    next = Some(event.target as usize);
                }
                let row = next.unwrap_or_default();
                log.times.push(times[row]);
                splits.extend(self.splits.get(row));
                push_id(&mut log.sessions, session, source)?;
            }
            for event in events {
                push_id(
                    &mut log.items,
                    &self.items.texts[event.item as usize],
                    source,
                )?;
                log.kinds.push(CLICK);
            }
            log.times[first..].reverse();
            let has_splits = splits.len() == log.times.len();
            if has_splits {
                splits[first..].reverse();
            }
            let late = keep_order(&mut log.times[first..]);
            findings.add(FindingReason::TimeAgainstList, late, || Error::Session {
                session: session.to_string(),
                what: "has times that go back",
            });
        }
        let mut extra = Vec::new();
        if !splits.is_empty() {
            extra.push(Column::new(SPLIT.into(), splits));
        }
        let mut log = Log::new(log, extra)?;
        log.findings = findings;
        log.is_timeless = columns.time.is_none();
        Ok(log)
    }

    /// Time of each row: of its target, or its place in its session if the log has no times.
    fn times_of_rows(&self, source: &Path, table: &Table, columns: &Columns) -> Result<Vec<i64>> {
        if self.times.len() == 0 {
            let mut times = vec![0; self.rows as usize];
            for events in &self.events {
                for (place, event) in (0..).zip(events) {
                    if event.target != Event::UNSEEN {
                        times[event.target as usize] = place * NANOS;
                    }
                }
            }
            return Ok(times);
        }
        let column = columns.time.as_deref().unwrap_or_default();
        let refuse = |what: String| Error::file(source, format!("column {column:?}: {what}"));
        let is_used = |mark: &&Mark| mark.count > 0;
        if table.time_unit == TimeUnit::Auto
            && self.times.scales().iter().filter(is_used).count() > 1
        {
            return Err(refuse(
                "numbers of several units, such as seconds and milliseconds; convert them, or name the unit of all \
                 with --time-unit"
                    .into(),
            ));
        }
        self.times.clone().finish(table.time_unit).map_err(refuse)
    }
}

fn push_id(column: &mut IdColumn, id: &str, source: &Path) -> Result<()> {
    let pushed = column.push(id);
    pushed.map_err(|expected| Error::file(source, format!("an id is empty; expected {expected}")))
}

/// Sets times that go back to the latest time before them; returns their number.
fn keep_order(times: &mut [i64]) -> u64 {
    let (mut latest, mut late) = (i64::MIN, 0);
    for time in times {
        if *time < latest {
            *time = latest;
            late += 1;
        }
        latest = *time;
    }
    late
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of the session that the rows (history, target) give, with the row of each as a target.
    fn session(rows: &[(&str, &str)]) -> Option<Vec<(String, u32)>> {
        let mut histories = Histories::new(&Table::default()).unwrap();
        for (history, target) in rows {
            histories.push("s", history, target)?;
        }
        let mut events = Vec::new();
        for event in &histories.events[0] {
            let item = histories.items.texts[event.item as usize].to_string();
            events.push((item, event.target));
        }
        Some(events)
    }

    fn events(expected: &[(&str, u32)]) -> Option<Vec<(String, u32)>> {
        let mut events = Vec::new();
        for (item, row) in expected {
            events.push(((*item).to_owned(), *row));
        }
        Some(events)
    }

    #[test]
    fn session_has_its_first_items_and_its_targets() {
        let unseen = Event::UNSEEN;
        let rows = [("a", "b"), ("a b", "a"), ("a b a", "c")];
        let expected = events(&[("a", unseen), ("b", 0), ("a", 1), ("c", 2)]);
        assert_eq!(session(&rows), expected);
        let last_first = [("a b a", "c"), ("a b", "a"), ("a", "b")];
        let expected = events(&[("a", unseen), ("b", 2), ("a", 1), ("c", 0)]);
        assert_eq!(session(&last_first), expected);
        assert_eq!(
            session(&[("", "a"), ("a", "b")]),
            events(&[("a", 0), ("b", 1)])
        );
        let cut = [("a b", "c"), ("b c", "d"), ("c d", "e")];
        let expected = events(&[("a", unseen), ("b", unseen), ("c", 0), ("d", 1), ("e", 2)]);
        assert_eq!(session(&cut), expected);
    }

    #[test]
    fn history_that_contradicts_the_session_is_refused() {
        assert_eq!(session(&[("a", "b"), ("x y", "c")]), None);
        assert_eq!(session(&[("a", "b"), ("a", "b")]), None);
        assert_eq!(session(&[("a", "b"), ("", "c")]), None);
    }

    #[test]
    fn times_against_the_order_are_held_back() {
        let mut times = [5, 3, 4, 9, 8];
        assert_eq!(keep_order(&mut times), 3);
        assert_eq!(times, [5, 5, 5, 9, 9]);
    }
}
