//! The reference of the HTTP interface, of the OpenAPI document of a running server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::output;

const HEAD: &str = "# HTTP interface

<!-- Written by `cargo xtask book`. -->

The routes of `prl serve` and their fields, from its OpenAPI document at `/openapi.json`.
";

/// The commands that make a run to serve.
const SETUP: [&str; 3] = [
    "synth --like tiny --out raw",
    "prepare --source retailrocket --input raw/events.csv --out data",
    "train --data data --dim 8 --max-steps 1 --no-validation --out run",
];

/// A server that ends with its value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // A server that has ended already is as good.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The page.
pub(super) fn page(prl: &Path) -> Result<String> {
    let document: Value = serde_json::from_str(&document(prl)?)?;
    let mut page = HEAD.to_owned();
    page += "\n## Routes\n\n| route | what it does |\n|---|---|\n";
    for (path, methods) in object(&document["paths"]) {
        for (method, operation) in object(&methods) {
            let summary = first_line(&operation["summary"]);
            page += &format!("| `{} {path}` | {summary} |\n", method.to_uppercase());
        }
    }
    page += "\n## Objects\n";
    for (name, schema) in object(&document["components"]["schemas"]) {
        let properties = object(&schema["properties"]);
        if properties.is_empty() {
            continue;
        }
        page += &format!("\n### {name}\n\n");
        let about = first_line(&schema["description"]);
        if !about.is_empty() {
            page += &format!("{about}\n\n");
        }
        page += "| field | type | meaning |\n|---|---|---|\n";
        for (field, property) in properties {
            let meaning = property["description"].as_str().unwrap_or_default();
            let meaning = cell(meaning);
            page += &format!(
                "| `{field}` | {} | {meaning} |\n",
                cell(&type_of(&property))
            );
        }
    }
    Ok(page)
}

/// The OpenAPI document of a server.
fn document(prl: &Path) -> Result<String> {
    let dir = std::env::temp_dir().join(format!("prl-reference-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let document = document_in(prl, &dir);
    std::fs::remove_dir_all(&dir)?;
    document
}

fn document_in(prl: &Path, dir: &Path) -> Result<String> {
    for line in SETUP {
        let args: Vec<&str> = line.split(' ').collect();
        output(prl, &args, dir)?;
    }
    let mut command = Command::new(prl);
    command.args(["serve", "--run", "run", "--addr", "127.0.0.1:0"]);
    command.current_dir(dir).stderr(Stdio::piped());
    let mut server = Server(command.spawn()?);
    let stderr = server.0.stderr.take().context("the server has no stderr")?;
    let mut said = String::new();
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        if let Some((_, address)) = line.split_once("listening on http://") {
            return get(address.trim().trim_end_matches('/'), "/openapi.json");
        }
        said += &line;
    }
    bail!("the server did not start: {said}")
}

/// The body of a page of a server.
fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .context("not an HTTP response")?;
    if !head.contains(" 200 ") {
        bail!("GET {path}: {head}");
    }
    Ok(body.to_owned())
}

/// The fields of an object; none of another value.
fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn first_line(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    cell(text.lines().next().unwrap_or_default())
}

/// A text as the cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// Type of a property, or the name of its schema.
fn type_of(property: &Value) -> String {
    if let Some(name) = property["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = property[choice].as_array() {
            let mut names: Vec<String> = parts.iter().map(type_of).collect();
            names.dedup();
            return names.join(" or ");
        }
    }
    let name = match &property["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            names.join(" or ")
        }
        _ => "any".into(),
    };
    match name.starts_with("array") {
        true => format!("{name} of {}", type_of(&property["items"])),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_of_properties_are_named() {
        let list = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Item" } });
        assert_eq!(type_of(&list), "array of Item");
        let nullable = json!({ "type": ["number", "null"] });
        assert_eq!(type_of(&nullable), "number or null");
        let choice = json!({ "oneOf": [{ "type": "null" }, { "$ref": "#/a/B" }] });
        assert_eq!(type_of(&choice), "null or B");
        assert_eq!(cell("a | b\nc"), "a \\| b c");
    }
}
