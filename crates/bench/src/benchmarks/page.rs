//! The page of the benchmarks.

use prl_bench::jsonl::{cell, number, text};
use prl_experiments::Machine;
use prl_report::markdown_table;
use serde_json::Value;

use super::published::{BENCHMARKS, Benchmark};
use crate::cells::provenance;

/// The page of these cells.
pub fn page(lines: &[Value], machine: &Machine) -> String {
    let mut page = format!(
        "# Public click benchmarks\n\n\
         Recall@20 and MRR@20 in percent on the published test part: first events are not cases, \
         all items are ranked, nothing is excluded, ties count against the target. The number of \
         epochs was chosen on the last {} of the training sessions, then the run was trained \
         on all of them for as many epochs and evaluated once. Every encoder is trained with \
         cross-entropy (the method `normal`) and the default flags of its recipe{}. The blend is of \
         `core` and `gru` under the recipe modern and the tuned session-kNN; its weights were \
         chosen on the same held-out sessions. Mean over the seeds, with their range. Seconds and \
         memory are of the last training, on one thread, beside another cell. [Raw \
         lines](cells.jsonl), a cell each.\n\n{}",
        each_value(lines, "hold_out", |share| format!(
            "{:.0} %",
            100.0 * number(share)
        )),
        each_value(lines, "bf16_head", |is_bf16| match is_bf16.as_bool() {
            Some(true) => " and `--bf16-head`".to_owned(),
            _ => String::new(),
        }),
        provenance(machine, lines)
    );
    for benchmark in BENCHMARKS {
        let of_benchmark = |line: &&Value| line["benchmark"] == benchmark.name;
        let lines: Vec<&Value> = lines.iter().filter(of_benchmark).collect();
        if !lines.is_empty() {
            page += &section(benchmark, &lines);
        }
    }
    page + "\n```sh\ncargo xtask benchmarks --bf16-head      # a finished cell is not repeated\n```\n"
}

/// The distinct values of a key over the lines of trained systems, written by `write`.
fn each_value(lines: &[Value], key: &str, write: impl Fn(&Value) -> String) -> String {
    let mut written: Vec<String> = Vec::new();
    for line in lines {
        // A baseline trains nothing, so that no setting of a training is one of its own.
        if line["epochs"].is_null() {
            continue;
        }
        let value = write(&line[key]);
        if !written.contains(&value) {
            written.push(value);
        }
    }
    written.join(" or ")
}

fn section(benchmark: &Benchmark, lines: &[&Value]) -> String {
    let mut systems: Vec<String> = Vec::new();
    for line in lines {
        let system = text(&line["system"]);
        if !systems.contains(&system) {
            systems.push(system);
        }
    }
    let mut rows = Vec::new();
    for system in &systems {
        let of_system = |line: &&&Value| line["system"] == system.as_str();
        let lines: Vec<&Value> = lines.iter().filter(of_system).copied().collect();
        rows.push((mean(&lines, "recall@20"), row(system, &lines)));
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    let header = [
        "",
        "Recall@20",
        "MRR@20",
        "seeds",
        "epochs",
        "seconds",
        "MB",
    ];
    let mut section = format!(
        "\n## {}\n\n{} {} cases.\n\n{}",
        benchmark.title,
        benchmark.note,
        text(&lines[0]["cases"]),
        markdown_table(&header, 1, &rows)
    );
    let mut rows = Vec::new();
    for published in benchmark.published {
        let mut row = vec![published.model.to_owned()];
        row.extend(published.figures.map(str::to_owned));
        row.push(published.source.to_owned());
        rows.push(row);
    }
    if !rows.is_empty() {
        let header = ["published", "Recall@20", "MRR@20", "source"];
        section += &format!("\n{}", markdown_table(&header, 1, &rows));
    }
    section
}

/// Cells of one system.
fn row(system: &str, lines: &[&Value]) -> Vec<String> {
    let mut row = vec![
        system
            .replace("-modern", ", modern")
            .replace("-paper", ", paper"),
    ];
    for metric in ["recall@20", "mrr@20"] {
        row.push(with_range(lines, metric));
    }
    row.push(lines.len().to_string());
    let mut epochs: Vec<String> = Vec::new();
    for line in lines {
        epochs.push(cell(number(&line["epochs"]), 0));
    }
    epochs.dedup();
    row.push(epochs.join(", "));
    row.push(cell(mean(lines, "seconds"), 0));
    row.push(cell(mean(lines, "peak_mb"), 0));
    row
}

fn mean(lines: &[&Value], key: &str) -> f64 {
    let mut sum = 0.0;
    for line in lines {
        sum += number(&line[key]);
    }
    sum / lines.len() as f64
}

/// Mean of a metric in percent, with the range over several seeds.
fn with_range(lines: &[&Value], metric: &str) -> String {
    let mean = 100.0 * mean(lines, metric);
    if lines.len() == 1 {
        return cell(mean, 2);
    }
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for line in lines {
        let value = 100.0 * number(&line[metric]);
        (low, high) = (low.min(value), high.max(value));
    }
    format!("{mean:.2} ({low:.2} to {high:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn row_has_the_mean_and_the_range_of_the_seeds() {
        let line = |recall: f64| json!({"recall@20": recall, "mrr@20": 0.25, "epochs": 4.0});
        let (a, b) = (line(0.5), line(0.51));
        let found = row("core-modern", &[&a, &b]);
        let expected = [
            "core, modern",
            "50.50 (50.00 to 51.00)",
            "25.00 (25.00 to 25.00)",
            "2",
            "4",
            "-",
            "-",
        ];
        assert_eq!(found, expected);
        assert_eq!(row("popularity", &[&a])[1], "50.00");
    }
}
