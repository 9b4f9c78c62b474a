//! Events of one JSON object: an event, a session with a list of events, or a session with a list
//! for each field.

use std::borrow::Cow;

use crate::json::Json;

/// Events of an object.
pub(crate) struct Rows<'a, 'b> {
    /// True for a session, whose events are in a list; false for one event.
    pub is_session: bool,
    /// Value of each field that is looked for, per event.
    pub rows: Vec<Vec<Option<&'b Json<'a>>>>,
}

/// Fault of an object: the field, what it holds, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldFault {
    pub field: String,
    pub found: String,
    pub expected: String,
}

type Fields<'a> = [(Cow<'a, str>, Json<'a>)];

/// Finds the fields `names` of every event of an object. A field that is absent is `None`.
pub(crate) fn rows<'a, 'b>(
    object: &'b Fields<'a>,
    names: &[String],
) -> Result<Rows<'a, 'b>, FieldFault> {
    let mut outer = Vec::with_capacity(names.len());
    for name in names {
        outer.push(lookup(object, name)?);
    }
    match list_of_events(object, names, &outer)? {
        Some((key, events)) => rows_of_objects(key, events, names, &outer),
        None => rows_of_lists(names, outer),
    }
}

/// Value of the field `name`: the key itself, or a path of keys with dots between.
fn lookup<'a, 'b>(object: &'b Fields<'a>, name: &str) -> Result<Option<&'b Json<'a>>, FieldFault> {
    let mut found = None;
    for (key, value) in object {
        if key == name && found.replace(value).is_some() {
            return Err(FieldFault {
                field: name.to_owned(),
                found: "the field twice".into(),
                expected: "one value".into(),
            });
        }
    }
    if found.is_some() {
        return Ok(found);
    }
    let Some((first, rest)) = name.split_once('.') else {
        return Ok(None);
    };
    match lookup(object, first)? {
        Some(Json::Object(inner)) => lookup(inner, rest),
        _ => Ok(None),
    }
}

