//! Files of item properties: delimited text, Parquet and JSON lines.

use std::borrow::Cow;
use std::path::Path;

use polars::prelude::*;
use polars_parquet::parquet::metadata::SchemaDescriptor;
use polars_parquet::parquet::read::deserialize_metadata;
use prl_dataset::{
    Dataset, ItemMap, PROPERTIES_FILE, PropertiesOrigin, PropertiesToKeep, SourceFile,
};
use prl_items::{BuildReport, ItemTable, RawValue, TableBuilder};

use crate::chunks::{CHUNK, Chunks};
use crate::delimited_reader::{self, Header};
use crate::error::{Error, Place, Result};
use crate::footer;
use crate::frame::elements;
use crate::input::{self, Input};
use crate::item_columns::{ItemRows, id_column, unfit};
use crate::json::Json;
use crate::missing::MissingValues;
use crate::options::{Delimiter, Encoding, ItemsFile, ValueRules};
use crate::parquet::{SLICE, damaged, guarded, read_slice, types_of_arrow, unpack};
use crate::parquet_types::{Meaning, readable};
use crate::records::{Dialect, normalise};
use crate::representation::{represent, values};
use crate::roles::Role;
use crate::table_reader::Value;
use crate::values::{Cell, Wanted};

/// Forms of a file, with the endings of their names.
const FORMS: [(Form, &[&str]); 3] = [
    (Form::Parquet, &["parquet", "pq"]),
    (Form::Lines, &["jsonl", "ndjson", "json"]),
    (Form::Delimited, &["csv", "tsv", "txt"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Delimited,
    Parquet,
    Lines,
}

/// Reads properties of items for the items of a dataset.
pub(crate) fn read(
    file: &ItemsFile,
    catalogue: &ItemMap,
    max_unpacked: u64,
) -> Result<PropertiesToKeep> {
    let (form, inputs) = inputs(&file.path, max_unpacked)?;
    let (mut rows, mut files) = (ItemRows::new()?, Vec::new());
    for input in &inputs {
        let id = file.id.as_deref();
        files.push(match form {
            Form::Delimited => read_delimited(input, id, &mut rows)?,
            Form::Parquet => read_parquet(input, id, &mut rows)?,
            Form::Lines => read_lines(input, id, &mut rows)?,
        });
    }
    let ids = (0..catalogue.len() as u32).filter_map(|index| catalogue.raw(index));
    let built = rows.into_builder().finish(ids);
    let (table, report) = built.map_err(|e| unfit(&file.path, &e))?;
    if report.in_catalogue == 0 {
        return Err(Error::file(
            &file.path,
            "no row is of an item of the log; name the column of the item ids with --items-id",
        ));
    }
    if report.replaced > 0 {
        tracing::warn!(
            "{}: {} rows were replaced by a later row of the same item",
            file.path.display(),
            report.replaced
        );
    }
    kept(&file.path, &table, report, files)
}

/// Properties that the dataset in `dir` has, for the items of another one.
pub(crate) fn of_dataset(dir: &Path, catalogue: &ItemMap) -> Result<Option<PropertiesToKeep>> {
    let data = Dataset::open(dir)?;
    let (Some(bytes), Some(known)) = (data.properties()?, &data.manifest().properties) else {
        return Ok(None);
    };
    let path = dir.join(PROPERTIES_FILE);
    let damaged = |e: &dyn std::fmt::Display| Error::file(&path, e.to_string());
    let table = ItemTable::from_bytes(&bytes).map_err(|e| damaged(&e))?;
    let earlier = data.items();
    let ids = (0..earlier.len() as u32).filter_map(|index| earlier.raw(index));
    let rows = TableBuilder::of_table(&table, ids).map_err(|e| damaged(&e))?;
    let ids = (0..catalogue.len() as u32).filter_map(|index| catalogue.raw(index));
    let (table, mut report) = rows.finish(ids).map_err(|e| damaged(&e))?;
    report.replaced = known.origin.replaced as usize;
    Ok(Some(kept(
        &path,
        &table,
        report,
        known.origin.files.clone(),
    )?))
}

/// The table's file with its description.
fn kept(
    path: &Path,
    table: &ItemTable,
    report: BuildReport,
    files: Vec<SourceFile>,
) -> Result<PropertiesToKeep> {
    let mut columns = Vec::new();
    for column in table.summaries() {
        columns.push((column.name, column.column_type.name().to_owned()));
    }
    let bytes = table.to_bytes();
    Ok(PropertiesToKeep {
        bytes: bytes.map_err(|e| Error::file(path, e.to_string()))?,
        origin: PropertiesOrigin {
            files,
            replaced: report.replaced as u64,
            items: report.in_catalogue as u64,
            others: report.others as u64,
            columns,
        },
    })
}

/// Form and files of a path.
fn inputs(path: &Path, max_unpacked: u64) -> Result<(Form, Vec<Input>)> {
    let mut known = Vec::new();
    for (form, endings) in FORMS {
        known.extend_from_slice(endings);
        if path.is_dir() {
            if let Ok(inputs) = input::files(path, endings, max_unpacked) {
                return Ok((form, inputs));
            }
            continue;
        }
        let inputs = input::files(path, endings, max_unpacked)?;
        let is_of_form = |input: &Input| {
            let name = input.plain_name().to_ascii_lowercase();
            name.rsplit_once('.')
                .is_some_and(|(_, end)| endings.contains(&end))
        };
        if inputs.iter().all(is_of_form) {
            return Ok((form, inputs));
        }
    }
    Err(Error::file(
        path,
        format!(
            "not known as a file of items by the ending of its name; expected .{} (.gz, .zst)",
            known.join(", .")
        ),
    ))
}

fn read_delimited(input: &Input, id: Option<&str>, rows: &mut ItemRows) -> Result<SourceFile> {
    let dialect = Dialect::new(delimiter(input)?, Some(b'"'), Encoding::Utf8);
    let missing = MissingValues::new(&ValueRules::default());
    let path = &input.path;
    // Set before the first batch.
    let columns = std::cell::RefCell::new((0, Vec::new(), Vec::new()));
    let shared = std::cell::RefCell::new(rows);
    let choose = |names: &[String]| {
        let at = id_column(path, names, id)?;
        let (mut wanted, mut numbers) = (Vec::new(), Vec::new());
        for (field, name) in names.iter().enumerate() {
            wanted.push(Wanted {
                field,
                name: name.clone(),
                cell: Cell::Optional,
            });
            if field == at {
                continue;
            }
            let number = shared.borrow_mut().column(path, name)?;
            if numbers.iter().any(|(_, other)| *other == number) {
                let what = format!("column {name:?} is there twice; rename one of them");
                return Err(Error::file(path, what));
            }
            numbers.push((field, number));
        }
        *columns.borrow_mut() = (at, numbers, names.to_vec());
        Ok(wanted)
    };
    let mut row = 0;
    delimited_reader::read(input, dialect, Header::FirstLine, choose, Ok, |batch| {
        let (at, numbers, names) = &*columns.borrow();
        let mut texts = Vec::with_capacity(names.len());
        for field in 0..names.len() {
            texts.push(batch.texts(field)?.collect::<Vec<Option<&str>>>());
        }
        let mut cells = Vec::with_capacity(names.len());
        for local in 0..batch.rows() {
            cells.clear();
            for &(field, number) in numbers {
                if let Some(text) = texts[field][local]
                    && !missing.contains(Value::Text(text))
                {
                    cells.push((number, RawValue::Cell(text)));
                }
            }
            row += 1;
            // The header is the first line; a quoted line break makes the row's line a later one.
            let place = (path.as_path(), Place::Row(row), names[*at].as_str());
            shared.borrow_mut().push(place, texts[*at][local], &cells)?;
        }
        Ok(())
    })
}

/// The delimiter of a file: the likeliest one that its first line has.
fn delimiter(input: &Input) -> Result<Delimiter> {
    const LIKELY: [char; 4] = ['\t', ',', ';', '|'];
    let mut head = Vec::new();
    input.open()?.read_into(&mut head, 1 << 16)?;
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let (mut best, mut most) = (',', 0);
    for delimiter in LIKELY {
        let count = line.iter().filter(|&&byte| byte == delimiter as u8).count();
        if count > most {
            (best, most) = (delimiter, count);
        }
    }
    Ok(Delimiter::from(best))
}

fn read_lines(input: &Input, id: Option<&str>, rows: &mut ItemRows) -> Result<SourceFile> {
    let dialect = Dialect::new(Delimiter::COMMA, None, Encoding::Utf8);
    let mut chunks = Chunks::open(input, None, CHUNK)?;
    let (mut read, mut id_name) = (0, id.map(str::to_owned));
    while let Some(chunk) = chunks.next().transpose()? {
        let first = chunk.line;
        let text = normalise(input, chunk.text, first, dialect)?;
        for (line, text) in (first..).zip(text.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            let object = match serde_json::from_str(text) {
                Ok(Json::Object(object)) => object,
                Ok(other) => {
                    let found = other.shown();
                    let what = format!("{found} where an object is due; write an object a line");
                    return Err(Error::line(&input.path, line, what));
                }
                Err(error) => {
                    let what = format!("not valid JSON ({error}); write an object a line");
                    return Err(Error::line(&input.path, line, what));
                }
            };
            if id_name.is_none() {
                let mut names = Vec::with_capacity(object.len());
                for (name, _) in &object {
                    names.push(name.to_string());
                }
                id_name = Some(names[id_column(&input.path, &names, None)?].clone());
            }
            let id_name = id_name.as_deref().unwrap_or_default();
            add_object(input, (line, id_name), &object, rows)?;
            read += 1;
        }
    }
    if read == 0 {
        return Err(Error::file(&input.path, "the file holds no item"));
    }
    Ok(chunks.finish(read))
}

/// Adds the row of an object.
fn add_object(
    input: &Input,
    (line, id_name): (u64, &str),
    object: &[(Cow<'_, str>, Json<'_>)],
    rows: &mut ItemRows,
) -> Result<()> {
    let fault = |name: &str, found: String, expected: &str| Error::Cell {
        path: input.path.clone(),
        place: Place::Line(line),
        column: name.to_owned(),
        found,
        expected: expected.to_owned(),
    };
    let (mut id, mut lists) = (None, Vec::new());
    for (name, value) in object {
        if name == id_name {
            id = scalar(value);
        } else if let Json::List(list) = value {
            let mut texts = Vec::with_capacity(list.len());
            for element in list {
                match scalar(element) {
                    Some(text) => texts.push(text),
                    None => {
                        let expected = "a list of texts, numbers or truth values";
                        return Err(fault(
                            name,
                            format!("a list with {}", element.shown()),
                            expected,
                        ));
                    }
                }
            }
            lists.push(texts);
        }
    }
    let mut borrowed: Vec<Vec<&str>> = Vec::with_capacity(lists.len());
    for list in &lists {
        borrowed.push(list.iter().map(AsRef::as_ref).collect());
    }
    let (mut values, mut next) = (Vec::with_capacity(object.len()), borrowed.iter());
    for (name, value) in object {
        if name == id_name {
            continue;
        }
        let value = match value {
            Json::Null => RawValue::None,
            Json::Bool(value) => RawValue::Bool(*value),
            Json::Whole(number) => RawValue::Number(*number as f64),
            Json::Large(number) => RawValue::Number(*number as f64),
            Json::Real(number) => RawValue::Number(*number),
            Json::Text(text) => RawValue::Text(text),
            Json::List(_) => RawValue::List(next.next().map_or(&[], Vec::as_slice)),
            Json::Object(_) => {
                let expected =
                    "a value or a list of values; write inner fields as fields of their own";
                return Err(fault(name, value.shown(), expected));
            }
        };
        let column = rows.column(&input.path, name)?;
        if values.iter().any(|(other, _)| *other == column) {
            return Err(fault(name, "the field twice".into(), "it once"));
        }
        values.push((column, value));
    }
    rows.push(
        (&input.path, Place::Line(line), id_name),
        id.as_deref(),
        &values,
    )
}

/// A value that is neither list nor object as text.
fn scalar<'a>(json: &'a Json<'a>) -> Option<Cow<'a, str>> {
    match json {
        Json::Text(text) => Some(Cow::Borrowed(text)),
        Json::Whole(_) | Json::Large(_) | Json::Real(_) | Json::Bool(_) => {
            Some(Cow::Owned(json.shown()))
        }
        Json::Null | Json::List(_) | Json::Object(_) => None,
    }
}

fn read_parquet(input: &Input, id: Option<&str>, rows: &mut ItemRows) -> Result<SourceFile> {
    let (mut file, mut described) = unpack(input)?;
    let mut footer = |columns: &[&str]| {
        let read = footer::read(&mut file, columns).map_err(Error::io(&input.path))?;
        match read {
            Ok(Some(footer)) => Ok(footer),
            Ok(None) => Err(damaged(input, "its footer cannot be found")),
            Err(what) => Err(damaged(input, &what)),
        }
    };
    let mut names = footer(&[])?.names;
    let id_at = id_column(&input.path, &names, id)?;
    let id_name = names[id_at].clone();
    // Columns of types that are not read are left out, until all are of types that are.
    let (metadata, meanings) = loop {
        let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        let footer = footer(&wanted)?;
        let mut special = footer.unknown;
        special.extend(types_of_arrow(footer.arrow));
        let mut left_out = Vec::new();
        for (name, of_type) in special {
            left_out.push((name, of_type.to_owned()));
        }
        let reduced = footer.reduced;
        let mut metadata = guarded(input, || Ok(deserialize_metadata(reduced.into())?))?;
        let (mut fields, mut meanings) = (Vec::new(), Vec::new());
        for field in metadata.schema().fields() {
            match readable(field) {
                Ok((field, meaning)) => {
                    meanings.push((field.name().to_owned(), meaning));
                    fields.push(field);
                }
                Err(of_type) => left_out.push((field.name().to_owned(), of_type)),
            }
        }
        left_out.retain(|(name, _)| names.contains(name));
        if left_out.is_empty() {
            let name = metadata.schema().name().into();
            metadata.schema_descr = SchemaDescriptor::new(name, fields);
            break (metadata, meanings);
        }
        for (name, of_type) in left_out {
            if name == id_name {
                let why = format!("column {name:?} is of type {of_type}; expected item ids");
                return Err(Error::file(&input.path, why));
            }
            let path = input.path.display();
            tracing::warn!("{path}: column {name:?} of type {of_type} is left out");
            names.retain(|other| *other != name);
        }
    };
    let (height, metadata) = (metadata.num_rows, std::sync::Arc::new(metadata));
    for start in (0..height).step_by(SLICE) {
        let slice = guarded(input, || read_slice(&file, &metadata, start))?;
        add_frame(input, (&slice, start), (&id_name, &meanings), rows)?;
    }
    if height == 0 {
        return Err(Error::file(&input.path, "the file holds no row"));
    }
    described.rows = height as u64;
    Ok(described)
}

/// A column of a frame in a few representations.
enum FrameColumn {
    Values(Column),
    Bools(Column),
    /// Lengths of the lists, and their elements.
    Lists(Vec<usize>, Column),
}

/// Adds the rows of a frame, of which `start` precede.
fn add_frame(
    input: &Input,
    (frame, start): (&DataFrame, usize),
    (id_name, meanings): (&str, &[(String, Meaning)]),
    rows: &mut ItemRows,
) -> Result<()> {
    let path = &input.path;
    let (mut ids, mut columns) = (None, Vec::new());
    for (name, meaning) in meanings {
        let column = frame.column(name)?;
        let read = |column: &Column| match represent(path, Role::Item, column, *meaning)? {
            Ok(column) => Ok(column),
            Err(unfit) => Err(Error::Cell {
                path: path.clone(),
                place: Place::Row((start + unfit.at + 1) as u64),
                column: name.clone(),
                found: unfit.found,
                expected: unfit.expected.into(),
            }),
        };
        if name == id_name {
            ids = Some(read(column)?);
            continue;
        }
        let made = match (column.dtype(), column.list()) {
            (_, Ok(lists)) => {
                let (lengths, elements) = elements(lists)?;
                FrameColumn::Lists(lengths, read(&elements)?)
            }
            (DataType::Boolean, _) => FrameColumn::Bools(column.clone()),
            (DataType::Date | DataType::Datetime(..), _) => {
                // Dates are texts in the form of ISO 8601.
                FrameColumn::Values(column.cast(&DataType::String)?)
            }
            _ => FrameColumn::Values(read(column)?),
        };
        columns.push((rows.column(path, name)?, made));
    }
    let Some(ids) = ids else {
        return Err(damaged(input, "its footer contradicts itself"));
    };
    let ids = texts(&values(&ids)?);
    let mut all: Vec<(usize, Vec<RawValue<'_>>)> = Vec::new();
    let (mut elements, mut lists) = (Vec::new(), Vec::new());
    for (_, column) in &columns {
        if let FrameColumn::Lists(_, values_of) = column {
            elements.push(texts(&values(values_of)?));
        }
    }
    for of_column in &elements {
        let mut borrowed: Vec<&str> = Vec::with_capacity(of_column.len());
        for text in of_column {
            borrowed.push(text.as_deref().unwrap_or_default());
        }
        lists.push(borrowed);
    }
    let mut next_lists = lists.iter();
    for (number, column) in &columns {
        all.push((
            *number,
            match column {
                FrameColumn::Values(column) => raw_values(&values(column)?),
                FrameColumn::Bools(column) => {
                    let mut bools = Vec::with_capacity(column.len());
                    for value in column.bool()?.iter() {
                        bools.push(value.map_or(RawValue::None, RawValue::Bool));
                    }
                    bools
                }
                FrameColumn::Lists(lengths, _) => {
                    let texts = next_lists.next().map_or(&[][..], Vec::as_slice);
                    let (mut cells, mut at) = (Vec::with_capacity(lengths.len()), 0);
                    for length in lengths {
                        cells.push(RawValue::List(&texts[at..at + length]));
                        at += length;
                    }
                    cells
                }
            },
        ));
    }
    let mut cells = Vec::with_capacity(all.len());
    for (row, id) in ids.iter().enumerate() {
        cells.clear();
        for (number, values) in &all {
            cells.push((*number, values[row]));
        }
        let place = (
            path.as_path(),
            Place::Row((start + row + 1) as u64),
            id_name,
        );
        rows.push(place, id.as_deref(), &cells)?;
    }
    Ok(())
}

/// Values of a column as texts; whole numbers in decimal digits.
fn texts<'a>(values: &[Value<'a>]) -> Vec<Option<Cow<'a, str>>> {
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        texts.push(match value {
            Value::Missing => None,
            Value::Real(number) if number.is_nan() => None,
            value => Some(value.text()),
        });
    }
    texts
}

fn raw_values<'a>(values: &[Value<'a>]) -> Vec<RawValue<'a>> {
    let mut raw = Vec::with_capacity(values.len());
    for value in values {
        raw.push(match *value {
            Value::Text(text) => RawValue::Text(text),
            Value::Whole(number) => RawValue::Number(number as f64),
            Value::Large(number) => RawValue::Number(number as f64),
            Value::Real(number) => RawValue::Number(number),
            Value::Missing | Value::Nanos(_) => RawValue::None,
        });
    }
    raw
}
