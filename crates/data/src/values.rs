//! Values of delimited text: the selected fields of a record, and a column of their values.

/// Type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Whole number from 0 to 2^64 - 1.
    Unsigned,
    /// Whole number of 64 bits.
    Integer,
    /// Text that is not empty.
    Text,
    /// Text, or nothing.
    Optional,
}

impl Cell {
    /// Expected value, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Cell::Unsigned => "a whole number from 0 to 18446744073709551615",
            Cell::Integer => "a whole number of 64 bits",
            Cell::Text => "a value",
            Cell::Optional => "text",
        }
    }
}

/// Column to read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Index of the field in the record.
    pub field: usize,
    /// Name of the column, for messages.
    pub name: String,
    /// Type of the values.
    pub cell: Cell,
}

/// Values of a column of one chunk, one per row.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// Values of [`Cell::Unsigned`].
    Unsigned(Vec<u64>),
    /// Values of [`Cell::Integer`].
    Integers(Vec<i64>),
    /// Values of [`Cell::Text`] and [`Cell::Optional`], as spans of a text.
    Texts(Vec<Span>),
}

impl Values {
    /// Creates an empty column.
    pub(crate) fn new(cell: Cell) -> Self {
        match cell {
            Cell::Unsigned => Values::Unsigned(Vec::new()),
            Cell::Integer => Values::Integers(Vec::new()),
            Cell::Text | Cell::Optional => Values::Texts(Vec::new()),
        }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Unsigned(numbers) => numbers.len(),
            Values::Integers(numbers) => numbers.len(),
            Values::Texts(spans) => spans.len(),
        }
    }
}

/// Byte range of a value in a text. It has half the size of a `&str`, and moves between threads
/// with its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Span of a missing value: an end before its start, which no text has.
    pub(crate) const MISSING: Self = Self { start: 1, end: 0 };

    /// Span from byte `start` to before byte `end`; `None` for texts above 4 GB, larger than any
    /// chunk.
    pub(crate) fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    /// Returns the value, or `None` if it is missing.
    pub(crate) fn of(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
    }
}
