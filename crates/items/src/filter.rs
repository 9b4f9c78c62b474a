//! Filters by the values of properties.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::error::FilterError;
use crate::snapshot::Schema;
use crate::value::{ColumnType, Value, shown};

/// Maximum number of conditions of a filter.
const MAX_CONDITIONS: usize = 64;
/// Maximum number of values of a condition.
const MAX_VALUES: usize = 1_000;

/// Conditions on the properties of an item, by column; all must hold. An item without a value meets
/// no condition on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Where(BTreeMap<String, Condition>);

/// A condition on one property.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Condition {
    /// The value, or one of a list's texts, is one of these.
    AnyOf(Vec<Scalar>),
    /// The number lies between these, which are included.
    Range {
        /// Least number.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// Largest number.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
}

/// A value that a property is compared with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// True or false.
    Bool(bool),
}

impl Where {
    /// A filter in JSON: `{"category": ["shoes"], "price": {"min": 10, "max": 50}, "available":
    /// true}`. Values are one or a list of alternatives.
    ///
    /// # Errors
    /// [`FilterError`] that names the column and what it takes.
    pub fn from_json(json: &Json) -> Result<Self, FilterError> {
        let Json::Object(fields) = json else {
            return Err(FilterError::Form {
                expected: "an object of conditions by column",
                found: shown(json),
            });
        };
        if fields.len() > MAX_CONDITIONS {
            return Err(FilterError::Form {
                expected: "at most 64 conditions",
                found: fields.len().to_string(),
            });
        }
        let mut conditions = BTreeMap::new();
        for (column, json) in fields {
            conditions.insert(column.clone(), Condition::from_json(column, json)?);
        }
        Ok(Self(conditions))
    }

    /// Whether every item meets it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conditions by column.
    pub fn conditions(&self) -> &BTreeMap<String, Condition> {
        &self.0
    }

    /// The filter with the condition on another column added or replaced.
    pub fn with(mut self, column: impl Into<String>, condition: Condition) -> Self {
        self.0.insert(column.into(), condition);
        self
    }

    /// One text for equal filters.
    pub(crate) fn key(&self) -> String {
        // Conditions are sorted by column, and their values are sorted: equal filters are equal.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The conditions in columns of the items.
    pub(crate) fn resolve(&self, schema: &Schema) -> Result<Vec<ColumnTest>, FilterError> {
        let mut tests = Vec::with_capacity(self.0.len());
        for (name, condition) in &self.0 {
            let Some((column, of)) = schema.find(name) else {
                return Err(FilterError::UnknownColumn {
                    place: "where",
                    column: name.clone(),
                    columns: schema.names(),
                });
            };
            let test = condition.test(name, of)?;
            tests.push(ColumnTest { column, test });
        }
        Ok(tests)
    }
}

impl Condition {
    fn from_json(column: &str, json: &Json) -> Result<Self, FilterError> {
        let wrong = |expected: &str, found: String| FilterError::Condition {
            column: column.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let values = match json {
            Json::Object(range) => return Self::of_range(range).map_err(|(e, f)| wrong(e, f)),
            Json::Array(values) if values.len() > MAX_VALUES => {
                return Err(wrong("at most 1000 values", values.len().to_string()));
            }
            Json::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut scalars = Vec::with_capacity(values.len());
        for value in values {
            scalars.push(match value {
                Json::String(text) => Scalar::Text(text.clone()),
                Json::Bool(value) => Scalar::Bool(*value),
                Json::Number(number) => match number.as_f64() {
                    Some(number) if number.is_finite() => Scalar::Number(number),
                    _ => return Err(wrong("a finite number", number.to_string())),
                },
                other => {
                    let expected = "a value, a list of values, or {\"min\": .., \"max\": ..}";
                    return Err(wrong(expected, shown(other)));
                }
            });
        }
        scalars.sort_unstable_by(Scalar::order);
        scalars.dedup();
        Ok(Self::AnyOf(scalars))
    }

    fn of_range(range: &Map<String, Json>) -> Result<Self, (&'static str, String)> {
        const EXPECTED: &str = "{\"min\": .., \"max\": ..} of numbers, or one of the two";
        let mut bounds = [None, None];
        for (name, json) in range {
            let at = match name.as_str() {
                "min" => 0,
                "max" => 1,
                other => return Err((EXPECTED, format!("the field {other:?}"))),
            };
            match json.as_f64() {
                Some(number) if number.is_finite() => bounds[at] = Some(number),
                _ => return Err((EXPECTED, shown(json))),
            }
        }
        match bounds {
            [None, None] => Err((EXPECTED, "an object of neither".into())),
            [Some(min), Some(max)] if min > max => {
                let expected = "a min that is at most the max";
                Err((expected, format!("a min of {min} and a max of {max}")))
            }
            [min, max] => Ok(Self::Range { min, max }),
        }
    }

    /// The condition on a column of a type.
    fn test(&self, column: &str, of: ColumnType) -> Result<Test, FilterError> {
        let wrong = |expected: &str, found: String| {
            Err(FilterError::Condition {
                column: column.to_owned(),
                expected: format!("{expected}, since the column is of type {}", of.name()),
                found,
            })
        };
        let values = match self {
            Self::Range { min, max } if of == ColumnType::Number => {
                return Ok(Test::Range(
                    min.unwrap_or(f64::NEG_INFINITY),
                    max.unwrap_or(f64::INFINITY),
                ));
            }
            Self::Range { .. } => return wrong(expected(of), "a range of numbers".into()),
            Self::AnyOf(values) => values,
        };
        let (mut texts, mut numbers, mut bools) = (Vec::new(), Vec::new(), [false; 2]);
        for value in values {
            match (of, value) {
                (ColumnType::Text | ColumnType::List, Scalar::Text(text)) => {
                    texts.push(text.clone());
                }
                (ColumnType::Number, Scalar::Number(number)) => numbers.push(*number),
                (ColumnType::Bool, Scalar::Bool(value)) => bools[usize::from(*value)] = true,
                (_, other) => return wrong(expected(of), other.shown()),
            }
        }
        Ok(match of {
            ColumnType::Text | ColumnType::List => Test::Texts(texts),
            ColumnType::Number => Test::Numbers(numbers),
            ColumnType::Bool => Test::Bools(bools),
        })
    }
}

/// What a condition on a column of a type takes.
fn expected(of: ColumnType) -> &'static str {
    match of {
        ColumnType::Text | ColumnType::List => "a text or a list of texts",
        ColumnType::Number => "a number, a list of numbers, or {\"min\": .., \"max\": ..}",
        ColumnType::Bool => "true or false",
    }
}

impl Scalar {
    /// A total order: truth values, numbers, texts.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Number(_) => 1,
            Self::Text(_) => 2,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => shown(&Json::from(text.as_str())),
            Self::Number(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
        }
    }
}

/// A condition on a column of the items, by its number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnTest {
    pub(crate) column: usize,
    pub(crate) test: Test,
}

