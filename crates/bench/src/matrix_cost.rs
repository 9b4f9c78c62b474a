//! Duration of the paper's whole matrix on the measured device: the steps and validations of every
//! run of `reproduce --scale paper`, from the measured step and ranking times.

use prl_bench::jsonl::{cell, number};
use prl_experiments::matrix::{ENCODERS, systems};
use prl_experiments::schedule::{BATCH, Scale, ScheduleOverride};
use prl_report::markdown_table;
use serde_json::Value;

/// Seeds of a run in the paper's tables.
const SEEDS: u64 = 3;

/// A log at the paper's size.
struct Log {
    name: &'static str,
    title: &'static str,
    items: u64,
    /// Clicks and purchases of Table 1.
    events: u64,
}

const LOGS: [Log; 2] = [
    Log {
        name: "rc15",
        title: "RC15",
        items: 26_702,
        events: 1_110_965 + 43_946,
    },
    Log {
        name: "retailrocket",
        title: "RetailRocket",
        items: 70_852,
        events: 1_176_680 + 57_269,
    },
];

/// Runs of an encoder on a log.
struct Share {
    log: &'static Log,
    encoder: &'static str,
    runs: u64,
    /// Training steps of a run.
    steps: u64,
    training_s: f64,
    ranking_s: f64,
}

/// The matrix by log and encoder; `None` unless every encoder and method is measured at both
/// catalogue sizes.
fn shares(lines: &[Value]) -> Option<Vec<Share>> {
    let mut shares = Vec::new();
    for log in &LOGS {
        // Eight tenths of the events are for training, a tenth each for validation and test.
        let schedule = Scale::Paper.schedule(log.events * 8 / 10, ScheduleOverride::default());
        let validations = 1 + schedule.steps / schedule.eval_every;
        for encoder in &ENCODERS {
            let mut share = Share {
                log,
                encoder: encoder.title,
                runs: 0,
                steps: schedule.steps,
                training_s: 0.0,
                ranking_s: 0.0,
            };
            for system in systems(log.name) {
                if system.encoder != Some(encoder.name) {
                    continue;
                }
                let line = measured(lines, encoder.name, system.method, log.items)?;
                let step = number(&line["step_ms_median"]) / 1e3;
                // The test split is ranked once.
                let ranked = (validations + 1) * (log.events / 10);
                let rate = number(&line["eval_events_per_s"]);
                share.runs += SEEDS;
                share.training_s += SEEDS as f64 * schedule.steps as f64 * step;
                share.ranking_s += SEEDS as f64 * ranked as f64 / rate;
            }
            shares.push(share);
        }
    }
    Some(shares)
}

/// Hours of the whole matrix, one run after the other; `None` as of a page without the section.
pub fn hours(lines: &[Value]) -> Option<f64> {
    let mut seconds = 0.0;
    for share in shares(lines)? {
        seconds += share.training_s + share.ranking_s;
    }
    Some(seconds / 3600.0)
}

/// Section of the page; empty unless every encoder and method is measured at both catalogue sizes.
pub fn section(lines: &[Value]) -> String {
    let (Some(shares), Some(total)) = (shares(lines), hours(lines)) else {
        return String::new();
    };
    let (mut rows, mut runs) = (Vec::new(), 0);
    for share in &shares {
        runs += share.runs;
        rows.push(vec![
            share.log.title.to_owned(),
            share.encoder.to_owned(),
            share.runs.to_string(),
            share.steps.to_string(),
            cell(share.training_s / 3600.0, 2),
            cell(share.ranking_s / 3600.0, 2),
        ]);
    }
    let header = [
        "log",
        "encoder",
        "runs",
        "steps a run",
        "training, h",
        "validation and test, h",
    ];
    format!(
        "\n## The paper's matrix\n\n\
         `cargo xtask reproduce --scale paper` trains {runs} runs with an encoder ({SEEDS} seeds, \
         30 epochs of batches of {BATCH}, a validation every 2,000 steps). From the step and ranking \
         times above, one run after the other, fp32: **{total:.1} hours**. Variants of PRL count as PRL; \
         start-up, checkpoints and the intervals' bootstrap do not count.\n\n{}",
        markdown_table(&header, 2, &rows)
    )
}

/// The fp32 line of an encoder and a method at a catalogue size under the paper's recipe.
fn measured<'a>(lines: &'a [Value], encoder: &str, method: &str, items: u64) -> Option<&'a Value> {
    let method = match method {
        "normal" | "sqn" | "sac" => method,
        _ => "prl",
    };
    lines.iter().find(|line| {
        line["encoder"] == encoder
            && line["method"] == method
            && line["items"] == items
            && line["bf16_head"] != true
            && line["recipe"] != "modern"
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn matrix_takes_the_measured_steps_and_validations() {
        let mut lines = Vec::new();
        for log in &LOGS {
            for encoder in &ENCODERS {
                for method in ["normal", "prl", "sqn", "sac"] {
                    lines.push(json!({
                        "encoder": encoder.name, "method": method, "items": log.items,
                        "step_ms_median": 1.0, "eval_events_per_s": 1e12,
                    }));
                }
            }
        }
        let text = section(&lines);
        let mut steps = 0;
        for log in &LOGS {
            let runs = systems(log.name);
            let runs = runs.iter().filter(|system| system.has_encoder()).count() as u64;
            steps += SEEDS * runs * 30 * (log.events * 8 / 10 / BATCH);
        }
        let hours = steps as f64 / 1e3 / 3600.0;
        assert!(text.contains(&format!("**{hours:.1} hours**")), "{text}");
        lines.pop();
        assert_eq!(section(&lines), "");
    }
}
