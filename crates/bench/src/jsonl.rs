//! Measurements as lines of JSON objects, and their values as cells of a table.

use anyhow::Result;
use serde_json::Value;

/// Parses one JSON value per line.
///
/// # Errors
/// If a line is not JSON.
pub fn parse(text: &str) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    for line in text.lines() {
        values.push(serde_json::from_str(line)?);
    }
    Ok(values)
}

/// One line per value.
pub fn to_text(values: &[Value]) -> String {
    let mut text = String::new();
    for value in values {
        text += &format!("{value}\n");
    }
    text
}

/// A string without its quotes, or the JSON of another value.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number; NaN for any other value.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// A number with some decimals; a dash for NaN.
pub fn cell(x: f64, decimals: usize) -> String {
    if x.is_nan() {
        "-".into()
    } else {
        format!("{x:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_survive_a_round_trip() {
        let values = [json!({"a": 1.5}), json!({"a": "x"})];
        assert_eq!(parse(&to_text(&values)).unwrap(), values);
        assert!(parse("{\n").is_err());
    }

    #[test]
    fn missing_numbers_are_dashes() {
        let value = json!({"a": 1.25, "b": "x"});
        assert_eq!(cell(number(&value["a"]), 1), "1.2");
        assert_eq!(cell(number(&value["b"]), 1), "-");
        assert_eq!(
            (text(&value["b"]), text(&value["a"])),
            ("x".into(), "1.25".into())
        );
    }
}
