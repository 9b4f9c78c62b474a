//! Rows of item properties as they are read, made a table.

use std::collections::HashMap;

use crate::error::BuildError;
use crate::strings::Strings;
use crate::table::{Column, ColumnData, ItemTable, NO_BOOL, NO_CODE};
use crate::value::{ColumnType, Value};

/// Maximum number of columns.
const MAX_COLUMNS: usize = 256;
/// Maximum length of a column's name in bytes.
const MAX_NAME: usize = 128;

/// A value as it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawValue<'a> {
    /// No value.
    None,
    /// A text that may stand for a number or a truth value, as in delimited text.
    Cell(&'a str),
    /// A text.
    Text(&'a str),
    /// Texts.
    List(&'a [&'a str]),
    /// A number; one that is not finite is no value.
    Number(f64),
    /// True or false.
    Bool(bool),
}

/// Rows of item properties. The last row of an item counts.
#[derive(Debug)]
pub struct TableBuilder {
    /// The last row of each item.
    rows: HashMap<Box<str>, u32>,
    columns: Vec<ColumnBuilder>,
    read: u32,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BuildReport {
    /// Rows that were read.
    pub rows: usize,
    /// Rows that a later row of the same item replaced.
    pub replaced: usize,
    /// Items of the catalogue with a row.
    pub in_catalogue: usize,
    /// Items outside the catalogue.
    pub others: usize,
}

/// Values of a column in the order of the rows.
#[derive(Debug)]
struct ColumnBuilder {
    name: String,
    cells: Vec<Cell>,
    /// Codes of the texts that are seen, in the order of their first occurrence.
    codes: HashMap<Box<str>, u32>,
    /// Codes of all lists, one after another.
    lists: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    None,
    /// A text that may be read as another type.
    Cell(u32),
    Text(u32),
    /// Start and length in the lists.
    List(u32, u32),
    Number(f64),
    Bool(bool),
}

impl TableBuilder {
    /// A builder of a table with these columns.
    ///
    /// # Errors
    /// [`BuildError`] for a name that is empty, too long or given twice, and for too many columns.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>) -> Result<Self, BuildError> {
        let mut builder = Self {
            rows: HashMap::new(),
            columns: Vec::new(),
            read: 0,
        };
        for name in columns {
            builder.add_column(name.into())?;
        }
        Ok(builder)
    }

    /// The rows of a table whose catalogue has these raw ids, to arrange them for another one.
    ///
    /// # Errors
    /// As of [`new`](Self::new) and [`push`](Self::push).
    pub fn of_table<S: AsRef<str>>(
        table: &ItemTable,
        catalogue: impl IntoIterator<Item = S>,
    ) -> Result<Self, BuildError> {
        let mut builder = Self::new(table.column_names())?;
        for (id, row) in catalogue.into_iter().zip(0..) {
            builder.push_row_of(table, id.as_ref(), row)?;
        }
        for (id, row) in table.others() {
            builder.push_row_of(table, id, row)?;
        }
        Ok(builder)
    }

