//! The filter by properties in a request.

use std::collections::BTreeMap;

use prl_items::Where;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{FromJson, InvalidRequest, Json, MAX_LIMITS};

impl FromJson for Where {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        Ok(Self::from_json(&plain(json)?)?)
    }
}

/// Limits of the number of items of one value, by column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct MaxPer(pub BTreeMap<String, u64>);

impl FromJson for MaxPer {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        let expected = "an object of whole numbers from 1 by column";
        let Json::Object(fields) = json else {
            return Err(InvalidRequest::value(expected, json));
        };
        let mut limits = BTreeMap::new();
        for (column, json) in fields {
            let limit = match &json {
                Json::Number(number) => number.as_u64().filter(|&limit| limit > 0),
                _ => None,
            };
            let Some(limit) = limit else {
                return Err(InvalidRequest::value(expected, json).within(&column));
            };
            if limits.insert(column.clone(), limit).is_some() {
                let message = format!("{column:?} is given twice; give it once");
                return Err(InvalidRequest::new(message));
            }
        }
        if limits.len() > MAX_LIMITS {
            let expected = format!("at most {MAX_LIMITS} columns");
            return Err(InvalidRequest::value(expected, limits.len()));
        }
        Ok(Self(limits))
    }
}

/// The value without repeated names.
pub(super) fn plain(json: Json) -> Result<Value, InvalidRequest> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => value.into(),
        Json::Number(number) => number.into(),
        Json::Text(text) => text.into(),
        Json::List(list) => {
            let mut values = Vec::with_capacity(list.len());
            for json in list {
                values.push(plain(json)?);
            }
            values.into()
        }
        Json::Object(fields) => {
            let mut object = Map::with_capacity(fields.len());
            for (name, json) in fields {
                let value = plain(json)?;
                if object.contains_key(&name) {
                    let message = format!("{name:?} is given twice; give it once");
                    return Err(InvalidRequest::new(message));
                }
                object.insert(name, value);
            }
            object.into()
        }
    })
}

impl Json {
    /// The value without repeated names, as serde_json has it.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a name that an object has twice.
    pub fn into_plain(self) -> Result<Value, InvalidRequest> {
        plain(self)
    }
}
