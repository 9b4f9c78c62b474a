//! Values of properties, and the types of columns.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Largest magnitude up to which every whole number is a `f64` of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// A text.
    Text,
    /// Any number of texts, such as categories.
    List,
    /// A finite number.
    Number,
    /// True or false.
    Bool,
}

impl ColumnType {
    /// Value of the type, in the words of an error.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::List => "a text or a list of texts",
            Self::Number => "a number",
            Self::Bool => "true or false",
        }
    }

    /// Name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::List => "list",
            Self::Number => "number",
            Self::Bool => "bool",
        }
    }
}

/// Value of a property.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Texts, ascending and distinct.
    List(Vec<String>),
    /// A finite number.
    Number(f64),
    /// True or false.
    Bool(bool),
}

impl Value {
    /// The value of a type that JSON stands for; `None` is null, and an empty list.
    ///
    /// # Errors
    /// What was found, if it is no value of the type.
    pub fn from_json(json: &Json, of: ColumnType) -> Result<Option<Self>, String> {
        match (of, json) {
            (_, Json::Null) => Ok(None),
            (ColumnType::Text, Json::String(text)) => Ok(Some(Self::Text(text.clone()))),
            (ColumnType::List, Json::String(text)) => Ok(Some(Self::List(vec![text.clone()]))),
            (ColumnType::List, Json::Array(list)) => {
                let mut texts = Vec::with_capacity(list.len());
                for value in list {
                    match value {
                        Json::String(text) => texts.push(text.clone()),
                        other => return Err(format!("a list with {}", shown(other))),
                    }
                }
                texts.sort_unstable();
                texts.dedup();
                Ok((!texts.is_empty()).then_some(Self::List(texts)))
            }
            (ColumnType::Number, Json::Number(number)) => match number.as_f64() {
                Some(number) if number.is_finite() => Ok(Some(Self::Number(number))),
                _ => Err(number.to_string()),
            },
            (ColumnType::Bool, Json::Bool(value)) => Ok(Some(Self::Bool(*value))),
            (_, other) => Err(shown(other)),
        }
    }

    /// The type that a JSON value has by itself; `None` for null and for an object.
    pub(crate) fn type_of(json: &Json) -> Option<ColumnType> {
        match json {
            Json::String(_) => Some(ColumnType::Text),
            Json::Array(_) => Some(ColumnType::List),
            Json::Number(_) => Some(ColumnType::Number),
            Json::Bool(_) => Some(ColumnType::Bool),
            Json::Null | Json::Object(_) => None,
        }
    }

    /// The value as JSON; a whole number has no fraction.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => Json::from(text.as_str()),
            Self::List(texts) => Json::from(texts.as_slice()),
            Self::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => {
                Json::from(*number as i64)
            }
            Self::Number(number) => Json::from(*number),
            Self::Bool(value) => Json::from(*value),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(texts) => f.write_str(&texts.join(", ")),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// A JSON value in the words of an error: scalars as they are, texts shortened.
pub(crate) fn shown(json: &Json) -> String {
    match json {
        Json::Null => "null".into(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) if text.chars().nth(40).is_some() => {
            let start: String = text.chars().take(40).collect();
            format!("the text {:?}", format!("{start}.."))
        }
        Json::String(text) => format!("the text {text:?}"),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "an object".into(),
    }
}
