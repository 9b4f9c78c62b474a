//! The page of daily retraining.

use prl_bench::jsonl::{cell, number};
use prl_experiments::Machine;
use prl_report::markdown_table;
use serde_json::Value;

use crate::cells::provenance;

use super::{LOGS, SYSTEMS};

/// The page of these chains.
pub fn page(lines: &[Value], machine: &Machine) -> String {
    let mut page = format!(
        "# Daily retraining\n\n\
         A log cut by days. After each day one run is trained from nothing on all events so far, \
         and one is continued from its predecessor of the day before (`prl train --from`), which \
         was itself continued: the first day's is the last one from nothing. Both hold the latest \
         5 % of the sessions out for their validation, and are evaluated on **the next day's \
         sessions**: clicks, all items ranked; items that no run has seen are misses of each. \
         `yesterday` is the predecessor itself, without today's events. In brackets, the 95 % \
         interval of HR@20 from nothing (bootstrap over sessions); *within* tells whether the \
         continued run is not below it. New items: those that the log has since the last day. \
         `co-occurrence` is a chain whose new items start near the known items beside \
         them (`--new-items`), in place of random vectors. Length, learning rate and \
         initial vectors of the continued runs are the defaults of `--from`; they were chosen on \
         validation alone. Seconds are of `prl train` on one thread beside another one. [Raw \
         lines](grow.jsonl).\n\n{}",
        provenance(machine, lines)
    );
    for log in &LOGS {
        for system in &SYSTEMS {
            let mut rows = Vec::new();
            let (mut within, mut days, mut steps) = (0, 0, [0.0; 2]);
            for line in lines {
                if line["log"] != log.name || line["system"] != system.name {
                    continue;
                }
                for day in line["days"].as_array().into_iter().flatten().skip(1) {
                    days += 1;
                    within += usize::from(is_within(day));
                    steps[0] += number(&day["nothing"]["steps"]);
                    steps[1] += number(&day["grown"]["steps"]);
                    rows.push(row(line, day));
                }
            }
            if rows.is_empty() {
                continue;
            }
            page += &format!("\n## {}: {}\n\n{}\n\n", log.name, system.name, log.note);
            page += &markdown_table(&HEADER, 2, &rows);
            page += &format!(
                "\nNot below the interval on {within} of {days} days, with {:.2} of the steps.\n",
                steps[1] / steps[0]
            );
        }
    }
    page + "\n```sh\ncargo xtask bench grow      # a finished chain is not repeated\n```\n"
}

const HEADER: [&str; 16] = [
    "day",
    "seed",
    "steps from nothing",
    "continued",
    "seconds",
    "continued",
    "HR@20 from nothing",
    "continued",
    "within",
    "yesterday",
    "NDCG@20 from nothing",
    "continued",
    "clicks on new items",
    "their HR@20 from nothing",
    "continued",
    "co-occurrence: HR@20, on new items",
];

/// Whether the continued run is not below the interval of the one from nothing.
fn is_within(day: &Value) -> bool {
    number(&day["grown"]["HR@20"]) >= number(&day["nothing"]["interval"][0])
}

fn row(line: &Value, day: &Value) -> Vec<String> {
    let (nothing, grown) = (&day["nothing"], &day["grown"]);
    let of = |run: &Value, metric: &str| cell(number(&run[metric]), 4);
    let interval = &nothing["interval"];
    vec![
        prl_bench::jsonl::text(&day["date"]),
        cell(number(&line["seed"]), 0),
        cell(number(&nothing["steps"]), 0),
        cell(number(&grown["steps"]), 0),
        cell(number(&nothing["seconds"]), 0),
        cell(number(&grown["seconds"]), 0),
        format!(
            "{} [{}, {}]",
            of(nothing, "HR@20"),
            cell(number(&interval[0]), 4),
            cell(number(&interval[1]), 4)
        ),
        of(grown, "HR@20"),
        if is_within(day) { "yes" } else { "**no**" }.to_owned(),
        of(&day["yesterday"], "HR@20"),
        of(nothing, "NDCG@20"),
        of(grown, "NDCG@20"),
        cell(number(&nothing["new"]["cases"]), 0),
        of(&nothing["new"], "HR@20"),
        of(&grown["new"], "HR@20"),
        format!(
            "{}, {}",
            of(&day["co-occurrence"], "HR@20"),
            of(&day["co-occurrence"]["new"], "HR@20")
        ),
    ]
}
