//! Answers as a frame: one recommended item a row.

use polars::prelude::*;
use prl_runs::RecommendResponse;
use serde_json::Value;

use crate::sessions::Sessions;

/// Columns of every frame of answers.
const COLUMNS: [&str; 4] = ["session", "rank", "item", "score"];

/// Fails for properties that cannot be columns beside those of every frame.
pub fn check(properties: &[String]) -> Result<(), String> {
    for (at, name) in properties.iter().enumerate() {
        if COLUMNS.contains(&name.as_str()) || properties[..at].contains(name) {
            return Err(format!(
                "properties: {name:?} would be a second column of this name; leave it out, or ask \
                 with as_frame=False"
            ));
        }
    }
    Ok(())
}

/// The answers to sessions: `session` in the type of its input, `rank` from 1, `item`, `score`, and
/// a column for each property. Items are integers if those of the sessions are and all ids of the
/// catalogue are integers.
pub fn frame(
    sessions: &Sessions,
    answers: &[RecommendResponse],
    properties: &[String],
    has_integer_catalogue: bool,
) -> PolarsResult<DataFrame> {
    let (mut rows, mut ranks, mut items, mut scores) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut values: Vec<Vec<Option<&Value>>> = vec![Vec::new(); properties.len()];
    for (session, answer) in answers.iter().enumerate() {
        for (rank, recommendation) in answer.answer.items.iter().enumerate() {
            rows.push(session as IdxSize);
            ranks.push(rank as u32 + 1);
            items.push(recommendation.item.as_str());
            scores.push(recommendation.score);
            let own = recommendation.properties.as_ref();
            for (name, values) in properties.iter().zip(&mut values) {
                values.push(own.and_then(|own| own.get(name)));
            }
        }
    }
    let rows = IdxCa::from_vec("row".into(), rows);
    let session = sessions.names.take(&rows)?.with_name("session".into());
    let mut item = Column::new("item".into(), items);
    if sessions.has_integer_items && has_integer_catalogue {
        item = item.cast(&DataType::Int64)?;
    }
    let mut columns = vec![
        session,
        Column::new("rank".into(), ranks),
        item,
        Column::new("score".into(), scores),
    ];
    for (name, values) in properties.iter().zip(values) {
        columns.push(property(name, &values));
    }
    DataFrame::new(columns[0].len(), columns)
}

/// A column of properties: integers, numbers or booleans if all values are, else text.
fn property(name: &str, values: &[Option<&Value>]) -> Column {
    let has = |is: fn(&Value) -> bool| values.iter().flatten().all(|value| is(value));
    let name = PlSmallStr::from_str(name);
    if has(Value::is_i64) {
        let mut numbers = Vec::with_capacity(values.len());
        for value in values {
            numbers.push(value.and_then(Value::as_i64));
        }
        return Column::new(name, numbers);
    }
    if has(Value::is_number) {
        let mut numbers = Vec::with_capacity(values.len());
        for value in values {
            numbers.push(value.and_then(Value::as_f64));
        }
        return Column::new(name, numbers);
    }
    if has(Value::is_boolean) {
        let mut flags = Vec::with_capacity(values.len());
        for value in values {
            flags.push(value.and_then(Value::as_bool));
        }
        return Column::new(name, flags);
    }
    let mut texts = Vec::with_capacity(values.len());
    for value in values {
        texts.push(value.map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
    }
    Column::new(name, texts)
}