    fn push_row_of(&mut self, table: &ItemTable, id: &str, row: u32) -> Result<(), BuildError> {
        let mut values = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            values.push(column.value(row));
        }
        let (mut lists, mut raw) = (Vec::new(), Vec::with_capacity(values.len()));
        for value in &values {
            if let Some(Value::List(texts)) = value {
                lists.push(texts.iter().map(String::as_str).collect::<Vec<&str>>());
            }
        }
        let mut next = lists.iter();
        for value in &values {
            raw.push(match value {
                None => RawValue::None,
                Some(Value::Text(text)) => RawValue::Text(text),
                Some(Value::List(_)) => RawValue::List(next.next().map_or(&[], Vec::as_slice)),
                Some(Value::Number(number)) => RawValue::Number(*number),
                Some(Value::Bool(value)) => RawValue::Bool(*value),
            });
        }
        self.push(id, raw)
    }

    /// Number of a column, which is added if there is none of this name.
    ///
    /// # Errors
    /// As of [`new`](Self::new).
    pub fn column(&mut self, name: &str) -> Result<usize, BuildError> {
        match self.columns.iter().position(|column| column.name == name) {
            Some(at) => Ok(at),
            None => self.add_column(name.to_owned()),
        }
    }

    fn add_column(&mut self, name: String) -> Result<usize, BuildError> {
        let wrong = if name.trim().is_empty() {
            "has no name; name each column"
        } else if name.len() > MAX_NAME {
            "has a name of more than 128 bytes; shorten it"
        } else if self.columns.iter().any(|column| column.name == name) {
            "is there twice; rename one of them"
        } else if self.columns.len() == MAX_COLUMNS {
            return Err(BuildError::TooMany {
                what: "columns",
                most: MAX_COLUMNS as u64,
            });
        } else {
            self.columns.push(ColumnBuilder {
                name,
                cells: vec![Cell::None; self.read as usize],
                codes: HashMap::new(),
                lists: Vec::new(),
            });
            return Ok(self.columns.len() - 1);
        };
        Err(BuildError::Column {
            column: name,
            what: wrong.to_owned(),
        })
    }

    /// Adds a row with a value for each column, in their order; missing ones are none.
    ///
    /// # Errors
    /// [`BuildError::TooMany`] for more than 2^32 rows, texts or list elements.
    pub fn push<'a>(
        &mut self,
        id: &str,
        values: impl IntoIterator<Item = RawValue<'a>>,
    ) -> Result<(), BuildError> {
        if self.read == u32::MAX {
            return Err(too_many("rows"));
        }
        match self.rows.get_mut(id) {
            Some(row) => *row = self.read,
            None => _ = self.rows.insert(id.into(), self.read),
        }
        self.read += 1;
        let mut values = values.into_iter();
        for column in &mut self.columns {
            column.push(values.next().unwrap_or(RawValue::None))?;
        }
        Ok(())
    }

    /// The table for a catalogue of these raw ids in index order.
    ///
    /// # Errors
    /// [`BuildError::TooMany`] for more than 2^32 items.
    pub fn finish<S: AsRef<str>>(
        self,
        catalogue: impl IntoIterator<Item = S>,
    ) -> Result<(ItemTable, BuildReport), BuildError> {
        let Self {
            mut rows,
            columns,
            read,
        } = self;
        let mut report = BuildReport {
            rows: read as usize,
            replaced: read as usize - rows.len(),
            ..BuildReport::default()
        };
        // The row that was read for each row of the table.
        let mut sources: Vec<Option<u32>> = Vec::new();
        for id in catalogue {
            sources.push(rows.remove(id.as_ref()));
        }
        let items = u32::try_from(sources.len()).map_err(|_| too_many("items"))?;
        report.in_catalogue = sources.iter().flatten().count();
        let mut others: Vec<(Box<str>, u32)> = rows.into_iter().collect();
        others.sort_unstable();
        report.others = others.len();
        let mut ids = Vec::with_capacity(others.len());
        for (id, row) in &others {
            ids.push(id);
            sources.push(Some(*row));
        }
        u32::try_from(sources.len()).map_err(|_| too_many("items"))?;
        let mut table = ItemTable {
            catalogue: items,
            others: Strings::new(ids),
            columns: Vec::with_capacity(columns.len()),
        };
        for column in columns {
            table.columns.push(column.finish(&sources));
        }
        Ok((table, report))
    }
}

fn too_many(what: &'static str) -> BuildError {
    BuildError::TooMany {
        what,
        most: u64::from(u32::MAX),
    }
}

impl ColumnBuilder {
    fn push(&mut self, value: RawValue<'_>) -> Result<(), BuildError> {
        let cell = match value {
            RawValue::None => Cell::None,
            RawValue::Cell(text) => Cell::Cell(self.code(text)?),
            RawValue::Text(text) => Cell::Text(self.code(text)?),
            RawValue::List(texts) => {
                let start = self.lists.len();
                for text in texts {
                    let code = self.code(text)?;
                    self.lists.push(code);
                }
                match (u32::try_from(start), u32::try_from(texts.len())) {
                    (Ok(start), Ok(len)) => Cell::List(start, len),
                    _ => return Err(too_many("elements of lists")),
                }
            }
            RawValue::Number(number) if number.is_finite() => Cell::Number(number),
            RawValue::Number(_) => Cell::None,
            RawValue::Bool(value) => Cell::Bool(value),
        };
        self.cells.push(cell);
        Ok(())
    }

