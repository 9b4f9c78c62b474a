//! The table of item properties, column by column.

use serde::Serialize;

use crate::strings::Strings;
use crate::value::{ColumnType, Value};

/// Code of a missing text.
pub(crate) const NO_CODE: u32 = u32::MAX;
/// Stored truth values; [`NO_BOOL`] is a missing one.
pub(crate) const NO_BOOL: u8 = 2;

/// Properties of items. The first rows are the items of a catalogue, by index; the others are items
/// outside it, by raw id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemTable {
    pub(crate) catalogue: u32,
    /// Raw ids of the rows beyond the catalogue, ascending.
    pub(crate) others: Strings,
    pub(crate) columns: Vec<Column>,
}

/// Values of one property, a row an item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) data: ColumnData,
}

/// Values of a column. Texts are dictionary-encoded: each distinct one is stored once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ColumnData {
    Text {
        /// Distinct texts, ascending.
        values: Strings,
        /// Number of the row's text, or [`NO_CODE`].
        codes: Vec<u32>,
    },
    List {
        values: Strings,
        /// Start of each row's codes, then the number of codes.
        offsets: Vec<u32>,
        /// Numbers of each row's texts, ascending and distinct in a row.
        codes: Vec<u32>,
    },
    /// Not a number where there is no value.
    Number(Vec<f64>),
    /// 0, 1, or [`NO_BOOL`].
    Bool(Vec<u8>),
}

/// A column in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnSummary {
    /// Name of the column.
    pub name: String,
    /// Type of its values.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Catalogue items with a value.
    pub items: usize,
    /// Share of the catalogue with a value.
    pub coverage: f64,
    /// Distinct texts, for texts and lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct: Option<usize>,
    /// Least and largest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
}

impl Column {
    pub(crate) fn column_type(&self) -> ColumnType {
        match self.data {
            ColumnData::Text { .. } => ColumnType::Text,
            ColumnData::List { .. } => ColumnType::List,
            ColumnData::Number(_) => ColumnType::Number,
            ColumnData::Bool(_) => ColumnType::Bool,
        }
    }

    /// The value of a row, which must exist.
    pub(crate) fn value(&self, row: u32) -> Option<Value> {
        let row = row as usize;
        match &self.data {
            ColumnData::Text { values, codes } => match codes[row] {
                NO_CODE => None,
                code => Some(Value::Text(values.get(code as usize).to_owned())),
            },
            ColumnData::List {
                values,
                offsets,
                codes,
            } => {
                let mut texts = Vec::new();
                for &code in &codes[offsets[row] as usize..offsets[row + 1] as usize] {
                    texts.push(values.get(code as usize).to_owned());
                }
                (!texts.is_empty()).then_some(Value::List(texts))
            }
            ColumnData::Number(numbers) => {
                let number = numbers[row];
                (!number.is_nan()).then_some(Value::Number(number))
            }
            ColumnData::Bool(bools) => match bools[row] {
                NO_BOOL => None,
                value => Some(Value::Bool(value == 1)),
            },
        }
    }

    /// The codes of a row's texts.
    pub(crate) fn codes(&self, row: u32) -> &[u32] {
        let row = row as usize;
        match &self.data {
            ColumnData::Text { codes, .. } if codes[row] == NO_CODE => &[],
            ColumnData::Text { codes, .. } => &codes[row..=row],
            ColumnData::List { offsets, codes, .. } => {
                &codes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            ColumnData::Number(_) | ColumnData::Bool(_) => &[],
        }
    }

    /// The distinct texts of a column of texts.
    pub(crate) fn texts(&self) -> Option<&Strings> {
        match &self.data {
            ColumnData::Text { values, .. } | ColumnData::List { values, .. } => Some(values),
            ColumnData::Number(_) | ColumnData::Bool(_) => None,
        }
    }

    fn summary(&self, catalogue: u32) -> ColumnSummary {
        let (mut items, mut range) = (0, None);
        for row in 0..catalogue {
            let has_value = match &self.data {
                ColumnData::Number(numbers) => {
                    let number = numbers[row as usize];
                    if !number.is_nan() {
                        let [least, most] = range.unwrap_or([number, number]);
                        range = Some([number.min(least), number.max(most)]);
                    }
                    !number.is_nan()
                }
                ColumnData::Bool(bools) => bools[row as usize] != NO_BOOL,
                ColumnData::Text { .. } | ColumnData::List { .. } => !self.codes(row).is_empty(),
            };
            items += usize::from(has_value);
        }
        ColumnSummary {
            name: self.name.clone(),
            column_type: self.column_type(),
            items,
            coverage: items as f64 / f64::from(catalogue.max(1)),
            distinct: self.texts().map(Strings::len),
            range,
        }
    }
}

impl ItemTable {
    /// A table without columns for a catalogue of `items` items.
    pub fn empty(items: u32) -> Self {
        Self {
            catalogue: items,
            ..Self::default()
        }
    }

    /// Number of items in the catalogue.
    pub fn catalogue(&self) -> usize {
        self.catalogue as usize
    }

    /// Number of rows: the catalogue and the items outside it.
    pub fn rows(&self) -> usize {
        self.catalogue as usize + self.others.len()
    }

    /// Names of the columns, in the order of the file.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The columns in numbers; a pass over the catalogue.
    pub fn summaries(&self) -> Vec<ColumnSummary> {
        let mut summaries = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            summaries.push(column.summary(self.catalogue));
        }
        summaries
    }

    /// The row of an item, given its index in the catalogue if it has one.
    pub fn row(&self, id: &str, index: Option<u32>) -> Option<u32> {
        match index {
            Some(index) => (index < self.catalogue).then_some(index),
            None => Some(self.catalogue + self.others.find(id)?),
        }
    }

    /// Raw ids of the items outside the catalogue, ascending, with their rows.
    pub fn others(&self) -> impl Iterator<Item = (&str, u32)> {
        let ids = 0..self.others.len();
        ids.map(|at| (self.others.get(at), self.catalogue + at as u32))
    }

    /// The value of a row in a column.
    pub fn value(&self, row: u32, column: &str) -> Option<Value> {
        if row as usize >= self.rows() {
            return None;
        }
        let mut columns = self.columns.iter();
        columns.find(|c| c.name == column)?.value(row)
    }
}
