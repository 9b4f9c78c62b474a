//! Names and values of what is tracked: numbers of a line of `metrics.jsonl`, and settings.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// Numbers of one training step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// Training steps taken.
    pub step: u64,
    /// Time of the record, in seconds since 1970.
    pub time: f64,
    /// Names and values, sorted by name.
    pub numbers: Vec<(String, f64)>,
}

impl Record {
    /// The record of a line of `metrics.jsonl`; `None` for a line without a step.
    pub fn of_evaluation(line: &Value) -> Option<Self> {
        let step = line.get("step")?.as_u64()?;
        let mut numbers = Vec::new();
        for (name, value) in line.as_object()? {
            if name != "step" {
                collect(name, value, &mut numbers);
            }
        }
        Some(Self::new(step, numbers))
    }

    /// The record of the scores of a split, at the step of the weights.
    pub fn of_scores(split: &str, step: u64, scores: &Value) -> Self {
        let mut numbers = Vec::new();
        collect(split, scores, &mut numbers);
        Self::new(step, numbers)
    }

    fn new(step: u64, mut numbers: Vec<(String, f64)>) -> Self {
        numbers.sort_by(|a, b| a.0.cmp(&b.0));
        Self {
            step,
            time: now(),
            numbers,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// Appends the numbers of a value. The levels of a name are separated by /, and `@`, which MLflow
/// does not allow, is written `_at_`: `val/all/NDCG_at_20`.
fn collect(name: &str, value: &Value, numbers: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                numbers.push((name.replace('@', "_at_"), number));
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                collect(&format!("{name}/{key}"), value, numbers);
            }
        }
        // A metric of a kind without events is null.
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
    }
}

/// Names and values of settings; the levels of a name are separated by a dot: `model.dim`.
pub(crate) fn settings(table: &toml::Table) -> Vec<(String, toml::Value)> {
    let mut found = Vec::new();
    collect_settings("", table, &mut found);
    found
}

fn collect_settings(prefix: &str, table: &toml::Table, found: &mut Vec<(String, toml::Value)>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                collect_settings(&format!("{prefix}{key}."), inner, found);
            }
            value => found.push((format!("{prefix}{key}"), value.clone())),
        }
    }
}

/// A setting as text, as Python prints it.
pub(crate) fn as_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => format!("{number:?}"),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_becomes_numbers_with_the_names_of_its_levels() {
        let line = r#"{"step":7,"epoch":0.5,"loss":null,"seconds":0.1,
            "val":{"all":{"NDCG@20":0.3,"MRR":null},"reward@1":114.0,"events":{"click":3}}}"#;
        let record = Record::of_evaluation(&serde_json::from_str(line).unwrap()).unwrap();
        let expected = [
            ("epoch", 0.5),
            ("seconds", 0.1),
            ("val/all/NDCG_at_20", 0.3),
            ("val/events/click", 3.0),
            ("val/reward_at_1", 114.0),
        ];
        let mut found = Vec::new();
        for (name, value) in &record.numbers {
            found.push((name.as_str(), *value));
        }
        assert_eq!((record.step, found), (7, expected.to_vec()));
    }

    #[test]
    fn settings_have_dotted_names() {
        let table = "lr = 0.005\nmethod = \"prl\"\n[model]\ndim = 64\ntied = true\n";
        let mut found = Vec::new();
        for (name, value) in settings(&table.parse().unwrap()) {
            found.push(format!("{name}={}", as_text(&value)));
        }
        found.sort();
        assert_eq!(
            found,
            ["lr=0.005", "method=prl", "model.dim=64", "model.tied=true"]
        );
    }
}
