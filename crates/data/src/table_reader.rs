//! Events of any table: ids of any type, times of any form, several event kinds. Common to text,
//! Parquet and frames.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use polars::prelude::Column;

use crate::columns::Columns;
use crate::dropped::Reason;
use crate::error::{Error, Result};
use crate::ids::IdColumn;
use crate::log::{CLICK, EventColumns, LABEL, Log};
use crate::options::Table;
use crate::times::TimeColumn;

/// Role of a column in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Session,
    Time,
    Item,
    Event,
}

impl Role {
    /// Name of the column in this role.
    pub(crate) fn column(self, columns: &Columns) -> &str {
        match self {
            Role::Session => &columns.session,
            Role::Time => &columns.time,
            Role::Item => &columns.item,
            Role::Event => columns.event.as_deref().unwrap_or_default(),
        }
    }

    /// Roles that a mapping assigns to columns.
    pub(crate) fn all(columns: &Columns) -> &'static [Role] {
        match columns.event {
            Some(_) => &[Role::Session, Role::Time, Role::Item, Role::Event],
            None => &[Role::Session, Role::Time, Role::Item],
        }
    }
}

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

/// Events of a table during reading.
#[derive(Default)]
pub(crate) struct Events {
    sessions: IdColumn,
    items: IdColumn,
    times: TimeColumn,
    kinds: Vec<u8>,
    /// Position of each event's kind among the named ones, if the kinds are kept.
    labels: Vec<u8>,
    /// Number of rows of each unnamed event kind.
    others: BTreeMap<String, u64>,
    /// Error of the first id above 64 bits, reported if its column proves to be numeric.
    overflow: [Option<Error>; 2],
}

impl Events {
    /// Appends a batch of rows; `values` gives the values of a role. Without an event column every
    /// event is a click. Of several faults the first row's is returned, converted by `error`.
    pub(crate) fn take<'a, I: Iterator<Item = Value<'a>>>(
        &mut self,
        table: &Table,
        rows: usize,
        mut values: impl FnMut(Role) -> Result<I>,
        error: impl Fn(Fault) -> Error,
    ) -> Result<()> {
        let kept = match table.columns.as_ref().is_some_and(|c| c.event.is_some()) {
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
        let named = table.named_kinds();
        let mut is_event = |value: Value<'_>| {
            let name: Cow<'_, str> = match value {
                Value::Text(name) => name.into(),
                Value::Missing => "".into(),
                Value::Whole(n) | Value::Nanos(n) => n.to_string().into(),
                Value::Large(n) => n.to_string().into(),
                Value::Real(x) => x.to_string().into(),
            };
            let name = name.as_ref();
            if let Some(label) = named.iter().position(|kind| kind.name == name) {
                self.kinds.push(named[label].role as u8);
                if table.kinds.are_kept() {
                    self.labels.push(label as u8);
                }
            } else if let Some(n) = self.others.get_mut(name) {
                *n += 1;
                return false;
            } else {
                self.others.insert(name.to_owned(), 1);
                return false;
            }
            true
        };
        values.map(&mut is_event).collect()
    }

    /// Returns the log, in file order. Errors name `source`.
    pub(crate) fn finish(self, source: &Path, table: &Table, columns: &Columns) -> Result<Log> {
        let others: u64 = self.others.values().sum();
        if others > 0 && !table.drop_other_events {
            let mut kinds: Vec<(String, u64)> = self.others.into_iter().collect();
            kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            return Err(Error::Kinds {
                column: Role::Event.column(columns).to_owned(),
                kinds,
            });
        }
        for (column, overflow) in [&self.sessions, &self.items].into_iter().zip(self.overflow) {
            if let Some(error) = overflow.filter(|_| column.overflow().is_some()) {
                return Err(error);
            }
        }
        let times = self
            .times
            .finish(table.time_unit)
            .map_err(|what| Error::file(source, format!("column {:?}: {what}", columns.time)))?;
        let events = EventColumns {
            sessions: self.sessions,
            items: self.items,
            kinds: self.kinds,
            times,
        };
        let mut extra = Vec::new();
        if !self.labels.is_empty() {
            extra.push(Column::new(LABEL.into(), self.labels));
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
            Value::Missing | Value::Real(_) | Value::Nanos(_) => Err("an id"),
        };
        if let Err(expected) = taken {
            return Some((row, role, expected));
        }
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
