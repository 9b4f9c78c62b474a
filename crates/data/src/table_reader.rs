//! Events of any table: ids of any type, times of any form, several event kinds. Common to text,
//! Parquet and frames.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use polars::prelude::Column;
use prl_dataset::Split;

use crate::columns::Columns;
use crate::dropped::Reason;
use crate::error::{Error, Result};
use crate::ids::IdColumn;
use crate::log::{CLICK, EventColumns, Log, PURCHASE, SPLIT};
use crate::options::Table;
use crate::roles::{Role, Roles};
use crate::times::TimeColumn;

/// Invalid value: row in the batch, column, and the expected value.
pub(crate) type Fault = (usize, Role, &'static str);

/// Value of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Missing,
    Text(&'a str),
    Whole(i64),
    /// Number above the range of [`Value::Whole`].
    Large(u64),
    Real(f64),
    /// Time in nanoseconds.
    Nanos(i64),
}

impl<'a> Value<'a> {
    /// The value as text; a missing one is empty.
    fn text(self) -> Cow<'a, str> {
        match self {
            Value::Text(text) => text.into(),
            Value::Missing => "".into(),
            Value::Whole(n) | Value::Nanos(n) => n.to_string().into(),
            Value::Large(n) => n.to_string().into(),
            Value::Real(x) => x.to_string().into(),
        }
    }
}

/// Values of a column of splits.
const SPLITS: &str = "train, val (valid, validation) or test, or 0, 1 or 2";

/// Events of a table during reading.
#[derive(Default)]
pub(crate) struct Events {
    sessions: IdColumn,
    items: IdColumn,
    times: TimeColumn,
    kinds: Vec<u8>,
    /// Number of rows so far, events or not.
    rows: usize,
    /// Splits that the log gives, if it does.
    splits: Vec<u8>,
    /// Number of rows of each unnamed event kind.
    others: BTreeMap<String, u64>,
    /// Error of the first id above 64 bits, reported if its column proves to be numeric.
    overflow: [Option<Error>; 2],
}

impl Events {
    /// Appends a batch of rows; `column` gives the values of the column at a position of `roles`.
    /// Without event kinds every event is a click. Of several faults the first row's is returned,
    /// converted by `error` unless all rows share the value.
    pub(crate) fn take<'a, I: Iterator<Item = Value<'a>>>(
        &mut self,
        table: &Table,
        roles: &'a Roles,
        rows: usize,
        column: impl Fn(usize) -> Result<I>,
        error: impl Fn(Fault) -> Error,
    ) -> Result<()> {
        let order = self.rows;
        self.rows += rows;
        let values = |role| roles.values(role, rows, order, &column);
        let error = |fault: Fault| {
            let shared = roles.constant_fault(fault.1, fault.2);
            shared.unwrap_or_else(|| error(fault))
        };
        let kept = match roles.has(Role::Event) {
            true => self.take_kinds(table, values(Role::Event)?),
            false => {
                self.kinds.resize(self.kinds.len() + rows, CLICK);
                vec![true; rows]
            }
        };
        let (sessions_before, items_before) = (self.sessions.len(), self.items.len());
        let mut faults = Vec::new();
        faults.extend(take_ids(
            &mut self.sessions,
            Role::Session,
            values(Role::Session)?,
            &kept,
        ));
        faults.extend(take_ids(
            &mut self.items,
            Role::Item,
            values(Role::Item)?,
            &kept,
        ));
        faults.extend(take_times(&mut self.times, values(Role::Time)?, &kept));
        if roles.has(Role::Split) {
            faults.extend(take_splits(&mut self.splits, values(Role::Split)?, &kept));
        }
        if let Some(fault) = faults.into_iter().min() {
            return Err(error(fault));
        }
        let ids = [
            (&self.sessions, Role::Session, sessions_before),
            (&self.items, Role::Item, items_before),
        ];
        for ((column, role, before), first) in ids.into_iter().zip(&mut self.overflow) {
            let row = || nth_kept(&kept, column.overflow()?.checked_sub(before)?);
            if first.is_none()
                && let Some(row) = row()
            {
                *first = Some(error((row, role, "an id of at most 18446744073709551615")));
            }
        }
        Ok(())
    }

