//! Values of one column as they are read, made a column of a table.

use std::collections::HashMap;

use crate::builder::{RawValue, too_many};
use crate::error::BuildError;
use crate::strings::Strings;
use crate::table::{Column, ColumnData, NO_BOOL, NO_CODE};
use crate::value::ColumnType;

/// Values of a column in the order of the rows.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    pub(crate) name: String,
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
    Untyped(u32),
    Text(u32),
    /// Start and length in the lists.
    List(u32, u32),
    Number(f64),
    Bool(bool),
}

impl ColumnBuilder {
    /// A column without a value in so many rows.
    pub(crate) fn new(name: String, rows: usize) -> Self {
        Self {
            name,
            cells: vec![Cell::None; rows],
            codes: HashMap::new(),
            lists: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, value: RawValue<'_>) -> Result<(), BuildError> {
        let cell = match value {
            RawValue::None => Cell::None,
            RawValue::Cell(text) => Cell::Untyped(self.code(text)?),
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
    pub(crate) fn finish(mut self, sources: &[Option<u32>]) -> Column {
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
                Cell::Untyped(code) => {
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
            Cell::Text(code) | Cell::Untyped(code) => std::slice::from_ref(code),
            Cell::None | Cell::Number(_) | Cell::Bool(_) => &[],
        }
    }
}

fn text_code(cell: Cell) -> Option<u32> {
    match cell {
        Cell::Text(code) | Cell::Untyped(code) => Some(code),
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
            Cell::Untyped(code) => number(&texts[*code as usize]).unwrap_or(f64::NAN),
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
            Cell::Untyped(code) => boolean(&texts[*code as usize]).map_or(NO_BOOL, u8::from),
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
