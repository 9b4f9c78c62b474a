//! A small study for tests, its runs made of test cases alone.

use std::fs;
use std::path::Path;

use prl_dataset::{Kind, Rewards, Split};
use prl_eval::{Case, Report, Setting};

use crate::datasets::{BeforeAndAfter, Counts, Dataset, Manifest, Origin, SOURCES};
use crate::experiment::{Study, Wish};
use crate::machine::Machine;
use crate::matrix::{System, systems};
use crate::outcome::{CASES, Failure, Finished, Outcome, Point, RunMachine, RunManifest};
use crate::prompt_sweep::Answer;
use crate::run_spec::Filter;
use crate::schedule::{Cut, Scale};
use crate::workspace::Workspace;

/// Test sessions.
const SESSIONS: u32 = 40;

/// The system of this name.
pub fn system(name: &str) -> System {
    systems("rc15")
        .into_iter()
        .find(|system| system.name() == name)
        .unwrap()
}

/// A dataset that never was: real by name and with the counts of the full log, or synthetic.
pub fn dataset(log: &str, synthetic: bool) -> Dataset {
    let source = SOURCES.iter().find(|source| source.name == log).unwrap();
    let counts = Counts {
        sessions: 200_000,
        items: 1000,
        clicks: 1_000_000,
        purchases: 50_000,
    };
    let sessions = crate::paper::counts(log).unwrap().sessions;
    let counts = BeforeAndAfter {
        before_length_filter: Counts { sessions, ..counts },
        after_length_filter: counts,
    };
    let splits = ["train", "val", "test"]
        .map(|split| (split.to_owned(), counts.after_length_filter))
        .into();
    let manifest = Manifest {
        dataset: "d".repeat(16),
        source: Origin { synthetic },
        counts,
        splits,
    };
    Dataset {
        source,
        dir: "data".into(),
        manifest,
    }
}

/// A study of both logs in a folder: everything of RC15 and RetailRocket at paper scale that the filter keeps.
pub fn study(dir: &Path, repeats: u64, synthetic: bool, filter: Filter) -> Study {
    let wish = Wish {
        scale: Scale::Paper,
        repeats,
        cut: Cut::default(),
        filter,
    };
    let datasets = vec![
        dataset("rc15", synthetic),
        dataset("retailrocket", synthetic),
    ];
    Study::plan(
        wish,
        "prl 0".into(),
        "c0de".into(),
        Machine::detect(&Workspace::repository()),
        datasets,
        dir,
    )
}

/// All runs of a study done, each ranking its targets first in the share of sessions that `skill` gives its system. What it
/// gives no skill has failed.
pub fn outcomes(study: &Study, skill: impl Fn(&System) -> Option<f64>) -> Vec<Outcome> {
    let outcome = |run: &crate::experiment::Run| match skill(&run.spec.system) {
        None => Outcome::Failed(Failure {
            message: "error: the loss is NaN at step 7: <diverged> & stopped".into(),
        }),
        Some(skill) => {
            let won = (skill * f64::from(SESSIONS)).round() as u32;
            let rank = |session: u32| {
                if (session + run.spec.seed as u32) % SESSIONS < won {
                    1
                } else {
                    30
                }
            };
            fs::create_dir_all(&run.dir).unwrap();
            Outcome::Done(finished(&run.dir, rank, run.asks.clone()).into())
        }
    };
    study.runs.iter().map(outcome).collect()
}

fn finished(
    dir: &Path,
    rank: impl Fn(u32) -> u32,
    asks: Vec<crate::prompt_sweep::Ask>,
) -> Finished {
    let kinds = [Kind::Click, Kind::Purchase];
    let sessions: Vec<u32> = (0..SESSIONS).flat_map(|session| [session; 2]).collect();
    let cases: Vec<Case> = (0..SESSIONS)
        .flat_map(|session| {
            kinds.map(|kind| Case {
                kind,
                rank: rank(session),
            })
        })
        .collect();
    let path = dir.join(CASES);
    let name = |kind| crate::outcome::kind_name(kind);
    let lines = sessions
        .iter()
        .zip(&cases)
        .map(|(session, case)| format!("{session},{},{}\n", name(case.kind), case.rank));
    fs::write(
        &path,
        format!("session,kind,rank\n{}", lines.collect::<String>()),
    )
    .unwrap();
    let report = |split| {
        let rewards = Rewards::default();
        let setting = Setting {
            split,
            dataset: "d".into(),
            mu: None,
            eps: None,
            prompt: None,
            rewards,
            interval_seed: 0,
        };
        Report::new(setting, &cases, &sessions, None).unwrap()
    };
    let (test, val) = (report(Split::Test), report(Split::Val));
    let machine = RunMachine {
        threads: 1,
        device: "cpu".into(),
    };
    let manifest = RunManifest {
        model: "m".into(),
        steps: 10,
        best_step: 5,
        seconds: 60.0,
        machine,
    };
    let answers = asks
        .into_iter()
        .map(|ask| Answer {
            ask,
            reward_at_1: 100.0 - ask.mu - ask.eps,
        })
        .collect();
    let curve = [5, 10]
        .map(|step| Point {
            step,
            val: val.scores,
        })
        .into();
    Finished {
        manifest,
        machine: Machine::detect(&Workspace::repository()),
        test,
        val,
        cases: path,
        curve,
        answers,
    }
}
