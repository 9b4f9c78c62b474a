//! One cell: a system with a seed on a benchmark.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prl_bench::jsonl::number;
use prl_bench::measure::Measured;
use prl_experiments::files::read_json;
use prl_experiments::write_file;
use serde_json::{Value, json};

use super::Setup;
use super::published::Benchmark;
use crate::cells::{LINE, call, fresh, is_finished};

/// Epochs at most, and validations without improvement, of runs of the recipe paper.
const PAPER_LIMITS: [&str; 6] = ["--eval-every", "0", "--epochs", "30", "--patience", "2"];
/// Members of the blend, as folders without their seed, and whether a member has seeds.
const MEMBERS: [(&str, bool); 3] = [
    ("core-modern", true),
    ("gru-modern", true),
    ("session-knn-tuned", false),
];

/// System of a cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System<'a> {
    /// An encoder trained with cross-entropy under a recipe.
    Trained { encoder: &'a str, recipe: &'a str },
    /// A baseline, which trains nothing.
    Baseline(&'static str),
    /// A blend of the [`MEMBERS`].
    Blend,
}

/// A system with a seed on a benchmark.
pub struct Cell<'a> {
    pub benchmark: &'static Benchmark,
    pub system: System<'a>,
    pub seed: u64,
}

impl Setup {
    /// Directory of a benchmark's prepared dataset.
    pub fn data(&self, benchmark: &Benchmark) -> PathBuf {
        self.dir.join(benchmark.name).join("dataset")
    }

    /// Runs `prl` on one thread.
    pub fn call(&self, args: &[&str]) -> Result<Measured> {
        call(&self.prl, args)
    }
}

