//! Requests and answers as Parquet tables.

use std::path::Path;

use prl_runs::{FromJson, Id, InvalidRequest, Json, MAX_ITEMS, RecommendResponse, RequestFields};
use prl_tables::{Cell, Rows, TableReader, TableWriter, Type, Values};

use super::batch::Draft;
use super::conditions::of_text;
use crate::exit::Usage;
use crate::output::errln;

/// Fields of an event table.
const EVENT_FIELDS: [&str; 3] = ["session", "item", "kind"];
/// Fields whose values are ids, and thus texts whatever the column's type.
const ID_FIELDS: [&str; 6] = ["session", "item", "items", "purchased", "exclude", "allow"];

/// Fields of a row with their values.
type Fields = Vec<(String, Json)>;

/// Reader of a table of requests.
pub struct Table {
    reader: TableReader,
    /// The fields of the selected columns.
    fields: Vec<&'static str>,
    /// One event a row; otherwise one session a row.
    is_events: bool,
    rows: Option<Rows>,
    /// The next row in `rows`.
    next: usize,
    name: String,
    order: SessionOrder,
    /// The session whose events are being read, and its first row.
    open: Option<(u64, RequestFields)>,
}

impl Table {
    /// Opens a file; `columns` maps fields to columns of other names, `items=history,..`.
    pub fn open(path: &Path, columns: &str) -> anyhow::Result<Self> {
        let mut reader = TableReader::open(path)?;
        let mapping = mapping(columns)?;
        for (field, column) in &mapping {
            if !reader.columns().contains(column) {
                let found = reader.columns().join(", ");
                return Err(Usage(format!(
                    "--columns {field}={column}: {} has no column {column}; it has {found}",
                    path.display()
                ))
                .into());
            }
        }
        let [has_items, has_item, has_session] = ["items", "item", "session"]
            .map(|field| reader.columns().contains(&column_of(&mapping, field)));
        let is_events = has_item && !has_items;
        if !(has_items || is_events && has_session) {
            let found = reader.columns().join(", ");
            return Err(Usage(format!(
                "{}: no column items, nor session and item; it has {found}; name them with \
                 --columns items=..",
                path.display()
            ))
            .into());
        }
        let known = if is_events {
            EVENT_FIELDS.as_slice()
        } else {
            RequestFields::NAMES
        };
        let (mut fields, mut selected) = (Vec::new(), Vec::new());
        for &field in known {
            let column = column_of(&mapping, field);
            if reader.columns().contains(&column) {
                fields.push(field);
                selected.push(column);
            }
        }
        for (field, column) in &mapping {
            if !fields.contains(&field.as_str()) {
                return Err(Usage(format!(
                    "--columns {field}={column}: a table of {} has the fields {}; give other \
                     options as flags",
                    if is_events { "events" } else { "sessions" },
                    known.join(", ")
                ))
                .into());
            }
        }
        let mut ignored = Vec::new();
        for column in reader.columns() {
            if !selected.contains(column) {
                ignored.push(column.as_str());
            }
        }
        if !ignored.is_empty() {
            errln!(
                "{}: columns not read: {}",
                path.display(),
                ignored.join(", ")
            );
        }
        reader.select(selected);
        Ok(Self {
            reader,
            fields,
            is_events,
            rows: None,
            next: 0,
            name: path.display().to_string(),
            order: SessionOrder::default(),
            open: None,
        })
    }

    /// The place of a row in messages; rows count from 1.
    pub fn place(&self, row: u64) -> String {
        format!("{}, row {row}", self.name)
    }

    /// The next requests, at most `max`, with their first rows.
    pub fn next(&mut self, max: usize) -> anyhow::Result<Vec<(u64, Draft)>> {
        let mut drafts = Vec::new();
        while drafts.len() < max {
            let Some((row, fields)) = self.next_row()? else {
                let last = self.open.take();
                drafts.extend(last.map(draft));
                break;
            };
            if !self.is_events {
                let fields = self.parse(row, fields)?;
                drafts.push(draft((row, fields)));
            } else {
                let closed = self.add_event(row, fields)?;
                drafts.extend(closed.map(draft));
            }
        }
        Ok(drafts)
    }

    /// The next row with its number from 1, as pairs of field and value.
    fn next_row(&mut self) -> anyhow::Result<Option<(u64, Fields)>> {
        while self
            .rows
            .as_ref()
            .is_none_or(|rows| self.next == rows.len())
        {
            self.next = 0;
            self.rows = self.reader.next_rows()?;
            if self.rows.is_none() {
                return Ok(None);
            }
        }
        let Some(rows) = &self.rows else {
            return Ok(None);
        };
        let mut fields = Vec::with_capacity(self.fields.len());
        for (column, &field) in self.fields.iter().enumerate() {
            let cell = rows.cell(column, self.next)?;
            let mut json = to_json(cell, ID_FIELDS.contains(&field));
            if field == "where" {
                let place = (rows.first() + self.next + 1) as u64;
                json = of_text(json).map_err(|error| self.invalid(place, error))?;
            }
            fields.push((field.to_owned(), json));
        }
        self.next += 1;
        Ok(Some(((rows.first() + self.next) as u64, fields)))
    }

