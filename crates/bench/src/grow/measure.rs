//! Metrics of clicks on a later log: on all items, and on those that were new on the last day.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result};
use prl_dataset::Dataset;
use prl_eval::{Metric, NOT_RANKED, ratio_interval};
use prl_experiments::prl_binary::PrlBinary;
use serde_json::{Value, json};

use crate::cells::call;

/// Seed of the bootstrap.
const SEED: u64 = 1;

/// Raw ids of the items that the log of a day has and that of the day before has not.
pub struct NewItems(HashSet<String>);

impl NewItems {
    /// The items of the dataset `after` that `before` does not have; none without `before`.
    pub fn between(before: Option<&Path>, after: &Path) -> Result<Self> {
        let mut new = HashSet::new();
        if let Some(before) = before {
            let (before, after) = (Dataset::open(before)?, Dataset::open(after)?);
            for i in 0..after.items().len() as u32 {
                let raw = after.items().raw(i).unwrap_or_default();
                if before.items().index(raw).is_none() {
                    new.insert(raw.to_owned());
                }
            }
        }
        Ok(Self(new))
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Sums over some cases.
#[derive(Default)]
struct Sums {
    cases: f64,
    hits: f64,
    gains: f64,
}

impl Sums {
    fn add(&mut self, rank: u32) {
        self.cases += 1.0;
        self.hits += Metric::Hr20.gain(rank);
        self.gains += Metric::Ndcg20.gain(rank);
    }

    fn json(&self) -> Value {
        let share = |sum: f64| (self.cases > 0.0).then(|| sum / self.cases);
        json!({ "cases": self.cases, "HR@20": share(self.hits), "NDCG@20": share(self.gains) })
    }
}

/// Evaluates a run on every event of a later log.
pub fn clicks_on(prl: &PrlBinary, run: &Path, log: &Path, new_items: &NewItems) -> Result<Value> {
    let cases = run.join("next-day.jsonl");
    let [run, log, cases_path] = [run, log, &cases].map(|path| path.display().to_string());
    let evaluate = ["evaluate", "--run", &run, "--other-log", &log];
    let out = ["--split", "all", "--json", "--cases", &cases_path];
    call(prl, &[&evaluate[..], &out].concat())?;
    let text = std::fs::read_to_string(&cases).with_context(|| cases_path.clone())?;
    std::fs::remove_file(&cases)?;
    summary(&text, new_items)
}

/// The metrics of cases as `prl evaluate --cases` writes them.
fn summary(text: &str, new_items: &NewItems) -> Result<Value> {
    let (mut all, mut new) = (Sums::default(), Sums::default());
    let mut sessions: Vec<[f64; 2]> = Vec::new();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line)?;
        if case["kind"] != "click" {
            continue;
        }
        let rank = case["rank"].as_u64().map_or(NOT_RANKED, |rank| rank as u32);
        all.add(rank);
        if case["item"]
            .as_str()
            .is_some_and(|item| new_items.0.contains(item))
        {
            new.add(rank);
        }
        let session = case["session"].as_u64().context("a case has no session")? as usize;
        if sessions.len() <= session {
            sessions.resize(session + 1, [0.0; 2]);
        }
        sessions[session][0] += Metric::Hr20.gain(rank);
        sessions[session][1] += 1.0;
    }
    let interval = ratio_interval(&sessions, SEED);
    let mut value = all.json();
    value["interval"] = json!(interval.map(|interval| [interval.lo, interval.hi]));
    value["new"] = new.json();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::{NewItems, summary};

    #[test]
    fn summary_counts_clicks_of_all_and_of_new_items() {
        let text = r#"{"session":0,"kind":"click","rank":1,"item":"a"}
{"session":0,"kind":"purchase","rank":1,"item":"b"}
{"session":2,"kind":"click","rank":21,"item":"b"}
{"session":2,"kind":"click","rank":3,"item":"b"}
{"session":3,"kind":"click","rank":null,"item":"c"}
"#;
        let new = NewItems(["b".to_owned()].into());
        let found = summary(text, &new).unwrap();
        assert_eq!(found["cases"], 4.0);
        assert_eq!(found["HR@20"], 0.5);
        assert_eq!(found["NDCG@20"], 0.375);
        assert_eq!(found["new"]["cases"], 2.0);
        assert_eq!(found["new"]["HR@20"], 0.5);
        assert_eq!(found["new"]["NDCG@20"], 0.25);
        let (lo, hi) = (&found["interval"][0], &found["interval"][1]);
        assert!(lo.as_f64().unwrap() < 0.5 && hi.as_f64().unwrap() > 0.5);
    }
}
