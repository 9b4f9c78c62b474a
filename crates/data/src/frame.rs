//! Events of a table from a polars frame: a slice of a Parquet file, or a frame in memory.

use std::path::Path;

use polars::prelude::*;

use crate::error::{Error, Place, Result};
use crate::input::Shared;
use crate::lists::Explosion;
use crate::log::Log;
use crate::options::Table;
use crate::parquet_types::Meaning;
use crate::representation::{represent, shown, values};
use crate::roles::{Role, Roles};
use crate::table_reader::{Events, Value};

/// Path shown in errors in place of a file's.
const FRAME: &str = "frame";
/// Number of events that are converted at once: each takes some hundred bytes meanwhile.
const BATCH: usize = 1 << 20;

/// Reads the log of a frame in memory, in the order of its rows.
pub(crate) fn read(mut frame: LazyFrame, table: &Table) -> Result<(Log, u64)> {
    let source = Path::new(FRAME);
    let columns = table.mapping()?;
    let schema = frame.collect_schema()?;
    let mut names = Vec::with_capacity(schema.len());
    for name in schema.iter_names() {
        names.push(name.to_string());
    }
    let roles = Roles::new(source, &Shared::default(), &names, columns)?;
    let mut wanted = Vec::new();
    for (name, _) in roles.columns() {
        wanted.push(col(name.as_str()));
    }
    let frame = frame.select(wanted).collect()?;
    let mut events = Events::new(table)?;
    let reader = FrameReader {
        source,
        meanings: &vec![Meaning::Plain; roles.columns().len()],
        roles: &roles,
        table,
    };
    reader.take(&frame, 0, &mut events)?;
    let log = events.finish(source, table, columns)?;
    Ok((log, frame.height() as u64))
}

/// Reader of the frames of one source.
pub(crate) struct FrameReader<'a> {
    /// Path for errors.
    pub source: &'a Path,
    pub roles: &'a Roles,
    /// Meaning of each column of `roles`.
    pub meanings: &'a [Meaning],
    pub table: &'a Table,
}

/// Column of a batch: its values, or the elements of its lists.
struct Wanted {
    values: Column,
    is_list: bool,
}

impl FrameReader<'_> {
    /// Appends the rows of `frame`; `start` is the number of rows before it in the source.
    pub(crate) fn take(&self, frame: &DataFrame, start: usize, events: &mut Events) -> Result<()> {
        let rows = self.rows_of_batch(frame)?;
        for at in (0..frame.height()).step_by(rows) {
            self.take_batch(&frame.slice(at as i64, rows), start + at, events)?;
        }
        Ok(())
    }

    /// Number of rows with about [`BATCH`] events.
    fn rows_of_batch(&self, frame: &DataFrame) -> Result<usize> {
        let rows = frame.height().max(1);
        let mut most = rows;
        for (name, _) in self.roles.columns() {
            if let Ok(lists) = frame.column(name)?.list() {
                most = most.max(lists.get_inner().len());
            }
        }
        Ok((BATCH as u64 * rows as u64 / most as u64).max(1) as usize)
    }

    fn take_batch(&self, frame: &DataFrame, start: usize, events: &mut Events) -> Result<()> {
        let place = |row: usize| Place::Row((start + row + 1) as u64);
        let mut explosion = Explosion::new(frame.height());
        let mut wanted = Vec::new();
        for (name, _) in self.roles.columns() {
            let column = frame.column(name)?;
            let Ok(lists) = column.list() else {
                let (values, is_list) = (column.clone(), false);
                wanted.push(Wanted { values, is_list });
                continue;
            };
            let (lengths, values) = elements(lists)?;
            if let Err(uneven) = explosion.add(name, lengths) {
                return Err(Error::Cell {
                    path: self.source.to_owned(),
                    place: place(uneven.row),
                    column: name.clone(),
                    found: uneven.found,
                    expected: uneven.expected,
                });
            }
            wanted.push(Wanted {
                values,
                is_list: true,
            });
        }
        let rows_of_events = explosion.rows_of_events();
        if rows_of_events.is_none() && !self.roles.has(Role::Time) {
            return Err(crate::columns::time_is_missing());
        }
        // Row of an event, and its position in a column.
        let row_of = |event: usize| match &rows_of_events {
            Some(rows) => rows[event] as usize,
            None => event,
        };
        let position = |event: usize, is_list: bool| if is_list { event } else { row_of(event) };
        for (i, (column, &meaning)) in wanted.iter_mut().zip(self.meanings).enumerate() {
            let role = self.roles.role(i).unwrap_or(Role::Item);
            let represented = represent(self.source, role, &column.values, meaning)?;
            column.values = represented.map_err(|fault| {
                let mut events = 0..explosion.events();
                let is_it = |&e: &usize| position(e, column.is_list) == fault.at;
                Error::Cell {
                    path: self.source.to_owned(),
                    place: place(row_of(events.find(is_it).unwrap_or(0))),
                    column: self.roles.columns()[i].0.clone(),
                    found: fault.found,
                    expected: fault.expected.into(),
                }
            })?;
        }
        let column = |i: usize| {
            let Wanted {
                values: of,
                is_list,
            } = &wanted[i];
            let values = values(of)?;
            Ok(match &rows_of_events {
                Some(rows) if !is_list => broadcast(&values, rows).into_iter(),
                _ => values.into_iter(),
            })
        };
        let error = |(event, role, expected): (usize, Role, &str)| {
            let i = self.roles.column(role).unwrap_or(0);
            let Wanted { values, is_list } = &wanted[i];
            Error::Cell {
                path: self.source.to_owned(),
                place: place(row_of(event)),
                column: self.roles.columns()[i].0.clone(),
                found: shown(values, position(event, *is_list)),
                expected: expected.to_owned(),
            }
        };
        events.take(self.table, self.roles, explosion.events(), column, error)
    }
}

/// The row's value for each event.
fn broadcast<'a>(values: &[Value<'a>], rows_of_events: &[u32]) -> Vec<Value<'a>> {
    let mut events = Vec::with_capacity(rows_of_events.len());
    for &row in rows_of_events {
        events.push(values[row as usize]);
    }
    events
}

/// Length of each list, and all elements one after the other. A missing list is empty.
fn elements(lists: &ListChunked) -> Result<(Vec<usize>, Column)> {
    let lists = lists.rechunk();
    let elements = lists.get_inner();
    let (mut lengths, mut places) = (Vec::with_capacity(lists.len()), Vec::new());
    let Some(array) = lists.downcast_iter().next() else {
        return Ok((lengths, elements.into_column()));
    };
    let is_present = lists.is_not_null();
    let mut start = *array.offsets().first() as usize;
    let first = start;
    for (length, is_present) in array.offsets().lengths().zip(is_present.iter()) {
        let is_present = is_present == Some(true);
        lengths.push(if is_present { length } else { 0 });
        if !is_present && length > 0 || !places.is_empty() {
            places.push((start, length, is_present));
        }
        start += length;
    }
    if places.is_empty() {
        let elements = elements.slice(first as i64, start - first);
        return Ok((lengths, elements.into_column()));
    }
    // Elements under a missing list, which belong to nothing, are left out.
    let mut kept: Vec<IdxSize> = (first as IdxSize..places[0].0 as IdxSize).collect();
    for (start, length, is_present) in places {
        if is_present {
            kept.extend(start as IdxSize..(start + length) as IdxSize);
        }
    }
    let kept = IdxCa::from_vec("kept".into(), kept);
    Ok((lengths, elements.take(&kept)?.into_column()))
}
