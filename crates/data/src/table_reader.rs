//! Events of any table: ids of any type, times of any form, several event kinds. Common to text,
//! Parquet and frames.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use polars::prelude::Column;
use prl_dataset::Split;

use crate::columns::Columns;
use crate::dropped::Reason;
use crate::error::{Error, Result};
use crate::findings::{FindingReason, Findings};
use crate::ids::{IdColumn, is_list_like};
use crate::log::{CLICK, EventColumns, LABEL, Log, SPLIT, VALUE};
use crate::missing::MissingValues;
use crate::options::{Table, TimeUnit};
use crate::roles::{Role, Roles};
use crate::time_column::{Mark, SCALES, TimeColumn};
use crate::time_parser::TimeParser;

/// Invalid value: row in the batch, column, and the expected value.
pub(crate) type Fault = (usize, Role, &'static str);

/// Value of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Missing,
    Text(&'a str),
    Whole(i64),
    /// Number above the range of [`Value::Whole`].
    Large(u64),
    Real(f64),
    /// Time in nanoseconds.
    Nanos(i64),
}

impl<'a> Value<'a> {
    /// The value as text; a missing one is empty.
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Value::Text(text) => text.into(),
            Value::Missing => "".into(),
            Value::Whole(n) | Value::Nanos(n) => n.to_string().into(),
            Value::Large(n) => n.to_string().into(),
            Value::Real(x) => x.to_string().into(),
        }
    }
}

/// Values of a column of splits.
const SPLITS: &str = "train, val (valid, validation) or test, or 0, 1 or 2";

/// Events of a table during reading.
pub(crate) struct Events {
    sessions: IdColumn,
    items: IdColumn,
    times: TimeColumn,
    kinds: Vec<u8>,
    /// Position of each event's kind among the named ones, if the kinds are kept.
    labels: Vec<u8>,
    /// Number of rows so far, events or not.
    rows: usize,
    /// Splits that the log gives, if it does.
    splits: Vec<u8>,
    /// Rewards that the log gives, if it does.
    rewards: Vec<f32>,
    /// Number of rows of each unnamed event kind.
    others: BTreeMap<String, u64>,
    missing_values: MissingValues,
    /// Number of rows without a session, a time or an item.
    missing: u64,
    /// Error of the first such row.
    first_missing: Option<Error>,
    /// First number that is a time of our age in each of the scales of the times.
    examples: [Option<Error>; SCALES.len()],
    first_ambiguous: Option<Error>,
    pub(crate) findings: Findings,
}

impl Events {
    /// Creates an empty log of a table.
    pub(crate) fn new(table: &Table) -> Result<Self> {
        Ok(Self {
            sessions: IdColumn::default(),
            items: IdColumn::default(),
            times: TimeColumn::new(time_parser(table)?),
            kinds: Vec::new(),
            labels: Vec::new(),
            rows: 0,
            splits: Vec::new(),
            rewards: Vec::new(),
            others: BTreeMap::new(),
            missing_values: MissingValues::new(&table.rules),
            missing: 0,
            first_missing: None,
            examples: [const { None }; SCALES.len()],
            first_ambiguous: None,
            findings: Findings::default(),
        })
    }

    /// Appends a batch of rows; `column` gives the values of the column at a position of `roles`.
    /// Without event kinds every event is a click. Of several faults the first row's is returned,
    /// converted by `error` unless all rows share the value.
    pub(crate) fn take<'a, I: Iterator<Item = Value<'a>>>(
        &mut self,
        table: &Table,
        roles: &'a Roles,
        rows: usize,
        column: impl Fn(usize) -> Result<I>,
        error: impl Fn(Fault) -> Error,
    ) -> Result<()> {
        let order = self.rows;
        self.rows += rows;
        let values = |role| roles.values(role, rows, order, &column);
        let error = |fault: Fault| {
            let shared = roles.constant_fault(fault.1, fault.2);
            shared.unwrap_or_else(|| error(fault))
        };
        let kinds = match roles.has(Role::Event) {
            true => self.kinds_of(table, values(Role::Event)?),
            false => vec![Some((CLICK, 0)); rows],
        };
        let sessions: Vec<Value<'_>> = values(Role::Session)?.collect();
        let times: Vec<Value<'_>> = values(Role::Time)?.collect();
        let items: Vec<Value<'_>> = values(Role::Item)?.collect();
        let keeps_labels = table.kinds.are_kept() && roles.has(Role::Event);
        let mut kept = Vec::with_capacity(rows);
        for (row, kind) in kinds.into_iter().enumerate() {
            let Some(kind) = kind else {
                continue;
            };
            let missing = self.missing_role(sessions[row], times[row], items[row]);
            if let Some((role, expected)) = missing {
                self.missing += 1;
                self.first_missing
                    .get_or_insert_with(|| error((row, role, expected)));
                continue;
            }
            let (kind, label) = kind;
            self.kinds.push(kind);
            if keeps_labels {
                self.labels.push(label);
            }
            kept.push(row);
        }
        let before = self.times.len();
        let mut faults = Vec::new();
        faults.extend(take_ids(
            &mut self.sessions,
            Role::Session,
            &sessions,
            &kept,
        ));
        faults.extend(take_ids(&mut self.items, Role::Item, &items, &kept));
        faults.extend(take_times(&mut self.times, &times, &kept));
        if roles.has(Role::Split) {
            let splits: Vec<Value<'_>> = values(Role::Split)?.collect();
            faults.extend(take_splits(&mut self.splits, &splits, &kept));
        }
        if roles.has(Role::Value) {
            let rewards: Vec<Value<'_>> = values(Role::Value)?.collect();
            faults.extend(self.take_rewards(&rewards, &kept));
        }
        if let Some(fault) = faults.into_iter().min() {
            return Err(error(fault));
        }
        self.find_lists(&items, &kept, error);
        self.note_times(&kept, before, error);
        Ok(())
    }

