//! JSON values with errors in the words of a request's sender.
//!
//! serde's own errors name Rust types ("expected usize") and no field. A value is therefore parsed
//! first, and its fields are converted by [`FromJson`], whose errors name them. Repeated names are
//! kept, so that they can be rejected.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;

use super::InvalidRequest;

/// Longest text that an error repeats, in characters.
const SHOWN: usize = 40;

/// A JSON value; unlike `serde_json::Value`, with the repeated names of its objects.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl fmt::Display for Json {
    /// Describes the value in an error: scalars as they are, texts shortened, lists and objects by
    /// their kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(number) => write!(f, "{number}"),
            Json::Text(text) if text.chars().nth(SHOWN).is_some() => {
                let start: String = text.chars().take(SHOWN).collect();
                write!(f, "the text {:?}", format!("{start}.."))
            }
            Json::Text(text) => write!(f, "the text {text:?}"),
            Json::List(_) => f.write_str("a list"),
            Json::Object(_) => f.write_str("an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                // In JSON, 5.0 is as whole a number as 5; up to here each of them is exact.
                const EXACT: f64 = 9_007_199_254_740_992.0;
                let is_whole = value.fract() == 0.0 && value.is_sign_positive();
                if is_whole && value <= EXACT {
                    return Ok(Json::Number((value as u64).into()));
                }
                Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Json, E> {
                Ok(Json::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = seq.next_element()? {
                    list.push(value);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }

        deserializer.deserialize_any(JsonVisitor)
    }
}

/// Conversion from JSON.
pub trait FromJson: Sized {
    /// Converts a value.
    ///
    /// # Errors
    /// [`InvalidRequest`] that names the values of the type, and the one found.
    fn from_json(json: Json) -> Result<Self, InvalidRequest>;
}

impl FromJson for bool {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        match json {
            Json::Bool(value) => Ok(value),
            found => Err(InvalidRequest::value("true or false", found)),
        }
    }
}

impl FromJson for f64 {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        if let Json::Number(number) = &json
            && let Some(value) = number.as_f64()
        {
            return Ok(value);
        }
        Err(InvalidRequest::value("a number", json))
    }
}

impl FromJson for u64 {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        if let Json::Number(number) = &json
            && let Some(value) = number.as_u64()
        {
            return Ok(value);
        }
        let expected = format!("a whole number from 0 to {}", u64::MAX);
        Err(InvalidRequest::value(expected, json))
    }
}

impl FromJson for String {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        match json {
            Json::Text(text) => Ok(text),
            found => Err(InvalidRequest::value("a string", found)),
        }
    }
}

/// Fields of a JSON object, which are taken by name.
#[derive(Debug)]
pub struct JsonFields(Vec<(String, Json)>);

impl JsonFields {
    /// The fields of an object that has no others than `names`.
    ///
    /// # Errors
    /// [`InvalidRequest`] if it is no object, or has an unknown or repeated name.
    pub fn new(json: Json, names: &[&str]) -> Result<Self, InvalidRequest> {
        let Json::Object(fields) = json else {
            return Err(InvalidRequest::value("a JSON object", json));
        };
        let mut found = vec![false; names.len()];
        for (name, _) in &fields {
            let Some(at) = names.iter().position(|known| known == name) else {
                let name: String = name.chars().take(SHOWN).collect();
                return Err(InvalidRequest::new(format!(
                    "unknown field `{}`; expected one of {}",
                    name.escape_debug(),
                    names.join(", ")
                )));
            };
            if std::mem::replace(&mut found[at], true) {
                return Err(InvalidRequest::new(format!(
                    "{name} is given twice; give it once"
                )));
            }
        }
        Ok(Self(fields))
    }

    /// Takes a field; `None` if it is absent or null.
    ///
    /// # Errors
    /// [`InvalidRequest`] if its value is of another type.
    pub fn take<T: FromJson>(&mut self, name: &str) -> Result<Option<T>, InvalidRequest> {
        match self.value(name) {
            Json::Null => Ok(None),
            json => match T::from_json(json) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(error.within(name)),
            },
        }
    }

    /// Takes a list; `None` if it is absent or null. `of` names its values in an error.
    ///
    /// # Errors
    /// [`InvalidRequest`] if it is no list, or a value in it is of another type.
    pub fn take_list<T: FromJson>(
        &mut self,
        name: &str,
        of: &str,
    ) -> Result<Option<Vec<T>>, InvalidRequest> {
        let list = match self.value(name) {
            Json::Null => return Ok(None),
            Json::List(list) => list,
            found => {
                let expected = format!("a list of {of}");
                return Err(InvalidRequest::field(name, expected, found));
            }
        };
        let mut values = Vec::with_capacity(list.len());
        for (i, json) in list.into_iter().enumerate() {
            match T::from_json(json) {
                Ok(value) => values.push(value),
                Err(error) => return Err(error.within(&format!("{name}[{i}]"))),
            }
        }
        Ok(Some(values))
    }

    fn value(&mut self, name: &str) -> Json {
        let at = self.0.iter().position(|(found, _)| found == name);
        at.map_or(Json::Null, |at| self.0.swap_remove(at).1)
    }
}
