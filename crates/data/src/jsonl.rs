//! Logs in JSON lines: an object a line, which is an event or a session.

use std::borrow::Cow;
use std::path::Path;

use prl_dataset::SourceFile;

use crate::chunks::{CHUNK, Chunk, Chunks};
use crate::columns::{Columns, time_is_missing};
use crate::error::{Error, Place, Result};
use crate::input::Input;
use crate::json::Json;
use crate::json_events::{self, FieldFault};
use crate::log::Log;
use crate::options::{Delimiter, Table};
use crate::ordered_parallel::ordered_parallel;
use crate::partitions::Partition;
use crate::records::{Dialect, normalise};
use crate::roles::Roles;
use crate::table_reader::{Events, Value};
use crate::values::Span;

/// Maximum length of a line in bytes: its values take many times as much memory.
const MAX_LINE: usize = 16 << 20;
/// Hint for a mapping that names a field that no object has.
const HINT: &str = "name the right ones: session=..,time=..,item=..[,event=..]; a field inside another is \
                    OUTER.INNER";

/// Field of an experiment's log that tells its lines apart.
const KIND: &str = "kind";

/// Lines that hold events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// All.
    All,
    /// Those of an experiment's log whose `kind` is `event`. A last line without its line break is
    /// what a killed server had not finished, and no event.
    Events,
}

/// Reads the log of files of JSON lines with one mapping.
pub(crate) fn read(
    inputs: &[Input],
    table: &Table,
    lines: Lines,
) -> Result<(Log, Vec<SourceFile>)> {
    let columns = table.mapping()?;
    let mut events = Events::new(table)?;
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        files.push(read_file(input, (table, columns, lines), &mut events)?);
    }
    let source = match inputs.first() {
        Some(input) => &input.path,
        None => Path::new(""),
    };
    let log = events.finish(source, table, columns)?;
    Ok((log, files))
}

fn read_file(
    input: &Input,
    (table, columns, lines): (&Table, &Columns, Lines),
    events: &mut Events,
) -> Result<SourceFile> {
    // Folder names give the columns that they name; objects give all others.
    let mut in_objects = Vec::new();
    for name in columns.names() {
        let is_folder = |partition: &Partition| partition.name == name;
        if !input.shared.partitions.iter().any(is_folder) {
            in_objects.push(name.to_owned());
        }
    }
    let roles = Roles::new(&input.path, &input.shared, &in_objects, columns)?;
    let file = JsonFile {
        input,
        dialect: Dialect::new(Delimiter::COMMA, None, table.format.encoding),
        names: roles
            .columns()
            .iter()
            .map(|(name, _)| name.clone())
            .collect(),
        has_time: columns.time.is_some(),
        lines,
    };
    let mut chunks = Chunks::open(input, None, CHUNK)?;
    let mut rows = 0;
    let mut has_field = vec![false; file.names.len()];
    let mut fields = Vec::new();
    ordered_parallel(
        &mut chunks,
        |chunk| file.batch(chunk),
        |batch| {
            rows += batch.lines.len() as u64;
            if fields.is_empty() {
                fields.clone_from(&batch.fields);
            }
            for (has_field, column) in has_field.iter_mut().zip(&batch.columns) {
                *has_field |= column.iter().any(|value| *value != Stored::Missing);
            }
            batch.append(table, &roles, &file, events)
        },
    )?;
    // A server may have answered only, and not every event has a value.
    if lines == Lines::Events {
        return Ok(chunks.finish(rows));
    }
    if rows == 0 {
        return Err(Error::file(&input.path, "the file holds no event"));
    }
    for (name, has_field) in file.names.iter().zip(has_field) {
        if !has_field {
            return Err(Error::MissingColumn {
                path: input.path.clone(),
                column: name.clone(),
                found: fields,
                mend: HINT,
            });
        }
    }
    Ok(chunks.finish(rows))
}

/// Properties that all lines of a file share.
struct JsonFile<'a> {
    input: &'a Input,
    dialect: Dialect,
    /// Names of the fields to read.
    names: Vec<String>,
    /// True if a field is the time; lists have an order without it.
    has_time: bool,
    lines: Lines,
}

/// Events of some lines.
#[derive(Default)]
struct JsonBatch {
    /// Values of each field, one per event.
    columns: Vec<Vec<Stored>>,
    /// Text that the values refer to.
    text: String,
    /// Line of each event.
    lines: Vec<u64>,
    /// Fields of the first object.
    fields: Vec<String>,
}

/// Value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Missing,
    Text(Span),
    Whole(i64),
    Large(u64),
    Real(f64),
}

