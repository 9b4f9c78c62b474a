//! Parallel reader of delimited text: typed columns, one batch per chunk.

use std::iter::once;
use std::path::Path;
use std::sync::Arc;

use prl_dataset::SourceFile;

use crate::chunks::{CHUNK, Chunk, Chunks};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::layout::Layout;
use crate::ordered_parallel::ordered_parallel;
use crate::records::{Dialect, Records, cells, normalise};
use crate::values::{Span, Values, Wanted};
use crate::{csv_fast_path, csv_general};

/// Source of the field names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Header {
    /// First line of the file.
    FirstLine,
    /// Names fixed by the format; the file has no header.
    Fixed(&'static [&'static str]),
    /// Numbers from 1; the file has no header.
    Numbers,
}

/// Selected columns of one chunk.
pub(crate) struct Batch {
    columns: Vec<Values>,
    text: String,
    /// Text that the columns' spans refer to, if it is not the chunk's text.
    values: Option<String>,
    first_line: u64,
    is_first: bool,
    layout: Arc<Layout>,
}

impl Batch {
    fn read(chunk: Chunk, layout: &Arc<Layout>) -> Result<Self> {
        let (layout, first_line) = (layout.clone(), chunk.line);
        let text = match chunk.is_normalised {
            true => String::from_utf8(chunk.text).map_err(|e| layout.unread(&e))?,
            false => normalise(&layout.input, chunk.text, first_line, layout.dialect)?,
        };
        let (columns, values) =
            match csv_fast_path::read(&text, layout.dialect, layout.fields, &layout.wanted) {
                Some(columns) => (columns, None),
                None => csv_general::read(&layout, &text, first_line)
                    .map(|(columns, values)| (columns, Some(values)))?,
            };
        Ok(Self {
            columns,
            text,
            values,
            first_line,
            is_first: chunk.is_normalised,
            layout,
        })
    }

    /// True for the batch that the file begins with.
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.columns.first().map_or(0, Values::len)
    }

    /// Selected column `i`, of whole numbers from 0.
    pub(crate) fn unsigned(&self, i: usize) -> Result<impl Iterator<Item = u64> + '_> {
        match &self.columns[i] {
            Values::Unsigned(numbers) => Ok(numbers.iter().copied()),
            _ => Err(self.layout.unread(&"a column holds no numbers from 0")),
        }
    }

    /// Selected column `i`, of whole numbers.
    pub(crate) fn integers(&self, i: usize) -> Result<impl Iterator<Item = i64> + '_> {
        match &self.columns[i] {
            Values::Integers(numbers) => Ok(numbers.iter().copied()),
            _ => Err(self.layout.unread(&"a column holds no whole numbers")),
        }
    }

    /// Selected column `i`, of text; a missing optional value is `None`.
    pub(crate) fn texts(&self, i: usize) -> Result<impl Iterator<Item = Option<&str>> + '_> {
        let text = self.values.as_deref().unwrap_or(&self.text);
        match &self.columns[i] {
            Values::Texts(spans) => Ok(spans.iter().map(move |span: &Span| span.of(text))),
            _ => Err(self.layout.unread(&"a column holds no text")),
        }
    }

    /// Error of the value in row `row` of column `i`.
    pub(crate) fn fault(&self, row: usize, i: usize, expected: impl Into<String>) -> Error {
        self.layout
            .fault(&self.text, self.first_line, row, i, expected.into())
    }
}

