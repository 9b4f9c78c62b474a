//! Events of a table from a polars frame: a slice of a Parquet file, or a frame in memory.

use std::path::Path;

use polars::prelude::*;

use crate::columns::time_is_missing;
use crate::error::{Error, Place, Result};
use crate::input::Shared;
use crate::lists::Explosion;
use crate::log::Log;
use crate::options::Table;
use crate::parquet_types::Meaning;
use crate::representation::{Unfit, represent, shown, values};
use crate::roles::{Role, Roles};
use crate::table_reader::{Events, Fault, Value};

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

impl FrameReader<'_> {
    /// Appends the rows of `frame`; `start` is the number of rows before it in the source.
    pub(crate) fn take(&self, frame: &DataFrame, start: usize, events: &mut Events) -> Result<()> {
        let rows = self.rows_of_batch(frame)?;
        for at in (0..frame.height()).step_by(rows) {
            let batch = Batch::new(self, &frame.slice(at as i64, rows), start + at)?;
            let (count, column) = (batch.explosion.events(), |i| batch.values(i));
            let error = |fault| batch.fault(fault);
            events.take(self.table, self.roles, count, column, error)?;
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
}

/// Rows that are converted at once.
struct Batch<'a> {
    reader: &'a FrameReader<'a>,
    /// Number of rows before it in the source.
    start: usize,
    columns: Vec<Wanted>,
    explosion: Explosion,
    /// Row of each event; `None` if each row is one.
    rows_of_events: Option<Vec<u32>>,
}

/// Column of a batch: its values, or the elements of its lists.
struct Wanted {
    values: Column,
    is_list: bool,
}

impl<'a> Batch<'a> {
    fn new(reader: &'a FrameReader<'a>, frame: &DataFrame, start: usize) -> Result<Self> {
        let mut batch = Self {
            reader,
            start,
            columns: Vec::new(),
            explosion: Explosion::new(frame.height()),
            rows_of_events: None,
        };
        for (name, _) in reader.roles.columns() {
            let column = frame.column(name)?;
            let wanted = match column.list() {
                Ok(lists) => batch.add_lists(name, lists)?,
                Err(_) => Wanted {
                    values: column.clone(),
                    is_list: false,
                },
            };
            batch.columns.push(wanted);
        }
        batch.rows_of_events = batch.explosion.rows_of_events();
        if batch.rows_of_events.is_none() && !reader.roles.has(Role::Time) {
            return Err(time_is_missing());
        }
        for i in 0..batch.columns.len() {
            let role = reader.roles.role(i).unwrap_or(Role::Item);
            let values = &batch.columns[i].values;
            batch.columns[i].values =
                match represent(reader.source, role, values, reader.meanings[i])? {
                    Ok(values) => values,
                    Err(unfit) => return Err(batch.unfit(i, unfit)),
                };
        }
        Ok(batch)
    }

    fn add_lists(&mut self, name: &str, lists: &ListChunked) -> Result<Wanted> {
        let (lengths, values) = elements(lists)?;
        if let Err(uneven) = self.explosion.add(name, lengths) {
            return Err(Error::Cell {
                path: self.reader.source.to_owned(),
                place: self.place(uneven.row),
                column: name.to_owned(),
                found: uneven.found,
                expected: uneven.expected,
            });
        }
        let is_list = true;
        Ok(Wanted { values, is_list })
    }

    fn place(&self, row: usize) -> Place {
        Place::Row((self.start + row + 1) as u64)
    }

    fn row_of(&self, event: usize) -> usize {
        match &self.rows_of_events {
            Some(rows) => rows[event] as usize,
            None => event,
        }
    }

    /// Values of the column at a position, one per event.
    fn values(&self, i: usize) -> Result<std::vec::IntoIter<Value<'_>>> {
        let values = values(&self.columns[i].values)?;
        Ok(match &self.rows_of_events {
            Some(rows) if !self.columns[i].is_list => broadcast(&values, rows).into_iter(),
            _ => values.into_iter(),
        })
    }

    /// Error of the value of an event.
    fn fault(&self, (event, role, expected): Fault) -> Error {
        let i = self.reader.roles.column(role).unwrap_or(0);
        let Wanted { values, is_list } = &self.columns[i];
        let row = self.row_of(event);
        Error::Cell {
            path: self.reader.source.to_owned(),
            place: self.place(row),
            column: self.reader.roles.columns()[i].0.clone(),
            found: shown(values, if *is_list { event } else { row }),
            expected: expected.to_owned(),
        }
    }

    /// Error of a value that column `i` cannot hold.
    fn unfit(&self, i: usize, unfit: Unfit) -> Error {
        let row = if self.columns[i].is_list {
            self.row_of(unfit.at)
        } else {
            unfit.at
        };
        Error::Cell {
            path: self.reader.source.to_owned(),
            place: self.place(row),
            column: self.reader.roles.columns()[i].0.clone(),
            found: unfit.found,
            expected: unfit.expected.into(),
        }
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
pub(crate) fn elements(lists: &ListChunked) -> Result<(Vec<usize>, Column)> {
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