    fn parse(&self, row: u64, fields: Fields) -> Result<RequestFields, Usage> {
        let parsed = RequestFields::from_json(Json::Object(fields));
        parsed.map_err(|error| self.invalid(row, error))
    }

    /// Adds an event to the open session; returns the session before it, if it ends there.
    fn add_event(
        &mut self,
        row: u64,
        fields: Fields,
    ) -> Result<Option<(u64, RequestFields)>, Usage> {
        let (mut session, mut item, mut kind) = (Json::Null, Json::Null, Json::Null);
        for (field, json) in fields {
            match field.as_str() {
                "session" => session = json,
                "item" => item = json,
                _ => kind = json,
            }
        }
        let event = Json::Object(vec![
            ("session".into(), session),
            ("items".into(), Json::List(vec![item])),
            ("kinds".into(), list_unless_null(kind)),
        ]);
        let Json::Object(event) = event else {
            return Ok(None);
        };
        let mut event = self.parse(row, event)?;
        let Some(id) = &event.session else {
            return Err(self.invalid(row, InvalidRequest::new("the session is missing")));
        };
        if let Some((_, open)) = &mut self.open
            && open.session.as_ref() == Some(id)
        {
            append(&mut open.items, event.items.take());
            append(&mut open.kinds, event.kinds.take());
            if open
                .items
                .as_ref()
                .is_some_and(|items| items.len() > MAX_ITEMS)
            {
                let message = format!("session {} holds more than {MAX_ITEMS} events", id.0);
                return Err(self.invalid(row, InvalidRequest::new(message)));
            }
            return Ok(None);
        }
        if let Some((_, open)) = &self.open
            && let Some(before) = &open.session
            && !self.order.advances(&before.0, &id.0)
        {
            let message = format!(
                "session {} comes after session {}; sort the rows by session",
                id.0, before.0
            );
            return Err(self.invalid(row, InvalidRequest::new(message)));
        }
        Ok(self.open.replace((row, event)))
    }

    fn invalid(&self, row: u64, error: InvalidRequest) -> Usage {
        Usage(error.within(&self.place(row)).to_string())
    }
}

/// The column of a field: the mapped one, or the one of its name.
fn column_of(mapping: &[(String, String)], field: &str) -> String {
    for (mapped, column) in mapping {
        if mapped == field {
            return column.clone();
        }
    }
    field.to_owned()
}

fn draft((row, fields): (u64, RequestFields)) -> (u64, Draft) {
    (row, Draft::Fields(Box::new(fields)))
}

fn append<T>(list: &mut Option<Vec<T>>, more: Option<Vec<T>>) {
    if let (Some(list), Some(more)) = (list, more) {
        list.extend(more);
    }
}

fn list_unless_null(json: Json) -> Json {
    match json {
        Json::Null => Json::Null,
        json => Json::List(vec![json]),
    }
}

/// Order of the sessions of an event table. A session whose events are not together would be
/// answered twice; an order shows that in constant memory.
struct SessionOrder {
    /// Orders that all sessions so far follow: text ascending and descending, numbers ascending and
    /// descending.
    possible: [bool; 4],
}

impl Default for SessionOrder {
    fn default() -> Self {
        Self {
            possible: [true; 4],
        }
    }
}

impl SessionOrder {
    /// Whether some order allows `after` directly after `before`, and all sessions before.
    fn advances(&mut self, before: &str, after: &str) -> bool {
        let numbers = before.parse::<i128>().ok().zip(after.parse::<i128>().ok());
        let follows = [
            before < after,
            before > after,
            numbers.is_some_and(|(before, after)| before < after),
            numbers.is_some_and(|(before, after)| before > after),
        ];
        let mut is_any = false;
        for (possible, follows) in self.possible.iter_mut().zip(follows) {
            *possible &= follows;
            is_any |= *possible;
        }
        is_any
    }
}