impl JsonFile<'_> {
    fn batch(&self, chunk: Chunk) -> Result<JsonBatch> {
        let text = normalise(self.input, chunk.text, chunk.line, self.dialect)?;
        let mut batch = JsonBatch {
            columns: vec![Vec::new(); self.names.len()],
            ..JsonBatch::default()
        };
        let mut text = text.as_str();
        if self.lines == Lines::Events && !text.ends_with('\n') {
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            let torn = text.len() - whole;
            let file = self.input.path.display();
            tracing::warn!("{file}: the last {torn} bytes are a line that was not finished");
            text = &text[..whole];
        }
        for (number, line) in (chunk.line..).zip(text.lines()) {
            if !line.trim().is_empty() {
                self.read_line(line, number, &mut batch)?;
            }
        }
        Ok(batch)
    }

    fn read_line(&self, text: &str, line: u64, batch: &mut JsonBatch) -> Result<()> {
        if text.len() > MAX_LINE {
            let what = format!("a line of more than {MAX_LINE} bytes; write an object a line");
            return Err(Error::line(&self.input.path, line, what));
        }
        let object = match serde_json::from_str(text) {
            Ok(Json::Object(object)) => object,
            Ok(other) => {
                let found = other.shown();
                let what = format!("{found} where an object is due; write an object a line");
                return Err(Error::line(&self.input.path, line, what));
            }
            Err(error) => return Err(self.syntax_error(&error, text, line)),
        };
        if self.lines == Lines::Events && !self.is_event(&object, line)? {
            return Ok(());
        }
        if batch.fields.is_empty() {
            for (key, _) in &object {
                batch.fields.push(key.to_string());
            }
        }
        let rows = match json_events::rows(&object, &self.names) {
            Ok(rows) => rows,
            Err(fault) => return Err(self.fault(line, fault)),
        };
        if !rows.is_session && !self.has_time {
            return Err(time_is_missing());
        }
        for row in rows.rows {
            batch.lines.push(line);
            for (i, value) in row.into_iter().enumerate() {
                let Some(stored) = store(value, &mut batch.text) else {
                    let fault = FieldFault {
                        field: self.names[i].clone(),
                        found: value.map(Json::shown).unwrap_or_default(),
                        expected: "one value".into(),
                    };
                    return Err(self.fault(line, fault));
                };
                batch.columns[i].push(stored);
            }
        }
        Ok(())
    }

    /// Whether a line of an experiment's log is an event.
    fn is_event(&self, object: &[(Cow<'_, str>, Json<'_>)], line: u64) -> Result<bool> {
        let kind = object.iter().find(|(key, _)| key == KIND);
        match kind {
            Some((_, Json::Text(kind))) if kind == "event" => Ok(true),
            Some((_, Json::Text(kind))) if kind == "answer" => Ok(false),
            other => Err(self.fault(
                line,
                FieldFault {
                    field: KIND.into(),
                    found: other.map_or("nothing".into(), |(_, kind)| kind.shown()),
                    expected: "\"event\" or \"answer\"; for another log use --source jsonl".into(),
                },
            )),
        }
    }

    fn fault(&self, line: u64, fault: FieldFault) -> Error {
        Error::Cell {
            path: self.input.path.clone(),
            place: Place::Line(line),
            column: fault.field,
            found: fault.found,
            expected: fault.expected,
        }
    }

    fn syntax_error(&self, error: &serde_json::Error, text: &str, line: u64) -> Error {
        let message = error.to_string();
        // The parser counts lines in its own text, which is one line.
        let what = message.split(" at line ").next().unwrap_or_default();
        let hint = if text.trim_start().starts_with('[') {
            "; in place of one list write an object a line"
        } else if error.is_eof() {
            "; write an object on one line"
        } else {
            ""
        };
        let what = format!("not valid JSON ({what} at column {}){hint}", error.column());
        Error::line(&self.input.path, line, what)
    }
}

/// Stores a value that is no list or object, and its text in `texts`.
fn store(value: Option<&Json<'_>>, texts: &mut String) -> Option<Stored> {
    let text = match value {
        None | Some(Json::Null) => return Some(Stored::Missing),
        Some(Json::Whole(number)) => return Some(Stored::Whole(*number)),
        Some(Json::Large(number)) => return Some(Stored::Large(*number)),
        Some(Json::Real(number)) => return Some(Stored::Real(*number)),
        Some(Json::Bool(true)) => "true",
        Some(Json::Bool(false)) => "false",
        Some(Json::Text(text)) => text,
        Some(Json::List(_) | Json::Object(_)) => return None,
    };
    let start = texts.len();
    texts.push_str(text);
    Span::new(start, texts.len()).map(Stored::Text)
}

impl JsonBatch {
    fn value(&self, stored: &Stored) -> Value<'_> {
        match *stored {
            Stored::Missing => Value::Missing,
            Stored::Text(span) => span.of(&self.text).map_or(Value::Missing, Value::Text),
            Stored::Whole(number) => Value::Whole(number),
            Stored::Large(number) => Value::Large(number),
            Stored::Real(number) => Value::Real(number),
        }
    }

    fn append(
        &self,
        table: &Table,
        roles: &Roles,
        file: &JsonFile<'_>,
        events: &mut Events,
    ) -> Result<()> {
        let column = |i: usize| Ok(self.columns[i].iter().map(|stored| self.value(stored)));
        events.take(
            table,
            roles,
            self.lines.len(),
            column,
            |(row, role, expected)| {
                let i = roles.column(role).unwrap_or(0);
                let fault = FieldFault {
                    field: file.names[i].clone(),
                    found: self.value(&self.columns[i][row]).text().into_owned(),
                    expected: expected.into(),
                };
                file.fault(self.lines[row], fault)
            },
        )
    }
}
