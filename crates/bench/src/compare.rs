//! Comparison of a measurement with the last committed one on the same machine, with a verdict for
//! each line.
//!
//! A change counts only beyond the noise: the quartiles of both measurements, the difference
//! between the rates of a plain product in both runs (the machine's own drift), and at least
//! [`LEAST_NOISE`].

use std::path::Path;
use std::process::Command;

use prl_bench::jsonl::{self, cell, text};
use prl_experiments::Workspace;
use prl_report::markdown_table;
use serde_json::Value;

/// Relative change that is never more than noise.
pub const LEAST_NOISE: f64 = 0.05;

/// A measured quantity of a line.
#[derive(Clone, Copy)]
pub struct Quantity {
    pub name: &'static str,
    /// Key of its median.
    pub key: &'static str,
    /// Keys of its quartiles; [`LEAST_NOISE`] alone applies where a line has none.
    pub quartiles: [&'static str; 2],
    /// Whether more is better, as of a rate.
    pub is_rate: bool,
}

/// Milliseconds of a training step.
pub const STEP: Quantity = Quantity {
    name: "ms a step",
    key: "step_ms_median",
    quartiles: ["step_ms_q1", "step_ms_q3"],
    is_rate: false,
};

/// Ranked events a second.
pub const RANKED: Quantity = Quantity {
    name: "events/s ranked",
    key: "eval_events_per_s",
    quartiles: ["eval_events_per_s_q1", "eval_events_per_s_q3"],
    is_rate: true,
};

/// Result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Faster,
    Same,
    Slower,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Same => "same",
            Verdict::Slower => "**slower**",
        }
    }
}

/// Lines of a file as it was last committed, and that commit.
pub struct Committed {
    pub commit: String,
    pub lines: Vec<Value>,
}

impl Committed {
    /// The last committed version of a file of raw lines; `None` without one, or outside git.
    pub fn of(workspace: &Workspace, file: &Path) -> Option<Self> {
        let path = file.strip_prefix(&workspace.root).ok()?.to_str()?;
        let git = |args: &[&str]| -> Option<String> {
            let mut command = Command::new("git");
            command.args(["-c", "safe.directory=*"]).args(args);
            let output = command.current_dir(&workspace.root).output().ok()?;
            output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let commit = git(&["log", "-1", "--format=%h", "--", path])?;
        let lines = jsonl::parse(&git(&["show", &format!("HEAD:{path}")])?).ok()?;
        Some(Self {
            commit: commit.trim().to_owned(),
            lines,
        })
    }

    /// A section of a page: every quantity of every line that both measurements have, where `keys`
    /// identify a line; and the number of slower ones.
    pub fn section(
        &self,
        keys: &[&str],
        quantities: &[Quantity],
        now: &[Value],
    ) -> (String, usize) {
        let mut header = keys.to_vec();
        header.extend(["", "before", "now", "change", "noise", "verdict"]);
        let (mut rows, mut slower) = (Vec::new(), 0);
        for line in now {
            let is_same = |before: &&Value| keys.iter().all(|key| before[*key] == line[*key]);
            let Some(before) = self.lines.iter().find(is_same) else {
                continue;
            };
            for quantity in quantities {
                let Some(change) = Change::between(quantity, before, line) else {
                    continue;
                };
                slower += usize::from(change.verdict == Verdict::Slower);
                let mut cells = Vec::new();
                for key in keys {
                    cells.push(text(&line[*key]));
                }
                cells.extend(change.cells(quantity));
                rows.push(cells);
            }
        }
        let table = markdown_table(&header, keys.len() + 1, &rows);
        let text = format!(
            "\n## Against the page of commit {}\n\n\
             Noise is the larger of {LEAST_NOISE}, both measurements' quartile distances together, \
             and the change of the plain product's rate.\n\n{table}",
            self.commit
        );
        (text, slower)
    }
}

/// Change of a quantity between two measurements.
#[derive(Debug, PartialEq)]
struct Change {
    before: f64,
    now: f64,
    /// Relative change of the time: negative is faster.
    time: f64,
    noise: f64,
    verdict: Verdict,
}

impl Change {
    /// `None` if a measurement lacks the quantity.
    fn between(quantity: &Quantity, before: &Value, now: &Value) -> Option<Self> {
        let [old, new] = [before, now].map(|line| line[quantity.key].as_f64());
        let (old, new) = (old?, new?);
        let time = if quantity.is_rate {
            old / new
        } else {
            new / old
        } - 1.0;
        let drift = match [before, now].map(|line| line["product_gflops"].as_f64()) {
            [Some(old), Some(new)] => (old / new - 1.0).abs(),
            _ => 0.0,
        };
        let spread = spread(quantity, before) + spread(quantity, now);
        let noise = LEAST_NOISE.max(spread).max(drift);
        let verdict = if time > noise {
            Verdict::Slower
        } else if time < -noise {
            Verdict::Faster
        } else {
            Verdict::Same
        };
        Some(Self {
            before: old,
            now: new,
            time,
            noise,
            verdict,
        })
    }

