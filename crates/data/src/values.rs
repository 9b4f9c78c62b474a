//! The values of delimited text: what is wanted of a record, and a column of it once read.

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    /// A whole number from 0 to 2^64 - 1.
    Unsigned,
    /// A whole number of 64 bits.
    Integer,
    /// Text that is not empty.
    Text,
    /// Text, or nothing.
    Optional,
}

impl Cell {
    /// What is due, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Cell::Unsigned => "a whole number from 0 to 18446744073709551615",
            Cell::Integer => "a whole number of 64 bits",
            Cell::Text => "a value",
            Cell::Optional => "text",
        }
    }
}

/// A column to read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Which field of the record.
    pub field: usize,
    /// Its name, for messages.
    pub name: String,
    /// What it holds.
    pub cell: Cell,
}

/// The values of a column of one chunk, a row each.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// Of [`Cell::Unsigned`].
    Unsigned(Vec<u64>),
    /// Of [`Cell::Integer`].
    Integers(Vec<i64>),
    /// Of [`Cell::Text`] and [`Cell::Optional`]: where they stand in a text.
    Texts(Vec<Span>),
}

impl Values {
    /// None yet.
    pub(crate) fn new(cell: Cell) -> Self {
        match cell {
            Cell::Unsigned => Values::Unsigned(Vec::new()),
            Cell::Integer => Values::Integers(Vec::new()),
            Cell::Text | Cell::Optional => Values::Texts(Vec::new()),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Values::Unsigned(numbers) => numbers.len(),
            Values::Integers(numbers) => numbers.len(),
            Values::Texts(spans) => spans.len(),
        }
    }
}

/// Where a value stands in a text: half the size of a `&str`, and its text can go from thread to thread with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Of a value that is missing: an end before its start, which no text has.
    pub(crate) const MISSING: Self = Self { start: 1, end: 0 };

    /// From byte `start` to before byte `end`; nothing for texts above 4 GB, which no chunk is.
    pub(crate) fn new(start: usize, end: usize) -> Option<Self> {
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    /// The value; nothing where it is missing.
    pub(crate) fn of(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize)
    }
}
