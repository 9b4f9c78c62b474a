//! Conditions on properties in flags: `category=shoes`, `price<=50`, or JSON.

use prl_runs::{InvalidRequest, Json, Where};
use serde_json::{Map, Value};

/// The filter of these conditions, all of which hold.
pub fn conditions(texts: &[String]) -> Result<Where, InvalidRequest> {
    let mut all = Map::new();
    for text in texts {
        if text.trim_start().starts_with('{') {
            let json: Json = serde_json::from_str(text)
                .map_err(|e| InvalidRequest::new(format!("not valid JSON: {e}")))?;
            let Value::Object(conditions) = json.into_plain()? else {
                continue;
            };
            for (column, condition) in conditions {
                if all.insert(column.clone(), condition).is_some() {
                    return Err(twice(&column));
                }
            }
            continue;
        }
        add(&mut all, text)?;
    }
    Ok(Where::from_json(&Value::Object(all))?)
}

/// The filter of a text in JSON.
pub fn of_text(json: Json) -> Result<Json, InvalidRequest> {
    let Json::Text(text) = &json else {
        return Ok(json);
    };
    serde_json::from_str(text)
        .map_err(|e| InvalidRequest::new(format!("where: not valid JSON: {e}")))
}

/// Adds one condition.
fn add(all: &mut Map<String, Value>, text: &str) -> Result<(), InvalidRequest> {
    let expected = "COLUMN=VALUE, COLUMN<=NUMBER, COLUMN>=NUMBER or an object in JSON";
    let wrong = || InvalidRequest::value(expected, format!("{text:?}"));
    let at = text.find('=').ok_or_else(wrong)?;
    let (column, value) = (&text[..at], &text[at + 1..]);
    let (column, bound) = match (column.strip_suffix('<'), column.strip_suffix('>')) {
        (Some(column), _) => (column, Some("max")),
        (_, Some(column)) => (column, Some("min")),
        _ => (column, None),
    };
    let (column, value) = (column.trim(), scalar(value.trim()));
    if column.is_empty() {
        return Err(wrong());
    }
    let condition = all.entry(column).or_insert(Value::Null);
    match (bound, condition) {
        (Some(bound), Value::Object(range)) => {
            if range.insert(bound.to_owned(), value).is_some() {
                return Err(twice(column));
            }
        }
        (Some(bound), empty @ Value::Null) => {
            *empty = Value::Object([(bound.to_owned(), value)].into_iter().collect());
        }
        (None, Value::Array(values)) => values.push(value),
        (None, empty @ Value::Null) => *empty = Value::Array(vec![value]),
        _ => return Err(twice(column)),
    }
    Ok(())
}

/// A number, a truth value or a quoted text in JSON; any other text is itself.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => value,
        _ => Value::from(text),
    }
}

fn twice(column: &str) -> InvalidRequest {
    InvalidRequest::new(format!(
        "{column} has two conditions that are not alternatives; give it one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(texts: &[&str]) -> Result<Value, String> {
        let mut owned = Vec::new();
        for text in texts {
            owned.push((*text).to_owned());
        }
        match conditions(&owned) {
            Ok(conditions) => Ok(serde_json::to_value(conditions).unwrap()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn flags_and_json_are_one_filter() {
        let flags = of(&[
            "category=shoes",
            "category = hats & caps",
            "price<=50",
            "price>=9.5",
            "available=true",
            "size=\"38\"",
        ]);
        let expected = json!({
            "category": ["hats & caps", "shoes"], "price": {"min": 9.5, "max": 50.0},
            "available": [true], "size": ["38"],
        });
        assert_eq!(flags, Ok(expected.clone()));
        assert_eq!(of(&[&expected.to_string()]), Ok(expected));
        assert_eq!(of(&["a=b=c"]), Ok(json!({"a": ["b=c"]})));
    }

    #[test]
    fn condition_of_no_form_is_refused() {
        for texts in [
            &["price"][..],
            &["=5"],
            &["{\"a\": 1, \"a\": 2}"],
            &["{\"a\""],
            &["p<=1", "p<=2"],
            &["p<=1", "p=2"],
            &["p<=x"],
            &["p=1", "{\"p\": 1}"],
        ] {
            assert!(of(texts).is_err(), "{texts:?}");
        }
    }
}
