//! The page of what prompts return.

use prl_bench::jsonl::{cell, number, text};
use prl_experiments::Machine;
use prl_report::markdown_table;
use serde_json::Value;

use crate::cells::provenance;

/// The page of these worlds.
pub fn page(lines: &[Value], machine: &Machine) -> String {
    let mut page = format!(
        "# What a prompt returns\n\n\
         In the [simulated shop](../../docs/simulator.md), whose truth is known. The runs are \
         trained on its log of {} sessions: `normal`, `prl` and `weighted` (PRL with the loss \
         weighted by the reward, which couples the prompt to bought items) with the modern recipe \
         and the encoder `core`; `paper-normal` and `paper` (PRL) with the paper's recipe and the \
         encoder `gru`. {} visitors of another seed are shown the lists of each arm, 20 items \
         without those of the session; visitor n has the same random numbers under each arm, so \
         that differences are of pairs. `state_quantile` and `kappa` are adaptive: the target \
         return is taken from the forecast of this session's own return. `best-fit` and `best-buy` \
         know the visitor's hidden taste; `none` shows no lists. Everything is counted from the \
         first list of a session on: return in rewards (.2 a click, 1 a purchase), money in prices. \
         95 % intervals. [Raw lines](worlds.jsonl), a world each.\n\n{}",
        text(&lines[0]["log_sessions"]),
        text(&lines[0]["sessions"]),
        provenance(machine, lines)
    );
    if let Some(base) = lines.iter().find(|line| line["world"] == "base") {
        page += &of_world(base);
    }
    page += &over_worlds(lines, "return", "Return");
    page += &over_worlds(lines, "money", "Money");
    page += &adaptive(lines);
    page + "\n```sh\ncargo xtask bench value      # a finished world is not repeated\n```\n"
}

fn list<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().map_or(&[], Vec::as_slice)
}

/// A mean with its interval.
fn with_interval(mean: &Value, decimals: usize) -> String {
    let ends = ["low", "high"].map(|end| cell(number(&mean[end]), decimals));
    format!(
        "{} ({} to {})",
        cell(number(&mean["mean"]), decimals),
        ends[0],
        ends[1]
    )
}

/// All arms of one world.
fn of_world(line: &Value) -> String {
    let report = &line["report"];
    let differences = list(report, "differences");
    let mut rows = Vec::new();
    for arm in list(report, "arms") {
        let mut row = vec![text(&arm["arm"])];
        for key in ["return", "money", "purchases", "list_clicks"] {
            row.push(cell(number(&arm[key]["mean"]), 3));
        }
        let difference = differences.iter().find(|d| d["arm"] == arm["arm"]);
        for key in ["return", "money"] {
            let shown = difference.map(|difference| with_interval(&difference[key], 3));
            row.push(shown.unwrap_or_default());
        }
        rows.push(row);
    }
    let header = [
        "world base",
        "return",
        "money",
        "purchases",
        "clicks in lists",
        "return less normal",
        "money less normal",
    ];
    format!("\n## Each arm\n\n{}", markdown_table(&header, 1, &rows))
}

/// Whether an interval is on one side of zero.
fn is_significant(mean: &Value) -> bool {
    number(&mean["low"]) > 0.0 || number(&mean["high"]) < 0.0
}

/// Differences from the first arm in every world.
fn over_worlds(lines: &[Value], key: &str, title: &str) -> String {
    let mut header = vec![String::new()];
    for line in lines {
        header.push(text(&line["world"]));
    }
    let mut rows = Vec::new();
    for arm in list(&lines[0]["report"], "differences") {
        let mut row = vec![text(&arm["arm"])];
        for line in lines {
            let differences = list(&line["report"], "differences");
            let of_arm = differences.iter().find(|d| d["arm"] == arm["arm"]);
            row.push(match of_arm {
                Some(difference) if is_significant(&difference[key]) => {
                    format!("**{}**", cell(number(&difference[key]["mean"]), 3))
                }
                Some(difference) => cell(number(&difference[key]["mean"]), 3),
                None => String::new(),
            });
        }
        rows.push(row);
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    format!(
        "\n## {title} less that of `normal`, in every world\n\nBold: the 95 % interval is on one \
         side of zero.\n\n{}",
        markdown_table(&header, 1, &rows)
    )
}

/// In how many worlds an adaptive prompt is above mu = 1, and a tilt above no tilt.
fn verdict(lines: &[Value]) -> String {
    let above = |key: &str, part: &str, marker: &str| {
        let mut worlds = 0;
        for line in lines {
            let differences = list(&line[part], "differences").iter();
            let mut of_marker = differences.filter(|d| text(&d["arm"]).contains(marker));
            worlds += usize::from(of_marker.any(|d| number(&d[key]["low"]) > 0.0));
        }
        worlds
    };
    let n = lines.len();
    format!(
        "Significantly above, by the 95 % interval of one arm at least, in how many of {n} worlds: \
         an adaptive prompt above mu = 1 of its run in return {}, in money {}; a tilt of `normal` \
         above `normal` in return {}, in money {}.\n",
        above("return", "adaptive", "weighted"),
        above("money", "adaptive", "weighted"),
        above("return", "report", "tilt"),
        above("money", "report", "tilt"),
    )
}

/// The adaptive prompts against mu = 1 of the same run.
fn adaptive(lines: &[Value]) -> String {
    let mut rows = Vec::new();
    for line in lines {
        for difference in list(&line["adaptive"], "differences") {
            rows.push(vec![
                text(&line["world"]),
                text(&difference["arm"]),
                with_interval(&difference["return"], 4),
                with_interval(&difference["money"], 3),
            ]);
        }
    }
    let header = ["world", "arm", "return less mu 1", "money less mu 1"];
    format!(
        "\n## Adaptive prompts against mu = 1 of the same run\n\n{}\n{}",
        verdict(lines),
        markdown_table(&header, 2, &rows)
    )
}
