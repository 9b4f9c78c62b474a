//! Tables in delimited text: CSV by column mapping, and RecBole's `.inter`.

use std::cell::OnceCell;
use std::path::Path;

use prl_dataset::SourceFile;

use crate::columns::{Columns, time_is_missing};
use crate::delimited_reader::{self, Batch, Header, find};
use crate::error::{Error, Place, Result};
use crate::findings::FindingReason;
use crate::header::{self, FileColumns, FirstLine};
use crate::histories::Histories;
use crate::input::Input;
use crate::log::Log;
use crate::options::{Delimiter, Table};
use crate::records::Dialect;
use crate::roles::{Role, Roles};
use crate::sequences::Sequences;
use crate::table_reader::{Events, Value, time_parser};
use crate::values::{Cell, Wanted};

/// Ending of the name of RecBole's column of the items before the target.
const HISTORY: &str = "_list";

/// Reads CSV. Options without a column mapping are rejected earlier.
pub(crate) fn read_csv(
    inputs: &[Input],
    delimiter: Delimiter,
    table: &Table,
) -> Result<(Log, Vec<SourceFile>)> {
    let dialect = Dialect::new(delimiter, Some(b'"'), table.format.encoding);
    read(inputs, dialect, table, |_, names| {
        Ok(FileColumns::plain(names))
    })
}

/// Reads RecBole's `.inter`: no quotes, `name:type` headers.
pub(crate) fn read_inter(
    inputs: &[Input],
    delimiter: Delimiter,
    table: &Table,
) -> Result<(Log, Vec<SourceFile>)> {
    let dialect = Dialect::new(delimiter, None, table.format.encoding);
    let is_mapped = table.columns.is_some();
    if inputs.len() > 1 && inputs.iter().any(is_unnamed_part) {
        tracing::warn!(
            "the files are named as parts of a split, which is not kept; give it with --train, --valid and --test"
        );
    }
    read(inputs, dialect, table, |input, names| {
        FileColumns::typed(input, names, is_mapped)
    })
}

/// True for a file that is the training part by its name only.
fn is_unnamed_part(input: &Input) -> bool {
    input.name.contains(".train.") && input.shared.split.is_none()
}

fn read(
    inputs: &[Input],
    dialect: Dialect,
    table: &Table,
    columns_of: impl Fn(&Input, &[String]) -> Result<FileColumns>,
) -> Result<(Log, Vec<SourceFile>)> {
    let mut log = PartialLog {
        table,
        events: Events::new(table)?,
        histories: None,
    };
    let mut mapping = table.columns.clone();
    let mut files = Vec::with_capacity(inputs.len());
    for input in inputs {
        let form = OnceCell::new();
        let choose = |header: &[String]| {
            let columns = match table.format.no_header {
                true => FileColumns::plain(header),
                false => columns_of(input, header)?,
            };
            let mapping = mapping.get_or_insert_with(|| recbole(&columns));
            let found = FileForm::new(input, columns, mapping, table)?;
            Ok(form.get_or_init(|| found).wanted.clone())
        };
        let take = |batch: Batch| {
            // `choose` is called before the first batch.
            let Some(form) = form.get() else {
                return Ok(());
            };
            log.append(input, form, &batch)
        };
        let header = match table.format.no_header {
            true => Header::Numbers,
            false => Header::FirstLine,
        };
        files.push(delimited_reader::read(
            input, dialect, header, choose, Ok, take,
        )?);
    }
    let columns = mapping.unwrap_or_else(|| recbole(&FileColumns::default()));
    let source = match inputs.first() {
        Some(input) => &input.path,
        None => Path::new(""),
    };
    let log = match log.histories {
        Some(histories) => histories.finish(source, table, &columns)?,
        None => log.events.finish(source, table, &columns)?,
    };
    Ok((log, files))
}

/// Default mapping for RecBole's names: the session column if it exists, else the user column.
fn recbole(columns: &FileColumns) -> Columns {
    let session = match columns.find("session_id") {
        Some(_) => "session_id",
        None => "user_id",
    };
    let mut mapping = Columns {
        session: session.into(),
        time: Some("timestamp".into()),
        item: "item_id".into(),
        event: None,
        split: None,
        value: None,
    };
    if columns.has_lists() && columns.find("timestamp").is_none() {
        mapping.time = None;
    }
    mapping
}