    fn cells(&self, quantity: &Quantity) -> [String; 6] {
        let decimals = if quantity.is_rate { 0 } else { 2 };
        [
            quantity.name.to_owned(),
            cell(self.before, decimals),
            cell(self.now, decimals),
            format!("{:+.0} %", 100.0 * self.time),
            format!("{:.0} %", 100.0 * self.noise),
            self.verdict.name().to_owned(),
        ]
    }
}

/// Half of the distance between the quartiles, relative to the median; 0 if a line has none.
fn spread(quantity: &Quantity, line: &Value) -> f64 {
    let [low, high] = quantity.quartiles.map(|key| line[key].as_f64());
    match (low, high, line[quantity.key].as_f64()) {
        (Some(low), Some(high), Some(median)) => 0.5 * (high - low).abs() / median,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(before: Value, now: Value) -> Verdict {
        Change::between(&STEP, &before, &now).unwrap().verdict
    }

    #[test]
    fn change_counts_beyond_quartiles_and_drift() {
        let quiet = |ms: f64| json!({"step_ms_median": ms, "product_gflops": 100.0});
        assert_eq!(verdict(quiet(10.0), quiet(10.4)), Verdict::Same);
        assert_eq!(verdict(quiet(10.0), quiet(10.6)), Verdict::Slower);
        assert_eq!(verdict(quiet(10.0), quiet(9.0)), Verdict::Faster);
        let noisy = json!({"step_ms_median": 12.0, "step_ms_q1": 10.0, "step_ms_q3": 15.0});
        assert_eq!(verdict(quiet(10.0), noisy), Verdict::Same);
        let slow_machine = json!({"step_ms_median": 12.0, "product_gflops": 80.0});
        assert_eq!(verdict(quiet(10.0), slow_machine), Verdict::Same);
        assert!(Change::between(&STEP, &quiet(10.0), &json!({})).is_none());
    }

    #[test]
    fn higher_rate_is_faster() {
        let rate = |x: f64| json!({ "eval_events_per_s": x });
        let change = Change::between(&RANKED, &rate(100.0), &rate(200.0)).unwrap();
        assert_eq!(change.verdict, Verdict::Faster);
        assert!((change.time + 0.5).abs() < 1e-12);
    }

    #[test]
    fn section_has_the_lines_that_both_measurements_have() {
        let line = |encoder: &str, ms: f64| json!({"encoder": encoder, "step_ms_median": ms});
        let committed = Committed {
            commit: "abc1234".into(),
            lines: vec![line("gru", 10.0), line("caser", 10.0)],
        };
        let now = [line("gru", 20.0), line("sasrec", 5.0)];
        let (text, slower) = committed.section(&["encoder"], &[STEP], &now);
        assert_eq!(slower, 1);
        assert!(text.contains("abc1234"), "{text}");
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| gru"))
            .collect();
        assert_eq!(
            rows,
            ["| gru | ms a step | 10.00 | 20.00 | +100 % | 5 % | **slower** |"]
        );
        assert!(
            !text.contains("caser") && !text.contains("sasrec"),
            "{text}"
        );
    }
}
