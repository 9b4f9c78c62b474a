//! A small experiment for tests: two datasets and made-up results, without any training.

use std::fs;
use std::path::Path;

use prl_dataset::{Kind, Rewards, Split};
use prl_eval::{Case, Conventions, Report, Setting};

use crate::datasets::{BeforeAndAfter, Counts, Dataset, Manifest, Origin, SOURCES};
use crate::experiment::Experiment;
use crate::machine::Machine;
use crate::matrix::{System, systems};
use crate::outcome::{
    CASES, CurvePoint, Failure, Outcome, PromptResult, RunMachine, RunManifest, RunResults,
    kind_name,
};
use crate::paper;
use crate::prompt_sweep::PromptSetting;
use crate::run_spec::{ExperimentRequest, Filter};
use crate::schedule::{Scale, ScheduleOverride};
use crate::workspace::Workspace;

/// Number of test sessions; each has one case per kind.
const SESSIONS: u32 = 40;

/// The system with this name.
pub fn system(name: &str) -> System {
    systems("rc15")
        .into_iter()
        .find(|system| system.name() == name)
        .unwrap()
}

/// A dataset with the number of sessions of the full log.
pub fn dataset(log: &str, synthetic: bool) -> Dataset {
    let source = SOURCES.iter().find(|source| source.name == log).unwrap();
    let counts = Counts {
        sessions: 200_000,
        items: 1000,
        clicks: 1_000_000,
        purchases: 50_000,
    };
    let sessions = paper::counts(log).unwrap().sessions;
    let manifest = Manifest {
        dataset: "d".repeat(16),
        source: Origin { synthetic },
        counts: BeforeAndAfter {
            before_length_filter: Counts { sessions, ..counts },
            after_length_filter: counts,
        },
        splits: ["train", "val", "test"]
            .map(|split| (split.to_owned(), counts))
            .into(),
    };
    Dataset {
        source,
        dir: "data".into(),
        manifest,
    }
}

/// An experiment at paper scale on RC15 and RetailRocket, with run directories below `dir`.
pub fn experiment(dir: &Path, repeats: u64, synthetic: bool, filter: Filter) -> Experiment {
    let request = ExperimentRequest {
        scale: Scale::Paper,
        repeats,
        overrides: ScheduleOverride::default(),
        filter,
    };
    let datasets = vec![
        dataset("rc15", synthetic),
        dataset("retailrocket", synthetic),
    ];
    let experiment = Experiment {
        request,
        version: "prl 0".into(),
        code: "c0de".into(),
        machine: Machine::detect(&Workspace::repository()),
        datasets,
        runs: Vec::new(),
    };
    experiment.plan_runs(dir)
}

/// Outcomes of all runs. `skill` is the share of sessions in which a system ranks its targets
/// first; a system without a skill has failed.
pub fn outcomes(experiment: &Experiment, skill: impl Fn(&System) -> Option<f64>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for run in &experiment.runs {
        outcomes.push(match skill(&run.spec.system) {
            None => Outcome::Failed(Failure {
                message: "error: the loss is NaN at step 7: <diverged> & stopped".into(),
            }),
            Some(skill) => {
                fs::create_dir_all(&run.dir).unwrap();
                Outcome::Done(results(&run.dir, skill, run.spec.seed, &run.prompts).into())
            }
        });
    }
    outcomes
}

fn results(dir: &Path, skill: f64, seed: u64, prompts: &[PromptSetting]) -> RunResults {
    let wins = (skill * f64::from(SESSIONS)).round() as u32;
    let (mut sessions, mut cases) = (Vec::new(), Vec::new());
    let mut lines = "session,kind,rank\n".to_owned();
    for session in 0..SESSIONS {
        let is_win = (session + seed as u32) % SESSIONS < wins;
        let rank = if is_win { 1 } else { 30 };
        for kind in [Kind::Click, Kind::Purchase] {
            sessions.push(session);
            cases.push(Case { kind, rank });
            lines += &format!("{session},{},{rank}\n", kind_name(kind));
        }
    }
    let path = dir.join(CASES);
    fs::write(&path, lines).unwrap();
    let test = report(Split::Test, &cases, &sessions);
    let val = report(Split::Val, &cases, &sessions);
    let curve = [5, 10].map(|step| CurvePoint {
        step,
        val: val.scores,
    });
    let mut prompt_results = Vec::new();
    for &prompt in prompts {
        prompt_results.push(PromptResult {
            prompt,
            reward_at_1: 100.0 - prompt.mu - prompt.eps,
        });
    }
    RunResults {
        manifest: RunManifest {
            model: "m".into(),
            steps: 10,
            best_step: 5,
            seconds: 60.0,
            machine: RunMachine {
                threads: 1,
                device: "cpu".into(),
            },
        },
        machine: Machine::detect(&Workspace::repository()),
        test,
        val,
        cases: path,
        curve: curve.into(),
        prompt_results,
    }
}

fn report(split: Split, cases: &[Case], sessions: &[u32]) -> Report {
    let setting = Setting {
        split: split.into(),
        dataset: "d".into(),
        mu: None,
        eps: None,
        prompt: None,
        rewards: Rewards::default(),
        interval_seed: 0,
        conventions: Conventions::default(),
        other_log: None,
    };
    Report::new(setting, cases, sessions, None).unwrap()
}