/// Meaning of the rows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Events.
    Events,
    /// Sessions, with lists of items.
    Sessions,
    /// Events, each with the list of its session's earlier items at this position of the columns.
    Histories(usize),
}

/// Columns of a file, and what its rows are.
struct FileForm {
    roles: Roles,
    shape: Shape,
    /// Columns to read: those of the roles, then those that only a form needs.
    wanted: Vec<Wanted>,
    /// True for columns of lists, by position.
    are_lists: Vec<bool>,
    /// Position of the column that is added to the time.
    added_time: Option<usize>,
    /// The header, if it is of numbers, as a row of data could be.
    numbers: Option<String>,
}

impl FileForm {
    fn new(input: &Input, columns: FileColumns, mapping: &Columns, table: &Table) -> Result<Self> {
        let mut names = columns.names.clone();
        let sum = time_sum(&columns, mapping);
        if sum.is_some() {
            names.extend(mapping.time.clone());
        }
        let roles = match Roles::new(&input.path, &input.shared, &names, mapping) {
            Ok(roles) => roles,
            Err(Error::MissingColumn { column, .. }) if table.format.no_header => {
                let most = columns.names.len();
                let what = format!(
                    "no column {column:?}; without a header columns are mapped by number, 1 to {most}"
                );
                return Err(Error::line(&input.path, 1, what));
            }
            Err(error) => return Err(header::explain_missing(error, input, &columns, mapping)),
        };
        let mut form = Self {
            wanted: Vec::new(),
            are_lists: Vec::new(),
            added_time: None,
            numbers: None,
            shape: Shape::Events,
            roles,
        };
        if !table.format.no_header
            && header::check_first_line(input, &columns, mapping)? == FirstLine::Numbers
        {
            form.numbers = Some(columns.names.join(", "));
        }
        for (name, field) in form.roles.columns() {
            let mut field = *field;
            if let Some((date, _)) = sum
                && field == columns.names.len()
            {
                field = find(&input.path, &columns.names, date, "")?;
            }
            form.wanted.push(wanted(name, field));
            form.are_lists.push(columns.is_list(field));
        }
        if let Some((_, added)) = sum {
            let field = find(&input.path, &columns.names, added, "")?;
            form.added_time = Some(form.wanted.len());
            form.wanted.push(wanted(added, field));
        }
        form.shape = form.find_shape(input, &columns, mapping)?;
        Ok(form)
    }

    fn find_shape(
        &mut self,
        input: &Input,
        columns: &FileColumns,
        mapping: &Columns,
    ) -> Result<Shape> {
        let has_lists = |role| self.roles.column(role).is_some_and(|at| self.are_lists[at]);
        if has_lists(Role::Item) {
            let target = mapping.item.strip_suffix(HISTORY);
            if let Some(target) = target.filter(|target| columns.find(target).is_some()) {
                let what = format!(
                    "column {:?} holds the items before {target:?}, which is left out; map item={target}, which takes \
                     both",
                    mapping.item
                );
                return Err(Error::line(&input.path, 1, what));
            }
            return Ok(Shape::Sessions);
        }
        let others = [Role::Session, Role::Time, Role::Event, Role::Split];
        if others.into_iter().any(has_lists) {
            let what = format!(
                "column {:?} holds one item a row, another mapped column holds lists; map columns of lists alike",
                mapping.item
            );
            return Err(Error::line(&input.path, 1, what));
        }
        let name = format!("{}{HISTORY}", mapping.item);
        if let Some(field) = columns.find(&name)
            && columns.is_list(field)
        {
            let position = self.wanted.len();
            self.wanted.push(wanted(&name, field));
            return Ok(Shape::Histories(position));
        }
        match self.roles.has(Role::Time) {
            true => Ok(Shape::Events),
            false => Err(time_is_missing()),
        }
    }
}

