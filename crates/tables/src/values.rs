//! Columns of a table: their types, and values of some rows.

use polars_core::chunked_array::builder::{ListPrimitiveChunkedBuilder, ListStringChunkedBuilder};
use polars_core::prelude::*;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Unsigned 32-bit integers.
    U32,
    /// 64-bit floating-point numbers.
    F64,
    /// Text.
    Text,
    /// Lists of text.
    TextList,
    /// Lists of 32-bit floating-point numbers.
    F32List,
}

impl Type {
    pub(crate) fn dtype(self) -> DataType {
        match self {
            Type::U32 => DataType::UInt32,
            Type::F64 => DataType::Float64,
            Type::Text => DataType::String,
            Type::TextList => DataType::List(Box::new(DataType::String)),
            Type::F32List => DataType::List(Box::new(DataType::Float32)),
        }
    }
}

/// Values of a column in some rows; `None` is null.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Values<'a> {
    U32(&'a [Option<u32>]),
    F64(&'a [Option<f64>]),
    Text(&'a [Option<&'a str>]),
    TextList(&'a [Vec<&'a str>]),
    F32List(&'a [Vec<f32>]),
}

impl Values<'_> {
    /// Type of the column.
    pub fn value_type(&self) -> Type {
        match self {
            Values::U32(_) => Type::U32,
            Values::F64(_) => Type::F64,
            Values::Text(_) => Type::Text,
            Values::TextList(_) => Type::TextList,
            Values::F32List(_) => Type::F32List,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Values::U32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::Text(values) => values.len(),
            Values::TextList(lists) => lists.len(),
            Values::F32List(lists) => lists.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn to_column(self, name: &str) -> Column {
        match self {
            Values::U32(values) => Column::new(name.into(), values),
            Values::F64(values) => Column::new(name.into(), values),
            Values::Text(values) => Column::new(name.into(), values),
            Values::TextList(lists) => text_lists(name, lists).into_column(),
            Values::F32List(lists) => number_lists(name, lists).into_column(),
        }
    }
}

fn text_lists(name: &str, lists: &[Vec<&str>]) -> ListChunked {
    let values = lists.iter().map(Vec::len).sum();
    let mut builder = ListStringChunkedBuilder::new(name.into(), lists.len(), values);
    for list in lists {
        builder.append_values_iter(list.iter().copied());
    }
    builder.finish()
}

fn number_lists(name: &str, lists: &[Vec<f32>]) -> ListChunked {
    let values = lists.iter().map(Vec::len).sum();
    let mut builder = ListPrimitiveChunkedBuilder::<Float32Type>::new(
        name.into(),
        lists.len(),
        values,
        DataType::Float32,
    );
    for list in lists {
        builder.append_slice(list);
    }
    builder.finish()
}
