//! What a run left behind, read from its directory: the only place where results come from, whenever they were made.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::machine::Machine;

/// Who tries, on what, in the run's directory: written when training starts.
pub const MACHINE: &str = "machine.json";
/// Written last by `prl train`: a run that has one is whole.
pub const MANIFEST: &str = "manifest.json";

/// How a run stands.
#[derive(Debug)]
pub enum Outcome {
    /// Not done yet.
    Pending,
    /// It failed, with this last line of its log.
    Failed(String),
    /// It is done.
    Done(Box<Finished>),
}

/// A run that is trained and evaluated.
#[derive(Debug)]
pub struct Finished {
    /// How it was trained.
    pub manifest: RunManifest,
    /// On what.
    pub machine: Machine,
    /// The test split.
    pub test: Report,
    /// The validation split.
    pub val: Report,
    /// Its validations during training.
    pub curve: Vec<Point>,
}

/// What is read of a run's `manifest.json`.
#[derive(Debug, Deserialize)]
pub struct RunManifest {
    /// The model's name: digits of its weights' checksum.
    pub model: String,
    /// Steps taken.
    pub steps: u64,
    /// The step whose weights are used.
    pub best_step: u64,
    /// Seconds of training and validation.
    pub seconds: f64,
    /// What it ran on, as `prl` knows it.
    pub machine: RunMachine,
}

/// What is read of its `machine`.
#[derive(Debug, Deserialize)]
pub struct RunMachine {
    /// Threads used.
    pub threads: usize,
    /// `cpu` or `cuda`.
    pub device: String,
}

/// Click or purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Purchases.
    Purchase,
    /// Clicks.
    Click,
}

impl Kind {
    /// In the paper's order.
    pub const ALL: [Kind; 2] = [Kind::Purchase, Kind::Click];

    /// `purchase` or `click`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Purchase => "purchase",
            Kind::Click => "click",
        }
    }
}

/// The paper's metrics of each kind, in its order.
pub const METRICS: [&str; 6] = ["HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20"];

/// What `prl evaluate --json` prints.
#[derive(Debug, Deserialize)]
pub struct Report {
    purchase: Values,
    click: Values,
    intervals: Intervals,
    /// The sum of the rewards of the events ranked first.
    #[serde(rename = "reward@1")]
    pub reward_at_1: f64,
    /// The share of the items that are in some top 20.
    #[serde(rename = "coverage@20")]
    pub coverage_at_20: Option<f64>,
}

type Values = BTreeMap<String, Option<f64>>;

#[derive(Debug, Deserialize)]
struct Intervals {
    purchase: BTreeMap<String, Option<[f64; 2]>>,
    click: BTreeMap<String, Option<[f64; 2]>>,
}

impl Report {
    /// A metric, unless there is no case of the kind.
    pub fn value(&self, kind: Kind, metric: &str) -> Option<f64> {
        let values = match kind {
            Kind::Purchase => &self.purchase,
            Kind::Click => &self.click,
        };
        values.get(metric).copied().flatten()
    }

    /// Its 95% interval over the cases.
    pub fn interval(&self, kind: Kind, metric: &str) -> Option<[f64; 2]> {
        let intervals = match kind {
            Kind::Purchase => &self.intervals.purchase,
            Kind::Click => &self.intervals.click,
        };
        intervals.get(metric).copied().flatten()
    }
}

/// One validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The step after which it was made.
    pub step: u64,
    /// HR@5 over purchases, by which the best weights are chosen.
    pub purchase_hr5: Option<f64>,
    /// HR@20 over clicks.
    pub click_hr20: Option<f64>,
}

impl Finished {
    /// Reads a run; fails if it is not whole.
    pub fn read(dir: &Path) -> Result<Self> {
        Ok(Self {
            manifest: read_json(&dir.join(MANIFEST))?,
            machine: read_json(&dir.join(MACHINE))?,
            test: read_json(&dir.join("test.json"))?,
            val: read_json(&dir.join("val.json"))?,
            curve: read_curve(&dir.join("metrics.jsonl"))?,
        })
    }
}

/// Reads a JSON file, naming it if that fails.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let at = || format!("failed to read {}", path.display());
    serde_json::from_slice(&fs::read(path).with_context(at)?).with_context(at)
}

fn read_curve(path: &Path) -> Result<Vec<Point>> {
    #[derive(Deserialize)]
    struct Line {
        step: u64,
        val: Val,
    }
    #[derive(Deserialize)]
    struct Val {
        purchase: Values,
        click: Values,
    }
    let at = || format!("failed to read {}", path.display());
    let text = fs::read_to_string(path).with_context(at)?;
    let point = |line: &str| -> Result<Point> {
        let Line { step, val } = serde_json::from_str(line).with_context(at)?;
        let of = |values: &Values, metric: &str| values.get(metric).copied().flatten();
        Ok(Point { step, purchase_hr5: of(&val.purchase, "HR@5"), click_hr20: of(&val.click, "HR@20") })
    };
    text.lines().map(point).collect()
}
