//! Columns of a file of delimited text: their names and types, and whether a first line is a
//! header.

use crate::columns::Columns;
use crate::error::{Error, Result};
use crate::input::Input;

/// Columns of a file: names, and the types that `.inter` headers give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileColumns {
    pub names: Vec<String>,
    /// Type of each column; empty if the header gives none.
    pub types: Vec<String>,
}

impl FileColumns {
    /// Columns of a header of plain names, or of numbers in place of a header.
    pub(crate) fn plain(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            types: Vec::new(),
        }
    }

    /// Columns of RecBole's `name:type` header. A header without types is read if the columns are
    /// mapped by name.
    pub(crate) fn typed(input: &Input, header: &[String], is_mapped: bool) -> Result<Self> {
        let mut columns = Self::default();
        for text in header {
            let (name, kind) = match text.split_once(':') {
                Some((name, kind)) => (name, kind),
                None if is_mapped => (text.as_str(), ""),
                None => {
                    let what = format!(
                        "header {text:?} is not name:type, such as item_id:token; for plain headers map the columns \
                         by name, such as --columns session=user_id,time=timestamp,item=item_id"
                    );
                    return Err(Error::line(&input.path, 1, what));
                }
            };
            columns.names.push(name.to_owned());
            columns.types.push(kind.to_owned());
        }
        Ok(columns)
    }

    /// True for a column of lists (`token_seq`, `float_seq`).
    pub(crate) fn is_list(&self, column: usize) -> bool {
        self.types
            .get(column)
            .is_some_and(|kind| kind.ends_with("_seq"))
    }

    /// True if any column is of lists.
    pub(crate) fn has_lists(&self) -> bool {
        self.types.iter().any(|kind| kind.ends_with("_seq"))
    }

    /// Index of the column of this name, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|column| column == name)
    }

    /// The first line as it is written, shortened.
    fn shown(&self) -> String {
        let mut shown = self.names.join(", ");
        if let Some((end, _)) = shown.char_indices().nth(100) {
            shown.truncate(end);
            shown += "..";
        }
        shown
    }
}

/// Kind of a first line in which the mapped columns were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstLine {
    /// Header of names.
    Names,
    /// Header of the columns' numbers, which a row of data could be.
    Numbers,
}

/// Rejects a first line that is data, given that the mapped columns were found in it.
pub(crate) fn check_first_line(
    input: &Input,
    found: &FileColumns,
    mapping: &Columns,
) -> Result<FirstLine> {
    if !is_by_number(mapping) {
        return Ok(FirstLine::Names);
    }
    for start in [0, 1] {
        let mut numbers = (start..).zip(&found.names);
        if numbers.all(|(number, name)| number.to_string() == *name) {
            return Ok(FirstLine::Numbers);
        }
    }
    let shown = found.shown();
    let what = format!(
        "the first line ({shown}) looks like data, not like a header; add --no-header to map columns by number"
    );
    Err(Error::line(&input.path, 1, what))
}

/// Error of a mapped column that was not found: `--no-header` is named if the first line may be
/// data.
pub(crate) fn explain_missing(
    error: Error,
    input: &Input,
    found: &FileColumns,
    mapping: &Columns,
) -> Error {
    let is_about_columns = matches!(error, Error::MissingColumn { .. } | Error::Line { .. });
    let has_number = found.names.iter().any(|name| name.parse::<f64>().is_ok());
    if !is_about_columns || !(has_number || is_by_number(mapping)) {
        return error;
    }
    let column = match &error {
        Error::MissingColumn { column, .. } => format!("no column {column:?}; "),
        _ => String::new(),
    };
    let shown = found.shown();
    let what = match has_number {
        true => format!(
            "{column}the first line ({shown}) looks like data; if the file has no header, add --no-header and map \
             the columns by number, such as session=1,time=2,item=3"
        ),
        false => format!(
            "{column}the first line ({shown}) looks like a header; map the columns by its names, or add \
             --no-header if it is data"
        ),
    };
    Error::line(&input.path, 1, what)
}

/// Error of a first line that is a header, against `--no-header`.
pub(crate) fn unexpected_header(input: &Input, text: &str) -> Error {
    let what = format!(
        "the first line looks like a header: its time is {text:?}; leave out --no-header and map the columns by name"
    );
    Error::line(&input.path, 1, what)
}

/// True if all columns are mapped by their numbers.
fn is_by_number(mapping: &Columns) -> bool {
    mapping.names().all(|name| name.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> FileColumns {
        let mut owned = Vec::new();
        for name in names {
            owned.push((*name).to_owned());
        }
        FileColumns::plain(&owned)
    }

    #[test]
    fn mapping_by_number_finds_no_header_in_data() {
        let input = Input::default();
        let check = |names: &[&str], mapping: &str| {
            check_first_line(&input, &columns(names), &mapping.parse().unwrap())
        };
        let by_number = "session=1,time=2,item=3";
        assert!(check(&["2", "1", "3"], by_number).is_err());
        assert!(check(&["1", "3", "2"], by_number).is_err());
        assert_eq!(
            check(&["1", "2", "3"], by_number).unwrap(),
            FirstLine::Numbers
        );
        let from_0 = "session=0,time=1,item=2";
        assert_eq!(
            check(&["0", "1", "2", "3"], from_0).unwrap(),
            FirstLine::Numbers
        );
        let named = "session=1,time=t,item=3";
        assert_eq!(check(&["1", "t", "3"], named).unwrap(), FirstLine::Names);
    }

    #[test]
    fn missing_column_names_the_flag_if_the_line_may_be_data() {
        let explain = |names: &[&str], mapping: &str| {
            let missing = Error::MissingColumn {
                path: "f".into(),
                column: "s".into(),
                found: Vec::new(),
                mend: "",
            };
            let mapping = mapping.parse().unwrap();
            explain_missing(missing, &Input::default(), &columns(names), &mapping).to_string()
        };
        let named = "session=s,time=t,item=i";
        assert!(explain(&["7", "a", "1.5"], named).contains("looks like data; if"));
        assert!(!explain(&["s", "t", "x"], named).contains("--no-header"));
        let by_number = "session=1,time=2,item=3";
        assert!(explain(&["s", "t", "x"], by_number).contains("looks like a header"));
    }
}
