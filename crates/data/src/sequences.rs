//! Rows of delimited text that are sessions: lists of items, with a blank between the elements.

use crate::delimited_reader::Batch;
use crate::error::Result;
use crate::roles::{Role, Roles};
use crate::table_reader::Value;

/// Events of a batch of sessions.
pub(crate) struct Sequences<'a> {
    /// Values of each column, one per event.
    columns: Vec<Vec<Value<'a>>>,
    /// Row of each event.
    rows: Vec<usize>,
}

impl<'a> Sequences<'a> {
    /// Splits the lists of a batch. A value that is no list belongs to all events of its row.
    pub(crate) fn new(batch: &'a Batch, roles: &Roles, are_lists: &[bool]) -> Result<Self> {
        let items = roles.column(Role::Item).unwrap_or(0);
        let (mut rows, mut lengths) = (Vec::new(), Vec::new());
        for (row, list) in batch.texts(items)?.enumerate() {
            let length = list.unwrap_or_default().split_whitespace().count();
            rows.resize(rows.len() + length, row);
            lengths.push(length);
        }
        let mut columns = Vec::with_capacity(are_lists.len());
        for (position, &is_list) in are_lists.iter().enumerate() {
            let mut values = Vec::with_capacity(rows.len());
            for (row, (text, &length)) in batch.texts(position)?.zip(&lengths).enumerate() {
                let end = values.len() + length;
                if !is_list {
                    values.resize(end, text.map_or(Value::Missing, Value::Text));
                    continue;
                }
                for element in text.unwrap_or_default().split_whitespace() {
                    values.push(Value::Text(element));
                }
                if values.len() != end {
                    let expected = format!("a list of {length}, as the items of its row");
                    return Err(batch.fault(row, position, expected));
                }
            }
            columns.push(values);
        }
        Ok(Self { columns, rows })
    }

    /// Number of events.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Row of an event.
    pub(crate) fn row(&self, event: usize) -> usize {
        self.rows.get(event).copied().unwrap_or(0)
    }

    /// Values of the column at a position.
    pub(crate) fn values(&self, position: usize) -> impl Iterator<Item = Value<'a>> + '_ {
        self.columns[position].iter().copied()
    }
}