    /// Reads the event kinds; returns a mask of the rows that are events.
    fn take_kinds<'a>(
        &mut self,
        table: &Table,
        values: impl Iterator<Item = Value<'a>>,
    ) -> Vec<bool> {
        let mut are_events = Vec::new();
        for value in values {
            let name = value.text();
            let name = name.as_ref();
            let kind = if table.click.iter().any(|kind| kind == name) {
                CLICK
            } else if table.purchase.iter().any(|kind| kind == name) {
                PURCHASE
            } else {
                match self.others.get_mut(name) {
                    Some(rows) => *rows += 1,
                    None => {
                        self.others.insert(name.to_owned(), 1);
                    }
                }
                are_events.push(false);
                continue;
            };
            self.kinds.push(kind);
            are_events.push(true);
        }
        are_events
    }

    /// Returns the log, in file order. Errors name `source`.
    pub(crate) fn finish(self, source: &Path, table: &Table, columns: &Columns) -> Result<Log> {
        let others: u64 = self.others.values().sum();
        if others > 0 && !table.drop_other_events {
            let mut kinds: Vec<(String, u64)> = self.others.into_iter().collect();
            kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            return Err(Error::Kinds {
                column: columns.event.clone().unwrap_or_default(),
                kinds,
            });
        }
        for (column, overflow) in [&self.sessions, &self.items].into_iter().zip(self.overflow) {
            if let Some(error) = overflow.filter(|_| column.overflow().is_some()) {
                return Err(error);
            }
        }
        let times = self.times.finish(table.time_unit).map_err(|what| {
            let column = columns.time.as_deref().unwrap_or_default();
            Error::file(source, format!("column {column:?}: {what}"))
        })?;
        let events = EventColumns {
            sessions: self.sessions,
            items: self.items,
            kinds: self.kinds,
            times,
        };
        let mut extra = Vec::new();
        if !self.splits.is_empty() {
            extra.push(Column::new(SPLIT.into(), self.splits));
        }
        let mut log = Log::new(events, extra)?;
        log.dropped.add(Reason::OtherEvent, others);
        Ok(log)
    }
}

fn take_ids<'a>(
    column: &mut IdColumn,
    role: Role,
    values: impl Iterator<Item = Value<'a>>,
    kept: &[bool],
) -> Option<Fault> {
    for (row, (value, _)) in values.zip(kept).enumerate().filter(|(_, (_, kept))| **kept) {
        let taken = match value {
            Value::Text(id) => column.push(id),
            Value::Large(id) => column.push(&id.to_string()),
            Value::Whole(id) => match u64::try_from(id) {
                Ok(id) => {
                    column.push_number(id);
                    Ok(())
                }
                Err(_) => column.push(&id.to_string()),
            },
            Value::Real(id) if is_exact(id) => column.push(&format!("{}", id as i64)),
            Value::Real(id) if id.is_nan() => Err("an id"),
            Value::Real(_) => Err("a whole number below 9007199254740992, or text"),
            Value::Missing | Value::Nanos(_) => Err("an id"),
        };
        if let Err(expected) = taken {
            return Some((row, role, expected));
        }
    }
    None
}

/// True for a whole number that no other number is rounded to: below 2^53.
fn is_exact(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0
}

fn take_splits<'a>(
    column: &mut Vec<u8>,
    values: impl Iterator<Item = Value<'a>>,
    kept: &[bool],
) -> Option<Fault> {
    for (row, (value, _)) in values.zip(kept).enumerate().filter(|(_, (_, kept))| **kept) {
        column.push(match value.text().as_ref() {
            "train" | "0" => Split::Train as u8,
            "val" | "valid" | "validation" | "1" => Split::Val as u8,
            "test" | "2" => Split::Test as u8,
            _ => return Some((row, Role::Split, SPLITS)),
        });
    }
    None
}

fn take_times<'a>(
    column: &mut TimeColumn,
    values: impl Iterator<Item = Value<'a>>,
    kept: &[bool],
) -> Option<Fault> {
    for (row, (value, _)) in values.zip(kept).enumerate().filter(|(_, (_, kept))| **kept) {
        let taken = match value {
            Value::Text(time) => column.push(time),
            Value::Whole(time) => column.push_whole(time),
            Value::Real(time) => column.push_real(time),
            Value::Nanos(time) => column.push_nanos(time),
            Value::Missing | Value::Large(_) => Err("a time"),
        };
        if let Err(expected) = taken {
            return Some((row, Role::Time, expected));
        }
    }
    None
}

fn nth_kept(kept: &[bool], n: usize) -> Option<usize> {
    kept.iter()
        .enumerate()
        .filter(|(_, kept)| **kept)
        .nth(n)
        .map(|(row, _)| row)
}