    fn code(&mut self, text: &str) -> Result<u32, BuildError> {
        if let Some(&code) = self.codes.get(text) {
            return Ok(code);
        }
        let code = u32::try_from(self.codes.len()).map_err(|_| too_many("texts"))?;
        if code == NO_CODE {
            return Err(too_many("texts"));
        }
        self.codes.insert(text.into(), code);
        Ok(code)
    }

    /// The column of the rows that count.
    fn finish(mut self, sources: &[Option<u32>]) -> Column {
        let texts = self.texts();
        let of = self.column_type(&texts);
        if matches!(of, ColumnType::Text | ColumnType::List) {
            // A text that another type's value is written as.
            for at in 0..self.cells.len() {
                let written = match self.cells[at] {
                    Cell::Number(number) => number.to_string(),
                    Cell::Bool(value) => value.to_string(),
                    _ => continue,
                };
                // The number of distinct texts was checked for the texts themselves.
                let code = self.code(&written).unwrap_or(0);
                self.cells[at] = Cell::Text(code);
            }
        }
        let texts = self.texts();
        let mut cells = Vec::with_capacity(sources.len());
        for source in sources {
            cells.push(source.map_or(Cell::None, |row| self.cells[row as usize]));
        }
        let data = match of {
            ColumnType::Number => ColumnData::Number(numbers(&cells, &texts)),
            ColumnType::Bool => ColumnData::Bool(bools(&cells, &texts)),
            ColumnType::Text => self.encoded_texts(&cells, &texts),
            ColumnType::List => self.encoded_lists(&cells, &texts),
        };
        Column {
            name: self.name,
            data,
        }
    }

    /// The texts by code.
    fn texts(&self) -> Vec<Box<str>> {
        let mut texts = vec![Box::default(); self.codes.len()];
        for (text, &code) in &self.codes {
            texts[code as usize] = text.clone();
        }
        texts
    }

    /// The narrowest type of all values; text if there is none.
    fn column_type(&self, texts: &[Box<str>]) -> ColumnType {
        let (mut all_numbers, mut all_bools, mut has_value) = (true, true, false);
        for cell in &self.cells {
            let (is_number, is_bool) = match cell {
                Cell::None => continue,
                Cell::List(..) => return ColumnType::List,
                Cell::Text(_) => (false, false),
                Cell::Number(_) => (true, false),
                Cell::Bool(_) => (false, true),
                Cell::Cell(code) => {
                    let text = &texts[*code as usize];
                    (number(text).is_some(), boolean(text).is_some())
                }
            };
            has_value = true;
            all_numbers &= is_number;
            all_bools &= is_bool;
        }
        match (has_value, all_bools, all_numbers) {
            (false, ..) => ColumnType::Text,
            (_, true, _) => ColumnType::Bool,
            (_, _, true) => ColumnType::Number,
            _ => ColumnType::Text,
        }
    }

    fn encoded_texts(&self, cells: &[Cell], texts: &[Box<str>]) -> ColumnData {
        let mut used = Vec::new();
        for cell in cells {
            used.extend(text_code(*cell));
        }
        let (values, new_codes) = dictionary(used, texts);
        let mut codes = Vec::with_capacity(cells.len());
        for cell in cells {
            codes.push(text_code(*cell).map_or(NO_CODE, |code| new_codes[code as usize]));
        }
        ColumnData::Text { values, codes }
    }

    fn encoded_lists(&self, cells: &[Cell], texts: &[Box<str>]) -> ColumnData {
        let mut used = Vec::new();
        for cell in cells {
            used.extend_from_slice(self.list(cell));
        }
        let (values, new_codes) = dictionary(used, texts);
        let (mut offsets, mut codes) = (vec![0], Vec::new());
        for cell in cells {
            let start = codes.len();
            for &code in self.list(cell) {
                codes.push(new_codes[code as usize]);
            }
            codes[start..].sort_unstable();
            let mut kept = start;
            for at in start..codes.len() {
                if at == start || codes[at] != codes[kept - 1] {
                    codes[kept] = codes[at];
                    kept += 1;
                }
            }
            codes.truncate(kept);
            offsets.push(codes.len() as u32);
        }
        ColumnData::List {
            values,
            offsets,
            codes,
        }
    }

