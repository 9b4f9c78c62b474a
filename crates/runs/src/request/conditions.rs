//! The filter by properties in a request.

use prl_items::Where;
use serde_json::{Map, Value};

use super::{FromJson, InvalidRequest, Json};

impl FromJson for Where {
    fn from_json(json: Json) -> Result<Self, InvalidRequest> {
        Ok(Self::from_json(&plain(json)?)?)
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
