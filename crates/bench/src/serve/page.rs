//! The page of `prl-bench serve`, from its stored lines.

use prl_bench::jsonl::{cell, number, text};
use prl_report::markdown_table;
use serde_json::Value;

const LOAD_HEADER: [&str; 11] = [
    "encoder",
    "items",
    "first pass",
    "requests/s",
    "seconds",
    "answered/s",
    "failed",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "max ms",
];
/// JSON keys of the columns after encoder and items, with their decimals.
const LOAD_KEYS: [(&str, usize); 8] = [
    ("rate", 0),
    ("seconds", 0),
    ("answered_per_second", 0),
    ("failed", 0),
    ("p50_ms", 2),
    ("p90_ms", 2),
    ("p99_ms", 2),
    ("max_ms", 2),
];
const SINGLE_HEADER: [&str; 7] = [
    "encoder",
    "items",
    "first pass",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "of it inference, mean",
];
const SINGLE_KEYS: [(&str, usize); 4] = [
    ("p50_ms", 3),
    ("p90_ms", 3),
    ("p99_ms", 3),
    ("mean_inference_ms", 3),
];

/// The page in Markdown.
pub fn render(lines: &[Value]) -> String {
    let mut memory = Vec::new();
    for line in lines {
        if line["kind"] == "memory" {
            memory.push(vec![
                text(&line["encoder"]),
                text(&line["items"]),
                first_pass(line),
                text(&line["when"]),
                cell(number(&line["memory"]["now_mb"]), 0),
                cell(number(&line["memory"]["peak_mb"]), 0),
            ]);
        }
    }
    format!(
        "# Serving\n\n\
         PRL on each encoder, window length 10, hidden size 64, the whole catalogue scored, top 20, the \
         session's own items excluded, sessions of 1 to 10 items. The first pass in 8 bits, which \
         changes no list, is left out (never) or used on large catalogues (auto). The load generator sends at a constant \
         rate on 32 connections and shares the machine's cores with the server; a latency counts from \
         the time at which the request was due. [Raw lines](serve.jsonl).\n\n{}\n\
         One rate, held:\n\n{}\nUp to saturation:\n\n{}\n\
         One recommendation in process, raw ids in and out, one after another:\n\n{}\n\
         The server's memory, MB:\n\n{}\n{}",
        machines(lines),
        markdown_table(&LOAD_HEADER, 1, &rows(lines, "hold", &LOAD_KEYS)),
        markdown_table(&LOAD_HEADER, 1, &rows(lines, "rate", &LOAD_KEYS)),
        markdown_table(&SINGLE_HEADER, 1, &rows(lines, "one", &SINGLE_KEYS)),
        markdown_table(
            &["encoder", "items", "first pass", "when", "now", "peak"],
            1,
            &memory
        ),
        super::stores::section(lines),
    )
}

/// Whether a line was measured with a first pass; older ones were not.
fn first_pass(line: &Value) -> String {
    line["first_pass"].as_str().unwrap_or("never").to_owned()
}

/// Rows of the lines of one kind.
fn rows(lines: &[Value], kind: &str, keys: &[(&str, usize)]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for line in lines {
        if line["kind"] == kind {
            let mut cells = vec![
                text(&line["encoder"]),
                text(&line["items"]),
                first_pass(line),
            ];
            for &(key, decimals) in keys {
                cells.push(cell(number(&line[key]), decimals));
            }
            rows.push(cells);
        }
    }
    rows
}

/// Lists of the machines' facts, an empty line between machines.
fn machines(lines: &[Value]) -> String {
    let mut text = String::new();
    let mut last = &Value::Null;
    for line in lines {
        let machine = &line["machine"];
        if machine == last {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        last = machine;
        for fact in machine.as_array().into_iter().flatten() {
            text += &format!("- {}\n", fact.as_str().unwrap_or_default());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(kind: &str, mut line: Value) -> Value {
        line["kind"] = kind.into();
        line["encoder"] = "gru".into();
        line["items"] = 5.into();
        line["machine"] = json!(["processor: x, 2 cores"]);
        line
    }

    #[test]
    fn page_has_every_measurement() {
        let load = json!({
            "rate": 1000, "seconds": 60, "answered_per_second": 999.6, "failed": 0, "p50_ms": 0.5,
            "p90_ms": 1.0, "p99_ms": 2.0, "max_ms": 3.0,
        });
        let single =
            json!({"p50_ms": 0.25, "p90_ms": 0.3, "p99_ms": 0.4, "mean_inference_ms": 0.2});
        let memory = json!({"when": "started", "memory": {"now_mb": 90.4, "peak_mb": 100.0}});
        let page = render(&[
            line("one", single),
            line("hold", load.clone()),
            line("rate", load),
            line("memory", memory),
        ]);
        let row = "| gru | 5 | never | 1000 | 60 | 1000 | 0 | 0.50 | 1.00 | 2.00 | 3.00 |";
        assert_eq!(page.matches(row).count(), 2);
        assert!(page.contains("| gru | 5 | never | 0.250 | 0.300 | 0.400 | 0.200 |"));
        assert!(page.contains("| gru | 5 | never | started | 90 | 100 |"));
        assert_eq!(page.matches("- processor: x, 2 cores").count(), 1);
    }
}