/// A condition on a value of a known type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// One of these texts, ascending.
    Texts(Vec<String>),
    /// One of these numbers.
    Numbers(Vec<f64>),
    /// Between these numbers.
    Range(f64, f64),
    /// Whether false and true meet it.
    Bools([bool; 2]),
}

impl Test {
    /// Whether a value meets the condition.
    pub(crate) fn accepts(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Texts(texts), Some(Value::Text(text))) => texts.binary_search(text).is_ok(),
            (Self::Texts(texts), Some(Value::List(list))) => {
                list.iter().any(|text| texts.binary_search(text).is_ok())
            }
            (_, Some(Value::Number(number))) => self.accepts_number(*number),
            (Self::Bools(bools), Some(Value::Bool(value))) => bools[usize::from(*value)],
            _ => false,
        }
    }

    /// Whether a number meets the condition; one that is not a number meets none.
    pub(crate) fn accepts_number(&self, number: f64) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.contains(&number),
            Self::Range(min, max) => (*min..=*max).contains(&number),
            Self::Texts(_) | Self::Bools(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_filters_have_one_key() {
        let of = |json| Where::from_json(&json).unwrap().key();
        let key = of(json!({"b": ["y", "x", "y"], "a": {"max": 2}}));
        assert_eq!(key, r#"{"a":{"max":2.0},"b":["x","y"]}"#);
        assert_eq!(of(json!({"a": {"max": 2.0}, "b": ["x", "y"]})), key);
        assert_eq!(of(json!({"a": 1, "b": true})), r#"{"a":[1.0],"b":[true]}"#);
        assert_eq!(of(json!({})), "{}");
    }

    #[test]
    fn filter_of_another_form_is_refused_by_column() {
        let cases = [
            (
                json!([]),
                "where: expected an object of conditions by column, found a list",
            ),
            (
                json!({"p": null}),
                "where.p: expected a value, a list of values, or {\"min\": .., \"max\": ..}, found null",
            ),
            (
                json!({"p": [[1]]}),
                "where.p: expected a value, a list of values, or {\"min\": .., \"max\": ..}, found a list",
            ),
            (
                json!({"p": {"least": 1}}),
                "where.p: expected {\"min\": .., \"max\": ..} of numbers, or one of the two, found the field \"least\"",
            ),
            (
                json!({"p": {}}),
                "where.p: expected {\"min\": .., \"max\": ..} of numbers, or one of the two, found an object of neither",
            ),
            (
                json!({"p": {"min": "a"}}),
                "where.p: expected {\"min\": .., \"max\": ..} of numbers, or one of the two, found the text \"a\"",
            ),
            (
                json!({"p": {"min": 2, "max": 1}}),
                "where.p: expected a min that is at most the max, found a min of 2 and a max of 1",
            ),
            (
                json!({"p": vec![0; 1001]}),
                "where.p: expected at most 1000 values, found 1001",
            ),
        ];
        for (json, expected) in cases {
            let refused = Where::from_json(&json).unwrap_err();
            assert_eq!(refused.to_string(), expected);
        }
    }
}