    /// The codes of a cell as a list; a single text is a list of one.
    fn list<'a>(&'a self, cell: &'a Cell) -> &'a [u32] {
        match cell {
            Cell::List(start, len) => &self.lists[*start as usize..][..*len as usize],
            Cell::Text(code) | Cell::Cell(code) => std::slice::from_ref(code),
            Cell::None | Cell::Number(_) | Cell::Bool(_) => &[],
        }
    }
}

fn text_code(cell: Cell) -> Option<u32> {
    match cell {
        Cell::Text(code) | Cell::Cell(code) => Some(code),
        _ => None,
    }
}

/// The used texts, ascending, and the new code of each old one.
fn dictionary(mut used: Vec<u32>, texts: &[Box<str>]) -> (Strings, Vec<u32>) {
    used.sort_unstable();
    used.dedup();
    used.sort_unstable_by(|&a, &b| texts[a as usize].cmp(&texts[b as usize]));
    let mut new_codes = vec![NO_CODE; texts.len()];
    for (new, &old) in used.iter().enumerate() {
        new_codes[old as usize] = new as u32;
    }
    let values = Strings::new(used.iter().map(|&code| &texts[code as usize]));
    (values, new_codes)
}

fn numbers(cells: &[Cell], texts: &[Box<str>]) -> Vec<f64> {
    let mut numbers = Vec::with_capacity(cells.len());
    for cell in cells {
        numbers.push(match cell {
            Cell::Number(number) => *number,
            Cell::Cell(code) => number(&texts[*code as usize]).unwrap_or(f64::NAN),
            _ => f64::NAN,
        });
    }
    numbers
}

fn bools(cells: &[Cell], texts: &[Box<str>]) -> Vec<u8> {
    let mut bools = Vec::with_capacity(cells.len());
    for cell in cells {
        bools.push(match cell {
            Cell::Bool(value) => u8::from(*value),
            Cell::Cell(code) => boolean(&texts[*code as usize]).map_or(NO_BOOL, u8::from),
            _ => NO_BOOL,
        });
    }
    bools
}