/// Names of the columns of a time that is the sum of two, `date+clock`.
fn time_sum<'a>(columns: &FileColumns, mapping: &'a Columns) -> Option<(&'a str, &'a str)> {
    let time = mapping.time.as_deref()?;
    if columns.find(time).is_some() {
        return None;
    }
    let (date, added) = time.split_once('+')?;
    let is_found = columns.find(date).is_some() && columns.find(added).is_some();
    is_found.then_some((date, added))
}

/// Column to read. Values may be missing, since rows of unnamed event kinds often lack an item.
fn wanted(name: &str, field: usize) -> Wanted {
    Wanted {
        field,
        name: name.to_owned(),
        cell: Cell::Optional,
    }
}

/// Log during reading.
struct PartialLog<'a> {
    table: &'a Table,
    events: Events,
    /// Sessions of files whose rows hold their histories.
    histories: Option<Histories>,
}

impl PartialLog<'_> {
    fn append(&mut self, input: &Input, form: &FileForm, batch: &Batch) -> Result<()> {
        if batch.is_first() {
            self.check_first_row(input, form, batch)?;
        }
        if let Shape::Histories(history) = form.shape {
            let histories = match &mut self.histories {
                Some(histories) => histories,
                None => self.histories.insert(Histories::new(self.table)?),
            };
            return histories.append(&form.roles, history, batch);
        }
        let roles = &form.roles;
        let error = |(row, role, expected): (usize, Role, &'static str)| {
            batch.fault(row, roles.column(role).unwrap_or(0), expected)
        };
        if form.shape == Shape::Sessions {
            let sequences = Sequences::new(batch, roles, &form.are_lists)?;
            let column = |position| Ok(sequences.values(position));
            let rows = sequences.rows();
            return self.events.take(self.table, roles, rows, column, |fault| {
                error((sequences.row(fault.0), fault.1, fault.2))
            });
        }
        if let (Some(time), Some(added)) = (roles.column(Role::Time), form.added_time) {
            let sums = sums(batch, time, added)?;
            let column = |position| values_or_sums(batch, position, time, &sums);
            return self
                .events
                .take(self.table, roles, batch.rows(), column, error);
        }
        let column = |position| Ok(batch.texts(position)?.map(value));
        self.events
            .take(self.table, roles, batch.rows(), column, error)
    }

    /// Rejects a header where there should be none, and notes one that may be data.
    fn check_first_row(&mut self, input: &Input, form: &FileForm, batch: &Batch) -> Result<()> {
        if let Some(numbers) = &form.numbers {
            let example = || Error::Cell {
                path: input.path.clone(),
                place: Place::Line(1),
                column: "header".into(),
                found: numbers.clone(),
                expected: String::new(),
            };
            self.events
                .findings
                .add(FindingReason::NumberedHeader, 1, example);
        }
        let Some(time) = form.roles.column(Role::Time) else {
            return Ok(());
        };
        let Some(Some(text)) = batch.texts(time)?.next() else {
            return Ok(());
        };
        let is_name = text.contains(char::is_alphabetic) && text.parse::<f64>().is_err();
        let parser = time_parser(self.table)?;
        if self.table.format.no_header && is_name && !parser.may_be_time(text) {
            return Err(header::unexpected_header(input, text));
        }
        Ok(())
    }
}

fn value(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Missing, Value::Text)
}

/// Times of a batch that are sums of two columns, as text with a blank between.
fn sums(batch: &Batch, time: usize, added: usize) -> Result<Vec<Option<String>>> {
    let mut sums = Vec::with_capacity(batch.rows());
    for (date, added) in batch.texts(time)?.zip(batch.texts(added)?) {
        sums.push(match (date, added) {
            (Some(date), Some(added)) => Some(format!("{} {}", date.trim(), added.trim())),
            _ => None,
        });
    }
    Ok(sums)
}

fn values_or_sums<'a>(
    batch: &'a Batch,
    position: usize,
    time: usize,
    sums: &'a [Option<String>],
) -> Result<std::vec::IntoIter<Value<'a>>> {
    let mut values = Vec::with_capacity(batch.rows());
    if position == time {
        for sum in sums {
            values.push(value(sum.as_deref()));
        }
    } else {
        values.extend(batch.texts(position)?.map(value));
    }
    Ok(values.into_iter())
}
