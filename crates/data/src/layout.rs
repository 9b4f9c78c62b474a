//! Layout of a file of delimited text, and errors with a place in it.

use crate::error::{Error, Place};
use crate::input::Input;
use crate::records::{Dialect, Records, cells};
use crate::values::Wanted;

/// Properties that all chunks of a file share.
pub(crate) struct Layout {
    pub input: Input,
    pub dialect: Dialect,
    /// Number of fields of each record.
    pub fields: usize,
    pub wanted: Vec<Wanted>,
}

impl Layout {
    /// Error of the value in row `row` of column `i` of a text that begins on `first_line`.
    pub(crate) fn fault(
        &self,
        text: &str,
        first_line: u64,
        row: usize,
        i: usize,
        expected: String,
    ) -> Error {
        let Wanted { field, name, .. } = &self.wanted[i];
        let Some(Ok(record)) = Records::new(text.as_bytes(), self.dialect).nth(row) else {
            return self.unread(&format!("row {row} does not exist"));
        };
        let found = cells(&text[record.bytes], self.dialect)
            .swap_remove(*field)
            .into_owned();
        let (path, place) = (
            self.input.path.clone(),
            Place::Line(first_line + record.line),
        );
        Error::Cell {
            path,
            place,
            column: name.clone(),
            found,
            expected,
        }
    }

    /// Error of a file that could not be read as delimited text, with the cause `why`.
    pub(crate) fn unread(&self, why: &dyn std::fmt::Display) -> Error {
        Error::file(
            &self.input.path,
            format!("could not be read as delimited text: {why}"),
        )
    }
}