/// Reads a file. `choose` selects columns given the names of all fields. `work` receives them chunk
/// by chunk on several threads; `take` receives its results in the order of the file. Only columns
/// of [`Cell::Optional`](crate::values::Cell::Optional) have missing values.
pub(crate) fn read<T: Send>(
    input: &Input,
    dialect: Dialect,
    header: Header,
    choose: impl FnOnce(&[String]) -> Result<Vec<Wanted>>,
    work: impl Fn(Batch) -> Result<T> + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<SourceFile> {
    let mut chunks = Chunks::open(input, dialect.quote, CHUNK)?;
    let Some(mut first) = chunks.next().transpose()? else {
        return Err(Error::file(&input.path, "the file is empty"));
    };
    let names = names(input, dialect, header, &mut first)?;
    let layout = Layout {
        input: input.clone(),
        dialect,
        fields: names.len(),
        wanted: choose(&names)?,
    };
    let (layout, mut rows) = (Arc::new(layout), 0);
    let work = |chunk| {
        let batch = Batch::read(chunk, &layout)?;
        Ok((batch.rows() as u64, work(batch)?))
    };
    ordered_parallel(once(Ok(first)).chain(&mut chunks), work, |(read, done)| {
        rows += read;
        take(done)
    })?;
    match rows {
        0 => Err(Error::file(
            &input.path,
            "the file holds a header and no row",
        )),
        _ => Ok(chunks.finish(rows)),
    }
}

/// Names of the fields; removes the header line from the first chunk of the file.
fn names(
    input: &Input,
    dialect: Dialect,
    header: Header,
    chunk: &mut Chunk,
) -> Result<Vec<String>> {
    let bytes = std::mem::take(&mut chunk.text);
    chunk.text = normalise(input, bytes, chunk.line, dialect)?.into_bytes();
    chunk.is_normalised = true;
    let (text, line) = (&mut chunk.text, &mut chunk.line);
    if text.starts_with(b"{\"") || text.starts_with(b"[{") {
        let what = "this is JSON; read a file of an object a line with --source jsonl";
        return Err(Error::line(&input.path, *line, what));
    }
    let mut records = Records::new(text, dialect);
    let first = match records.next() {
        Some(Ok(first)) => first,
        Some(Err((at, what))) => return Err(Error::line(&input.path, *line + at, what)),
        None => return Err(Error::file(&input.path, "the file is empty")),
    };
    let lines = records.lines();
    let record = String::from_utf8_lossy(&text[first.bytes.clone()]).into_owned();
    refuse_other_formats(input, dialect, &record, first.fields, *line + first.line)?;
    let mut names = Vec::with_capacity(first.fields);
    match header {
        Header::Fixed(fixed) => {
            for &name in fixed {
                names.push(name.to_owned());
            }
        }
        Header::Numbers => {
            for number in 1..=first.fields {
                names.push(number.to_string());
            }
        }
        Header::FirstLine => {
            for name in cells(&record, dialect) {
                names.push(name.trim().to_owned());
            }
            text.drain(..(first.bytes.end + 1).min(text.len()));
            *line += lines;
        }
    }
    Ok(names)
}

/// Delimiters that a log may have in place of the due one, the likeliest first.
const DELIMITERS: [&str; 7] = ["\t", "::", ";", "|", ",", "\u{1}", " "];

/// Rejects a first line of one field: it means another delimiter or another format.
fn refuse_other_formats(
    input: &Input,
    dialect: Dialect,
    record: &str,
    fields: usize,
    line: u64,
) -> Result<()> {
    if record.starts_with("PAR1") {
        return Err(Error::file(
            &input.path,
            "this is Parquet; read it with --source parquet",
        ));
    }
    if fields > 1 {
        return Ok(());
    }
    let due = dialect.written;
    for other in DELIMITERS {
        if other != due.as_str() && record.contains(other) {
            let other = other.escape_default();
            let what = format!(
                "fields are separated by '{other}' where {due:?} is due; give the delimiter of a csv or inter file \
                 with --delimiter, or convert the file"
            );
            return Err(Error::line(&input.path, line, what));
        }
    }
    Ok(())
}

/// Finds a named column; the error lists the existing columns.
pub(crate) fn find(
    source: &Path,
    names: &[String],
    name: &str,
    mend: &'static str,
) -> Result<usize> {
    let mut found = None;
    for (i, column) in names.iter().enumerate() {
        if column != name {
            continue;
        }
        if found.replace(i).is_some() {
            let what = format!("two columns are named {name:?}; rename one");
            return Err(Error::line(source, 1, what));
        }
    }
    found.ok_or_else(|| Error::MissingColumn {
        path: source.to_owned(),
        column: name.to_owned(),
        found: names.to_vec(),
        mend,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::options::{Delimiter, Encoding};
    use crate::values::Cell;

    const CELLS: [Cell; 4] = [Cell::Unsigned, Cell::Text, Cell::Integer, Cell::Optional];

    fn layout() -> Layout {
        let wanted = |(field, cell)| Wanted {
            field,
            name: format!("{field}"),
            cell,
        };
        let input = Input {
            path: "f".into(),
            name: "f".into(),
            ..Input::default()
        };
        let dialect = Dialect::new(Delimiter::from(';'), Some(b'"'), Encoding::Utf8);
        Layout {
            input,
            dialect,
            fields: 5,
            wanted: (1..).zip(CELLS).map(wanted).collect(),
        }
    }

    /// Values of all rows as text.
    fn shown(columns: &[Values], text: &str) -> Vec<String> {
        let shown = |values: &Values| match values {
            Values::Unsigned(numbers) => format!("{numbers:?}"),
            Values::Integers(numbers) => format!("{numbers:?}"),
            Values::Texts(spans) => {
                format!("{:?}", spans.iter().map(|s| s.of(text)).collect::<Vec<_>>())
            }
        };
        columns.iter().map(shown).collect()
    }

    proptest! {
        #[test]
        fn plain_text_is_read_as_by_the_strict_reader(
            rows in prop::collection::vec(("[ax é]{0,9}", "0{0,2}[0-9]{1,16}", "[^;\"\r\n\0]{1,12}", "[0-9]{1,18}", "[a^ ]{0,2}"), 1..9),
            last in prop_oneof![Just(""), Just("\n")],
        ) {
            let mut text = String::new();
            for (i, (skipped, unsigned, any, integer, optional)) in rows.iter().enumerate() {
                let end = if i + 1 < rows.len() { "\n" } else { last };
                write!(text, "{skipped};{unsigned};{any};{integer};{optional}{end}").unwrap();
            }
            let layout = layout();
            let columns = csv_fast_path::read(&text, layout.dialect, layout.fields, &layout.wanted).unwrap();
            let (strictly, values) = csv_general::read(&layout, &text, 1).unwrap();
            prop_assert_eq!(shown(&columns, &text), shown(&strictly, &values));
        }
    }
}
