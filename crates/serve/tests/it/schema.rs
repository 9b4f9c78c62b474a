//! Validation of JSON against the part of JSON Schema that the OpenAPI document uses.

use std::net::SocketAddr;
use std::sync::OnceLock;

use serde_json::Value;

use crate::common::http::{Reply, send};

/// The server's OpenAPI document.
pub fn document(addr: SocketAddr) -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| send(addr, "GET", "/openapi.json", &[], "").json())
}

/// Schema of a JSON request body (`status` none) or of a response.
pub fn of<'a>(document: &'a Value, operation: &'a Value, status: Option<u16>) -> &'a Value {
    let holder = match status {
        None => &operation["requestBody"],
        Some(status) => &operation["responses"][status.to_string()],
    };
    let content = resolve(document, holder)["content"].as_object();
    let content = content.unwrap_or_else(|| panic!("no content for {status:?} in {operation}"));
    &content.values().next().unwrap()["schema"]
}

/// Follows references.
pub fn resolve<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(reference) = schema["$ref"].as_str() {
        schema = document
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} does not exist"));
    }
    schema
}

/// Checks a value against a schema; the error names the place and the cause.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(options) = schema["oneOf"].as_array() {
        let valid = options
            .iter()
            .filter(|option| check(document, option, value).is_ok());
        return match valid.count() {
            1 => Ok(()),
            n => Err(format!(
                "{value} matches {n} of {} alternatives",
                options.len()
            )),
        };
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let is_valid = |option: &Value| check(document, option, value).is_ok();
        if !options.iter().any(is_valid) {
            return Err(format!("{value} matches no alternative"));
        }
    }
    if !schema["not"].is_null() && check(document, &schema["not"], value).is_ok() {
        return Err(format!("{value} matches what is excluded"));
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        return Err(format!("{value} is not {}", schema["const"]));
    }
    check_type(schema, value)?;
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{value} is not one of {allowed:?}"));
    }
    let number = value.as_f64();
    let length = match value {
        Value::String(text) => Some(text.len()),
        Value::Array(items) => Some(items.len()),
        _ => None,
    };
    if let (Some(least), Value::Array(items)) = (schema["minItems"].as_u64(), value)
        && (items.len() as u64) < least
    {
        return Err(format!("{} items, at least {least}", items.len()));
    }
    let bounds = [
        ("minimum", number, -1.0),
        ("maximum", number, 1.0),
        ("maxLength", length.map(|n| n as f64), 1.0),
        ("maxItems", length.map(|n| n as f64), 1.0),
    ];
    for (name, found, sign) in bounds {
        if let (Some(bound), Some(found)) = (schema[name].as_f64(), found)
            && found * sign > bound * sign
        {
            return Err(format!("{found} violates {name} {bound}"));
        }
    }
    match value {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                check(document, &schema["items"], item).map_err(|e| format!("[{i}]: {e}"))?;
            }
            Ok(())
        }
        Value::Object(fields) => check_fields(document, schema, fields),
        _ => Ok(()),
    }
}

fn check_type(schema: &Value, value: &Value) -> Result<(), String> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.as_f64().is_some_and(|n| n.fract() == 0.0) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    if types.contains(&found) || found == "integer" && types.contains(&"number") {
        return Ok(());
    }
    Err(format!("{value} is not of type {types:?}"))
}

fn check_fields(
    document: &Value,
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, value) in fields {
        let property = &schema["properties"][name];
        if property.is_null() && schema["additionalProperties"] == false {
            return Err(format!("unknown field {name}"));
        }
        check(document, property, value).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// Asserts that a request that succeeded and any JSON response match the document.
pub fn check_exchange(document: &Value, method: &str, url: &str, body: &Value, reply: &Reply) {
    let path = url.split('?').next().unwrap();
    let Some(operation) = operation(document, method, path) else {
        return;
    };
    if !body.is_null() && reply.status == 200 {
        let checked = check(document, of(document, operation, None), body);
        checked.unwrap_or_else(|e| panic!("{method} {url} {body}: {e}"));
    }
    let content_type = reply.header("content-type").unwrap_or_default();
    if content_type.ends_with("json") {
        let schema = of(document, operation, Some(reply.status));
        let checked = check(document, schema, &reply.json());
        checked.unwrap_or_else(|e| panic!("{method} {url}: {e} in {reply:?}"));
    }
}

/// The operation of a path; parameters in braces match any one segment.
fn operation<'a>(document: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let segments: Vec<&str> = path.split('/').collect();
    for (pattern, methods) in document["paths"].as_object()? {
        let pattern: Vec<&str> = pattern.split('/').collect();
        let mut pairs = pattern.iter().zip(&segments);
        if pattern.len() == segments.len() && pairs.all(|(p, s)| p.starts_with('{') || p == s) {
            return methods.get(method);
        }
    }
    None
}