    /// The first role without a value, and the expected one.
    fn missing_role(
        &self,
        session: Value<'_>,
        time: Value<'_>,
        item: Value<'_>,
    ) -> Option<(Role, &'static str)> {
        let missing = &self.missing_values;
        if missing.contains(session) {
            Some((Role::Session, "an id"))
        } else if missing.contains(time) {
            Some((Role::Time, "a time"))
        } else if missing.contains(item) {
            Some((Role::Item, "an id"))
        } else {
            None
        }
    }

    /// Appends the rewards of the rows; a missing one is NaN.
    fn take_rewards(&mut self, values: &[Value<'_>], kept: &[usize]) -> Option<Fault> {
        for &row in kept {
            let value = values[row];
            if self.missing_values.contains(value) {
                self.rewards.push(f32::NAN);
                continue;
            }
            let number = match value {
                Value::Whole(number) => number as f64,
                Value::Large(number) => number as f64,
                Value::Real(number) => number,
                Value::Text(text) => text.trim().parse().unwrap_or(f64::NAN),
                Value::Missing | Value::Nanos(_) => f64::NAN,
            };
            let reward = number as f32;
            if !(reward.is_finite() && reward >= 0.0) {
                return Some((row, Role::Value, "a number of at least 0"));
            }
            self.rewards.push(reward);
        }
        None
    }

    /// Counts the items that look like lists.
    fn find_lists(&mut self, items: &[Value<'_>], kept: &[usize], error: impl Fn(Fault) -> Error) {
        for &row in kept {
            if let Value::Text(id) = items[row]
                && !id.bytes().all(|b| b.is_ascii_alphanumeric())
                && is_list_like(id)
            {
                let example = || error((row, Role::Item, "an id"));
                self.findings.add(FindingReason::ListLikeId, 1, example);
            }
        }
    }

    /// Keeps the first time of each kind that matters once all times are known. `before` is the
    /// number of times before the batch.
    fn note_times(&mut self, kept: &[usize], before: usize, error: impl Fn(Fault) -> Error) {
        let row_of = |mark: Mark| match mark.count {
            0 => None,
            _ => kept.get(mark.first.checked_sub(before)?),
        };
        for (mark, example) in self.times.scales().iter().zip(&mut self.examples) {
            if example.is_none()
                && let Some(&row) = row_of(*mark)
            {
                *example = Some(error((row, Role::Time, "a time")));
            }
        }
        if self.first_ambiguous.is_none()
            && let Some(&row) = row_of(self.times.ambiguous())
        {
            self.first_ambiguous = Some(error((row, Role::Time, "a time")));
        }
    }

    /// Kind and label of the rows; a row without them is no event.
    fn kinds_of<'a>(
        &mut self,
        table: &Table,
        values: impl Iterator<Item = Value<'a>>,
    ) -> Vec<Option<(u8, u8)>> {
        let named = table.named_kinds();
        let mut kinds = Vec::new();
        for value in values {
            let name = value.text();
            let name = name.as_ref();
            let label = named.iter().position(|kind| kind.name == name);
            let kind = if let Some(label) = label {
                (named[label].role as u8, label as u8)
            } else {
                match self.others.get_mut(name) {
                    Some(rows) => *rows += 1,
                    None => {
                        self.others.insert(name.to_owned(), 1);
                    }
                }
                kinds.push(None);
                continue;
            };
            kinds.push(Some(kind));
        }
        kinds
    }

    /// Returns the log, in file order. Errors name `source`.
    pub(crate) fn finish(mut self, source: &Path, table: &Table, columns: &Columns) -> Result<Log> {
        let others: u64 = self.others.values().sum();
        if others > 0 && !table.drop_other_events {
            let mut kinds: Vec<(String, u64)> = self.others.into_iter().collect();
            kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            return Err(Error::Kinds {
                column: columns.event.clone().unwrap_or_default(),
                kinds,
            });
        }
        if let Some(first) = self.first_missing.take()
            && !table.rules.drop_missing
        {
            return Err(missing_values(first, self.missing));
        }
        self.check_units(table)?;
        let mut findings = self.findings;
        if let Some(first) = self.first_ambiguous {
            let count = self.times.ambiguous().count;
            findings.add(FindingReason::AmbiguousLocalTime, count, || first);
        }
        let times = match self.times.finish(table.time_unit) {
            Ok(times) => times,
            Err(what) => {
                let column = columns.time.as_deref().unwrap_or_default();
                return Err(Error::file(source, format!("column {column:?}: {what}")));
            }
        };
        let events = EventColumns {
            sessions: self.sessions,
            items: self.items,
            kinds: self.kinds,
            times,
        };
        let mut extra = Vec::new();
        if !self.labels.is_empty() {
            extra.push(Column::new(LABEL.into(), self.labels));
        }
        if !self.splits.is_empty() {
            extra.push(Column::new(SPLIT.into(), self.splits));
        }
        if !self.rewards.is_empty() {
            extra.push(Column::new(VALUE.into(), self.rewards));
        }
        let mut log = Log::new(events, extra)?;
        log.dropped.add(Reason::OtherEvent, others);
        log.dropped.add(Reason::MissingValue, self.missing);
        log.findings = findings;
        log.is_timeless = columns.time.is_none();
        Ok(log)
    }

    /// Rejects numbers in several units; under a given unit they are findings.
    fn check_units(&mut self, table: &Table) -> Result<()> {
        let Some(unit) = self.times.unit(table.time_unit) else {
            return Ok(());
        };
        for ((scale, mark), example) in SCALES
            .iter()
            .zip(self.times.scales())
            .zip(&mut self.examples)
        {
            let Some(example) = example.take_if(|_| *scale != unit && unit != TimeUnit::Excel)
            else {
                continue;
            };
            if table.time_unit != TimeUnit::Auto {
                let count = mark.count;
                self.findings
                    .add(FindingReason::OtherTimeUnit, count, || example);
                continue;
            }
            let rows = counted_rows(mark.count);
            let expected = format!(
                "a time in {}, as other rows have; {rows} may be in {}: convert them, or name the unit of all \
                 with --time-unit",
                unit.plural(),
                scale.plural()
            );
            return Err(example.expecting(expected));
        }
        Ok(())
    }
}

/// Parser of the times of a table.
pub(crate) fn time_parser(table: &Table) -> Result<TimeParser> {
    let parser = TimeParser::new(&table.rules)?;
    let time = table
        .columns
        .as_ref()
        .and_then(|columns| columns.time.as_deref());
    Ok(match time {
        Some(time) if time.contains('+') => parser.of_sum(table.time_unit),
        _ => parser,
    })
}

fn counted_rows(rows: u64) -> String {
    match rows {
        1 => "1 row".into(),
        rows => format!("{rows} rows"),
    }
}

/// Error of missing values: the first one, and their number.
fn missing_values(first: Error, rows: u64) -> Error {
    let Error::Cell {
        found, expected, ..
    } = &first
    else {
        return first;
    };
    let mut expected = format!(
        "{expected}; without a session, a time or an item: {}; drop them with --drop-missing",
        counted_rows(rows)
    );
    if !found.trim().is_empty() {
        expected += ", or say which words mean a missing value with --missing";
    }
    first.expecting(expected)
}

fn take_ids(
    column: &mut IdColumn,
    role: Role,
    values: &[Value<'_>],
    kept: &[usize],
) -> Option<Fault> {
    for &row in kept {
        let taken = match values[row] {
            Value::Text(id) => column.push(id),
            Value::Large(id) => column.push(&id.to_string()),
            Value::Whole(id) => match u64::try_from(id) {
                Ok(id) => {
                    column.push_number(id);
                    Ok(())
                }
                Err(_) => column.push(&id.to_string()),
            },
            Value::Real(id) if is_exact(id) => column.push(&format!("{}", id as i64)),
            Value::Real(_) => Err("a whole number below 9007199254740992, or text"),
            Value::Missing | Value::Nanos(_) => Err("an id"),
        };
        if let Err(expected) = taken {
            return Some((row, role, expected));
        }
    }
    None
}

/// True for a whole number that no other number is rounded to: below 2^53.
fn is_exact(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0
}

pub(crate) fn take_splits(
    column: &mut Vec<u8>,
    values: &[Value<'_>],
    kept: &[usize],
) -> Option<Fault> {
    for &row in kept {
        column.push(match values[row].text().as_ref() {
            "train" | "0" => Split::Train as u8,
            "val" | "valid" | "validation" | "1" => Split::Val as u8,
            "test" | "2" => Split::Test as u8,
            _ => return Some((row, Role::Split, SPLITS)),
        });
    }
    None
}

fn take_times(column: &mut TimeColumn, values: &[Value<'_>], kept: &[usize]) -> Option<Fault> {
    for &row in kept {
        let taken = match values[row] {
            Value::Text(time) => column.push(time),
            Value::Whole(time) => column.push_whole(time),
            Value::Real(time) => column.push_real(time),
            Value::Nanos(time) => column.push_nanos(time),
            Value::Missing | Value::Large(_) => Err("a time"),
        };
        if let Err(expected) = taken {
            return Some((row, Role::Time, expected));
        }
    }
    None
}
