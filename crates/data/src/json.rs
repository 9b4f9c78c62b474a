//! JSON values that borrow from their text. Objects keep every key, so that a repeated one is
//! found.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Whole(i64),
    /// Number above the range of [`Json::Whole`].
    Large(u64),
    Real(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// The value as JSON, for messages.
    pub(crate) fn shown(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Bool(value) => value.to_string(),
            Json::Whole(value) => value.to_string(),
            Json::Large(value) => value.to_string(),
            Json::Real(value) => value.to_string(),
            Json::Text(value) => value.to_string(),
            Json::List(values) => format!("a list of {}", values.len()),
            Json::Object(_) => "an object".into(),
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(match i64::try_from(value) {
            Ok(value) => Json::Whole(value),
            Err(_) => Json::Large(value),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Real(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = object.next_key::<Json<'de>>()? {
            let Json::Text(key) = key else {
                continue;
            };
            fields.push((key, object.next_value()?));
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_type_are_read() {
        let text =
            r#"{"a": [null, true, -1, 18446744073709551615, 1.5, "é", "\u00e9"], "b": {}, "b": 1}"#;
        let text_of = |text: &'static str| Json::Text(text.into());
        let list = vec![
            Json::Null,
            Json::Bool(true),
            Json::Whole(-1),
            Json::Large(u64::MAX),
            Json::Real(1.5),
            text_of("é"),
            text_of("é"),
        ];
        let expected = Json::Object(vec![
            ("a".into(), Json::List(list)),
            ("b".into(), Json::Object(Vec::new())),
            ("b".into(), Json::Whole(1)),
        ]);
        assert_eq!(serde_json::from_str::<Json<'_>>(text).unwrap(), expected);
        for text in ["", "{", "NaN", "{'a': 1}", "[1,]", "1 2", "\"\\ud800\""] {
            assert!(serde_json::from_str::<Json<'_>>(text).is_err(), "{text}");
        }
    }
}