/// The number that a text stands for. A text with a leading zero, such as a postcode, stands for
/// none.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0', b'0'..=b'9', ..] => return None,
        [b'0'..=b'9' | b'.', ..] => {}
        _ => return None,
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_cells(cells: &[RawValue<'_>]) -> (ColumnType, Vec<Option<Value>>) {
        let mut builder = TableBuilder::new(["x"]).unwrap();
        let mut ids = Vec::new();
        for (at, cell) in cells.iter().enumerate() {
            ids.push(at.to_string());
            builder.push(&ids[at], [*cell]).unwrap();
        }
        let (table, _) = builder.finish(&ids).unwrap();
        let mut values = Vec::new();
        for row in 0..cells.len() as u32 {
            values.push(table.value(row, "x"));
        }
        (table.columns[0].column_type(), values)
    }

    #[test]
    fn column_type_is_the_narrowest_of_its_cells() {
        use RawValue::{Bool, Cell, List, None as No, Number, Text};
        let text = |text: &str| Some(Value::Text(text.into()));
        let number = |number| Some(Value::Number(number));
        let cases = [
            (
                vec![Cell("1"), No, Cell("-2.5e1")],
                ColumnType::Number,
                vec![number(1.0), None, number(-25.0)],
            ),
            (
                vec![Cell("True"), Cell("false")],
                ColumnType::Bool,
                vec![Some(Value::Bool(true)), Some(Value::Bool(false))],
            ),
            (
                vec![Cell("01067"), Cell("20")],
                ColumnType::Text,
                vec![text("01067"), text("20")],
            ),
            (
                vec![Cell("inf"), Cell("1")],
                ColumnType::Text,
                vec![text("inf"), text("1")],
            ),
            (
                vec![Text("5"), Number(7.0), Bool(true)],
                ColumnType::Text,
                vec![text("5"), text("7"), text("true")],
            ),
            (
                vec![List(&["b", "a", "b"]), List(&[]), Text("c"), No],
                ColumnType::List,
                vec![
                    Some(Value::List(vec!["a".into(), "b".into()])),
                    None,
                    Some(Value::List(vec!["c".into()])),
                    None,
                ],
            ),
            (
                vec![Number(f64::NAN), Number(2.0)],
                ColumnType::Number,
                vec![None, number(2.0)],
            ),
            (vec![No], ColumnType::Text, vec![None]),
        ];
        for (cells, of, values) in cases {
            assert_eq!(of_cells(&cells), (of, values), "{cells:?}");
        }
    }

    #[test]
    fn last_row_of_an_item_counts_and_others_are_kept() {
        let mut builder = TableBuilder::new(["name"]).unwrap();
        for (id, name) in [("b", "x"), ("z", "kept"), ("b", "y"), ("m", "kept too")] {
            builder.push(id, [RawValue::Cell(name)]).unwrap();
        }
        let (table, report) = builder.finish(["a", "b"]).unwrap();
        let expected = BuildReport {
            rows: 4,
            replaced: 1,
            in_catalogue: 1,
            others: 2,
        };
        assert_eq!((report, table.rows(), table.catalogue()), (expected, 4, 2));
        let of = |id, index| {
            let row = table.row(id, index)?;
            Some(table.value(row, "name")?.to_string())
        };
        assert_eq!(of("b", Some(1)), Some("y".into()));
        assert_eq!(of("a", Some(0)), None);
        assert_eq!(of("z", None), Some("kept".into()));
        assert_eq!(table.row("c", None), None);
        let others: Vec<_> = table.others().collect();
        assert_eq!(others, [("m", 2), ("z", 3)]);
        // The text of the row that was replaced is not stored.
        assert_eq!(table.columns[0].texts().unwrap().len(), 3);
    }

    #[test]
    fn table_arranged_for_another_catalogue_keeps_its_values() {
        let mut builder = TableBuilder::new(["tags", "price"]).unwrap();
        for (id, price) in [("a", 1.0), ("b", 2.0), ("z", 3.0)] {
            let tags: &[&str] = &[id, "x"];
            let values = [RawValue::List(tags), RawValue::Number(price)];
            builder.push(id, values).unwrap();
        }
        let (table, _) = builder.finish(["a", "b"]).unwrap();
        let again = TableBuilder::of_table(&table, ["a", "b"]).unwrap();
        let (other, report) = again.finish(["z", "n", "b"]).unwrap();
        assert_eq!((report.in_catalogue, report.others), (2, 1));
        for (id, index, price) in [("z", Some(0), 3.0), ("b", Some(2), 2.0), ("a", None, 1.0)] {
            let row = other.row(id, index).unwrap();
            assert_eq!(other.value(row, "price"), Some(Value::Number(price)));
            let tags = Value::List(vec![id.min("x").into(), id.max("x").into()]);
            assert_eq!(other.value(row, "tags"), Some(tags));
        }
        assert_eq!(other.value(1, "price"), None);
    }

    #[test]
    fn column_that_cannot_be_named_is_refused() {
        for names in [&["a", "a"][..], &[" "], &["x".repeat(129).leak()]] {
            let names: Vec<&str> = names.to_vec();
            assert!(matches!(
                TableBuilder::new(names),
                Err(BuildError::Column { .. })
            ));
        }
        let mut late = TableBuilder::new(["a"]).unwrap();
        late.push("1", [RawValue::Number(1.0)]).unwrap();
        assert_eq!(late.column("a"), Ok(0));
        assert_eq!(late.column("b"), Ok(1));
        late.push("2", [RawValue::None, RawValue::Bool(true)])
            .unwrap();
        let (table, _) = late.finish(["1", "2"]).unwrap();
        assert_eq!(
            (table.value(0, "b"), table.value(1, "b")),
            (None, Some(Value::Bool(true)))
        );
    }
}