/// Pairs of field and column.
fn mapping(columns: &str) -> Result<Vec<(String, String)>, Usage> {
    let mut mapping = Vec::new();
    for pair in columns.split(',').filter(|pair| !pair.trim().is_empty()) {
        let Some((field, column)) = pair.split_once('=') else {
            let message = format!("--columns {pair}: expected FIELD=COLUMN");
            return Err(Usage(message));
        };
        let (field, column) = (field.trim(), column.trim());
        if !RequestFields::NAMES.contains(&field) && !EVENT_FIELDS.contains(&field) {
            return Err(Usage(format!(
                "--columns {pair}: no field {field}; the fields are item, kind, {}",
                RequestFields::NAMES.join(", ")
            )));
        }
        mapping.push((field.to_owned(), column.to_owned()));
    }
    Ok(mapping)
}

fn to_json(cell: Cell, is_id: bool) -> Json {
    match cell {
        Cell::Null => Json::Null,
        Cell::Bool(value) => Json::Bool(value),
        Cell::Int(value) if is_id => Json::Text(value.to_string()),
        Cell::Int(value) => Json::Number(value.into()),
        Cell::UInt(value) => Json::Number(value.into()),
        // A number that is not finite is null in JSON; NaN marks missing values.
        Cell::Float(value) if value.is_nan() => Json::Null,
        Cell::Float(value) => {
            let number = serde_json::Number::from_f64(value);
            number.map_or_else(|| Json::Text(value.to_string()), Json::Number)
        }
        Cell::Text(text) => Json::Text(text),
        Cell::List(cells) => {
            let mut list = Vec::with_capacity(cells.len());
            for cell in cells {
                list.push(to_json(cell, is_id));
            }
            Json::List(list)
        }
    }
}

/// Fails if answers hold what a table has no column for.
pub fn check(answers: &[RecommendResponse]) -> Result<(), Usage> {
    for response in answers {
        if response
            .answer
            .items
            .iter()
            .any(|item| item.properties.is_some())
        {
            let message = "properties are written as JSON lines alone; name another --out, or leave \
                           them out";
            return Err(Usage(message.into()));
        }
    }
    Ok(())
}

/// Starts a table of answers.
pub fn create(path: &Path) -> prl_tables::Result<TableWriter> {
    TableWriter::create(
        path,
        &[
            ("session", Type::Text),
            ("items", Type::TextList),
            ("scores", Type::F32List),
            ("unknown_items", Type::TextList),
            ("unknown_exclude", Type::TextList),
            ("unknown_allow", Type::TextList),
            ("step", Type::U32),
            ("return", Type::F64),
            ("model", Type::Text),
        ],
    )
}

/// Writes answers with the names of their sessions.
pub fn write(
    table: &mut TableWriter,
    sessions: &[Option<Id>],
    answers: &[RecommendResponse],
) -> prl_tables::Result<()> {
    let (mut names, mut models) = (Vec::new(), Vec::new());
    let (mut items, mut scores) = (Vec::new(), Vec::new());
    let mut unknown = [Vec::new(), Vec::new(), Vec::new()];
    let (mut steps, mut returns) = (Vec::new(), Vec::new());
    for (session, response) in sessions.iter().zip(answers) {
        let answer = &response.answer;
        names.push(session.as_ref().map(|id| id.0.as_str()));
        models.push(Some(response.model.as_str()));
        let (mut ids, mut values) = (Vec::new(), Vec::new());
        for item in &answer.items {
            ids.push(item.item.as_str());
            values.push(item.score);
        }
        items.push(ids);
        scores.push(values);
        let lists = [
            &answer.unknown_items,
            &answer.unknown_exclude,
            &answer.unknown_allow,
        ];
        for (column, list) in unknown.iter_mut().zip(lists) {
            column.push(list.iter().map(String::as_str).collect());
        }
        steps.push(answer.prompt.map(|prompt| prompt.step));
        returns.push(answer.prompt.map(|prompt| prompt.value));
    }
    table.write(&[
        Values::Text(&names),
        Values::TextList(&items),
        Values::F32List(&scores),
        Values::TextList(&unknown[0]),
        Values::TextList(&unknown[1]),
        Values::TextList(&unknown[2]),
        Values::U32(&steps),
        Values::F64(&returns),
        Values::Text(&models),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_order_is_text_or_numbers_in_either_direction() {
        let check = |ids: &[&str]| {
            let mut order = SessionOrder::default();
            ids.windows(2).all(|pair| order.advances(pair[0], pair[1]))
        };
        assert!(check(&["9", "10", "11"]) && check(&["10", "11", "9"]));
        assert!(check(&["11", "10", "9"]) && check(&["a", "b", "c"]));
        assert!(!check(&["a", "b", "a"]) && !check(&["1", "3", "2"]));
    }

    #[test]
    fn columns_of_unknown_fields_are_rejected() {
        let expected = [("items".to_owned(), "history".to_owned())];
        assert_eq!(mapping(" items = history,").unwrap(), expected);
        assert!(mapping("items").is_err() && mapping("history=items").is_err());
    }
}