/// List of objects that hold a field which the object itself does not have; its key is returned
/// with it. A name such as `events.item` gives the key itself.
fn list_of_events<'a, 'b>(
    object: &'b Fields<'a>,
    names: &[String],
    outer: &[Option<&Json<'_>>],
) -> Result<Option<(&'b str, &'b [Json<'a>])>, FieldFault> {
    let mut found: Option<(&str, &[Json<'_>])> = None;
    let mut empty = None;
    for (key, value) in object {
        let Json::List(elements) = value else {
            continue;
        };
        if elements.is_empty() {
            empty = Some((key.as_ref(), elements.as_slice()));
            continue;
        }
        let mut has_field = false;
        for (name, outer) in names.iter().zip(outer) {
            let inner = name
                .strip_prefix(key.as_ref())
                .and_then(|n| n.strip_prefix('.'));
            has_field |= inner.is_some() && is_of_objects(elements);
            has_field |= outer.is_none() && has_in_first(elements, name)?;
        }
        if !has_field {
            continue;
        }
        if let Some((first, _)) = found {
            return Err(FieldFault {
                field: key.to_string(),
                found: format!("lists of events in {first:?} and {key:?}"),
                expected: format!("one list; name the fields of one, such as item={first}.item"),
            });
        }
        found = Some((key, elements));
    }
    // An object that lacks one field is an event without it; one that lacks more is a session,
    // whose events are an empty list.
    let absent = outer.iter().filter(|value| value.is_none()).count();
    Ok(found.or(empty.filter(|_| absent > 1)))
}

fn is_of_objects(elements: &[Json<'_>]) -> bool {
    matches!(elements.first(), Some(Json::Object(_)))
}

/// True if the first element is an object with the field.
fn has_in_first(elements: &[Json<'_>], name: &str) -> Result<bool, FieldFault> {
    match elements.first() {
        Some(Json::Object(fields)) => Ok(lookup(fields, name)?.is_some()),
        _ => Ok(false),
    }
}

/// Rows of a list of objects. A field that an element lacks is taken from the object around it.
fn rows_of_objects<'a, 'b>(
    key: &str,
    events: &'b [Json<'a>],
    names: &[String],
    outer: &[Option<&'b Json<'a>>],
) -> Result<Rows<'a, 'b>, FieldFault> {
    let mut rows = Vec::with_capacity(events.len());
    for event in events {
        let Json::Object(fields) = event else {
            return Err(FieldFault {
                field: key.to_owned(),
                found: event.shown(),
                expected: "an object, as the events before it".into(),
            });
        };
        let mut row = Vec::with_capacity(names.len());
        for (name, outer) in names.iter().zip(outer) {
            let inner = name
                .strip_prefix(key)
                .and_then(|rest| rest.strip_prefix('.'));
            let value = lookup(fields, inner.unwrap_or(name))?;
            row.push(value.or(*outer));
        }
        rows.push(row);
    }
    Ok(Rows {
        is_session: true,
        rows,
    })
}

/// Rows of an object whose fields are lists of one length, or values that all events share. Without
/// a list the object is one event.
fn rows_of_lists<'a, 'b>(
    names: &[String],
    outer: Vec<Option<&'b Json<'a>>>,
) -> Result<Rows<'a, 'b>, FieldFault> {
    let mut lists: Option<(&str, usize)> = None;
    for (name, value) in names.iter().zip(&outer) {
        let Some(Json::List(values)) = value else {
            continue;
        };
        match lists {
            None => lists = Some((name, values.len())),
            Some((first, length)) if length != values.len() => {
                return Err(FieldFault {
                    field: name.clone(),
                    found: format!("a list of {}", values.len()),
                    expected: format!("a list of {length}, as in {first:?}"),
                });
            }
            Some(_) => {}
        }
    }
    let Some((_, length)) = lists else {
        return Ok(Rows {
            is_session: false,
            rows: vec![outer],
        });
    };
    let mut rows = Vec::with_capacity(length);
    for i in 0..length {
        let mut row = Vec::with_capacity(outer.len());
        for value in &outer {
            row.push(match value {
                Some(Json::List(values)) => values.get(i),
                shared => *shared,
            });
        }
        rows.push(row);
    }
    Ok(Rows {
        is_session: true,
        rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of an object, each as the values of s, i and t.
    fn read(names: [&str; 3], text: &str) -> Result<Vec<[String; 3]>, FieldFault> {
        let Json::Object(object) = serde_json::from_str(text).unwrap() else {
            panic!("no object: {text}");
        };
        let mut events = Vec::new();
        for row in rows(&object, &names.map(str::to_owned))?.rows {
            let mut event = [const { String::new() }; 3];
            for (shown, value) in event.iter_mut().zip(row) {
                *shown = value.map_or("-".into(), Json::shown);
            }
            events.push(event);
        }
        Ok(events)
    }

    fn events(expected: &[[&str; 3]]) -> Result<Vec<[String; 3]>, FieldFault> {
        Ok(expected
            .iter()
            .map(|event| event.map(str::to_owned))
            .collect())
    }

    #[test]
    fn object_is_an_event_a_session_of_objects_or_a_session_of_lists() {
        let names = ["s", "i", "t"];
        let two = events(&[["7", "a", "1"], ["7", "b", "2"]]);
        assert_eq!(
            read(names, r#"{"t": 1, "s": 7, "x": [], "i": "a"}"#),
            events(&[["7", "a", "1"]])
        );
        let nested =
            r#"{"s": 7, "tags": ["x"], "events": [{"i": "a", "t": 1}, {"t": 2, "i": "b"}]}"#;
        assert_eq!(read(names, nested), two);
        assert_eq!(
            read(names, r#"{"s": 7, "i": ["a", "b"], "t": [1, 2]}"#),
            two
        );
        assert_eq!(
            read(names, r#"{"s": 7, "i": ["a"], "t": 1}"#),
            events(&[["7", "a", "1"]])
        );
        assert_eq!(read(names, r#"{"s": 7, "events": []}"#), events(&[]));
        assert_eq!(read(names, r#"{"s": 7, "i": [], "t": []}"#), events(&[]));
        assert_eq!(
            read(names, r#"{"s": 7, "t": 1}"#),
            events(&[["7", "-", "1"]])
        );
        let tagged = r#"{"s": 7, "t": 1, "tags": []}"#;
        assert_eq!(read(names, tagged), events(&[["7", "-", "1"]]));
        let nested = nested.replace("[\"x\"]", "[]");
        assert_eq!(read(names, &nested), two);
    }

    #[test]
    fn field_of_an_event_comes_before_that_of_its_session() {
        let text = r#"{"s": 7, "t": 5, "events": [{"i": "a"}, {"i": "b", "t": 2}]}"#;
        let expected = events(&[["7", "a", "5"], ["7", "b", "2"]]);
        assert_eq!(read(["s", "i", "t"], text), expected);
    }

    #[test]
    fn path_with_dots_names_a_nested_field_or_the_list() {
        let text =
            r#"{"user": {"id": 7}, "views": [{"i": "a", "t": 1}], "buys": [{"i": "b", "t": 2}]}"#;
        let names = ["user.id", "buys.i", "buys.t"];
        assert_eq!(read(names, text), events(&[["7", "b", "2"]]));
        let fault = read(["user.id", "i", "t"], text).unwrap_err();
        assert!(fault.found.contains("\"views\" and \"buys\""), "{fault:?}");
        let flat = r#"{"user.id": 7, "i": "a", "t": 1}"#;
        assert_eq!(
            read(["user.id", "i", "t"], flat),
            events(&[["7", "a", "1"]])
        );
    }

    #[test]
    fn fault_names_its_field() {
        let fault = |text: &str| read(["s", "i", "t"], text).unwrap_err();
        let uneven = fault(r#"{"s": 7, "i": ["a", "b"], "t": [1]}"#);
        assert_eq!(
            (uneven.field.as_str(), uneven.found.as_str()),
            ("t", "a list of 1")
        );
        assert_eq!(fault(r#"{"s": 7, "i": 1, "i": 2, "t": 1}"#).field, "i");
        let mixed = fault(r#"{"s": 7, "events": [{"i": 1, "t": 1}, 5]}"#);
        assert_eq!(
            (mixed.field.as_str(), mixed.found.as_str()),
            ("events", "5")
        );
    }
}