impl Cell<'_> {
    /// Name of the cell's folder, without the seed.
    fn system_name(&self) -> String {
        match self.system {
            System::Trained { encoder, recipe } => format!("{encoder}-{recipe}"),
            System::Baseline(name) => name.into(),
            System::Blend => "blend".into(),
        }
    }

    /// Name for messages.
    pub fn title(&self) -> String {
        format!("{} seed {}", self.system_name(), self.seed)
    }

    fn dir(&self, setup: &Setup) -> PathBuf {
        let name = format!("{}-{}", self.system_name(), self.seed);
        setup.dir.join(self.benchmark.name).join(name)
    }

    /// Trains and evaluates the cell unless it is finished.
    pub fn perform(&self, setup: &Setup) -> Result<()> {
        let dir = self.dir(setup);
        let settings = json!({"bf16_head": setup.bf16_head, "hold_out": setup.hold_out});
        if is_finished(&dir, &settings)? {
            return Ok(());
        }
        eprintln!("{}: {}", self.benchmark.name, self.title());
        let mut line = json!({
            "benchmark": self.benchmark.name,
            "system": self.system_name(),
            "seed": self.seed,
            "code": setup.prl.code,
            "commit": setup.commit,
            "bf16_head": setup.bf16_head,
            "hold_out": setup.hold_out,
        });
        let run = match self.system {
            System::Trained { encoder, recipe } => {
                self.train(setup, &dir, encoder, recipe, &mut line)?
            }
            System::Baseline(method) => {
                let data = setup.data(self.benchmark).display().to_string();
                let run = dir.join("run");
                let out = fresh(&run)?;
                let fit = ["train", "--data", &data, "--method", method, "--skip-first"];
                // For the choice of a blend's weights, fitted without the held-out sessions.
                let chosen = fresh(&dir.join("chosen"))?;
                let share = setup.hold_out.to_string();
                let held = [
                    "--hold-out",
                    &share,
                    "--hold-out-by",
                    "time",
                    "--out",
                    &chosen,
                ];
                setup.call(&[&fit[..], &held].concat())?;
                let trained = setup.call(&[&fit[..], &["--out", &out]].concat())?;
                line["seconds"] = json!(trained.seconds);
                line["peak_mb"] = json!(trained.peak_mb);
                run
            }
            System::Blend => match self.blend(setup, &dir, &mut line)? {
                Some(run) => run,
                None => return Ok(()),
            },
        };
        let run = run.display().to_string();
        let flags = [
            "evaluate",
            "--run",
            &run,
            "--skip-first",
            "-k",
            "20",
            "--json",
        ];
        let evaluated = setup.call(&flags)?;
        let report: Value = serde_json::from_str(&evaluated.output)?;
        line["cases"] = report["events"]["click"].clone();
        line["evaluation_seconds"] = json!(evaluated.seconds);
        for (name, metric) in [("recall@20", "HR@20"), ("mrr@20", "MRR@20")] {
            line[name] = report["at_k"]["all"][metric].clone();
            line[format!("{name} interval")] = report["at_k"]["intervals"]["all"][metric].clone();
        }
        write_file(&dir.join(LINE), format!("{line}\n"))
    }

    /// Chooses the number of epochs on held-out sessions, then trains on all of them.
    fn train(
        &self,
        setup: &Setup,
        dir: &Path,
        encoder: &str,
        recipe: &str,
        line: &mut Value,
    ) -> Result<PathBuf> {
        let data = setup.data(self.benchmark).display().to_string();
        let seed = self.seed.to_string();
        let mut common = vec!["train", "--data", &data, "--method", "normal"];
        common.extend(["--encoder", encoder, "--recipe", recipe]);
        common.extend(["--seed", &seed, "--skip-first"]);
        if setup.bf16_head {
            common.push("--bf16-head");
        }
        let (chosen, run) = (dir.join("chosen"), dir.join("run"));
        let share = setup.hold_out.to_string();
        if !chosen.join("manifest.json").exists() {
            let chosen_out = fresh(&chosen)?;
            let mut flags = common.clone();
            flags.extend(["--hold-out", &share, "--hold-out-by", "time"]);
            flags.extend(["--out", &chosen_out]);
            if recipe == "paper" {
                flags.extend(PAPER_LIMITS);
            }
            setup.call(&flags)?;
        }
        let manifest: Value = read_json(&chosen.join("manifest.json"))?;
        let best = manifest["best_step"].as_u64().unwrap_or(0);
        let (epochs, held) = validation(&chosen, best)?;
        let (epochs_flag, out) = (format!("{epochs:.0}"), fresh(&run)?);
        let mut flags = common;
        flags.extend(["--epochs", &epochs_flag, "--no-validation", "--out", &out]);
        let trained = setup.call(&flags)?;
        line["epochs"] = json!(epochs);
        line["held_out"] = held;
        line["choice_seconds"] = manifest["seconds"].clone();
        line["seconds"] = json!(trained.seconds);
        line["peak_mb"] = json!(trained.peak_mb);
        Ok(run)
    }

    /// Chooses the weights of a blend of the runs with held-out sessions, and gives them to the
    /// runs that were trained on all sessions. `None` if a member is missing.
    fn blend(&self, setup: &Setup, dir: &Path, line: &mut Value) -> Result<Option<PathBuf>> {
        let (mut chosen, mut runs) = (Vec::new(), Vec::new());
        for (name, has_seeds) in MEMBERS {
            let seed = if has_seeds { self.seed } else { 0 };
            let folder = format!("{name}-{seed}");
            let member = setup.dir.join(self.benchmark.name).join(folder);
            if !member.join(LINE).exists() {
                eprintln!("blend: {} is not finished", member.display());
                return Ok(None);
            }
            runs.push(member.join("run").display().to_string());
            chosen.push(member.join("chosen").display().to_string());
        }
        let (first, run) = (dir.join("chosen"), dir.join("run"));
        let (first_out, out) = (fresh(&first)?, fresh(&run)?);
        let mut flags = vec!["blend"];
        flags.extend(chosen.iter().map(String::as_str));
        flags.extend(["--out", &first_out]);
        let choice = setup.call(&flags)?;
        let weights = weights(&first)?;
        let mut flags = vec!["blend"];
        flags.extend(runs.iter().map(String::as_str));
        flags.extend(["--weights", &weights, "--out", &out]);
        let blended = setup.call(&flags)?;
        line["weights"] = json!(weights);
        line["choice_seconds"] = json!(choice.seconds);
        line["seconds"] = json!(blended.seconds);
        line["peak_mb"] = json!(choice.peak_mb);
        Ok(Some(run))
    }
}

/// Epoch and metrics of the validation at a training step.
fn validation(run: &Path, step: u64) -> Result<(f64, Value)> {
    let path = run.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).context("failed to read metrics.jsonl")?;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["step"].as_u64() == Some(step) {
            let all = &line["val"]["all"];
            let held = json!({"recall@20": all["HR@20"], "ndcg@20": all["NDCG@20"]});
            return Ok((number(&line["epoch"]).round().max(1.0), held));
        }
    }
    anyhow::bail!("{} has no validation at step {step}", path.display())
}

/// Weights of a blend, as the flag takes them.
fn weights(run: &Path) -> Result<String> {
    let manifest: Value = read_json(&run.join("manifest.json"))?;
    let members = manifest["blend"]["members"].as_array();
    let mut flag = Vec::new();
    for member in members.context("the blend's manifest has no members")? {
        flag.push(number(&member["weight"]).to_string());
    }
    Ok(flag.join(","))
}
