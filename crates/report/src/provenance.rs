//! What must be said beside the numbers: how much of the matrix they are, what was cut, what failed, and what it ran on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prl_baselines::warm_up_steps;

use prl_experiments::datasets::SOURCES;
use prl_experiments::experiment::Study;
use prl_experiments::machine::Machine;
use prl_experiments::matrix::System;
use prl_experiments::outcome::Outcome;
use prl_experiments::progress::clock;

/// How many runs there are, and how they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// All that were asked for.
    pub all: usize,
    /// Trained and evaluated.
    pub done: usize,
    /// Failed.
    pub failed: usize,
}

impl Count {
    /// Counts them.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let count = |wanted: fn(&Outcome) -> bool| {
            outcomes.iter().filter(|outcome| wanted(outcome)).count()
        };
        let (done, failed) = (
            count(|o| matches!(o, Outcome::Done(_))),
            count(|o| matches!(o, Outcome::Failed(_))),
        );
        Self {
            all: outcomes.len(),
            done,
            failed,
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let left = self.all - self.done - self.failed;
        let left = if left > 0 {
            format!(", {left} are still to come")
        } else {
            String::new()
        };
        format!(
            "{} of {} runs are done, {} failed{left}.",
            self.done, self.all, self.failed
        )
    }
}

/// Every departure from the paper's whole matrix under its protocol, a sentence each.
pub fn cuts(study: &Study) -> Vec<String> {
    let mut cuts: Vec<String> = study
        .wish
        .scale
        .cuts()
        .map(str::to_owned)
        .into_iter()
        .collect();
    let logs = SOURCES.iter().filter(|source| {
        study
            .datasets
            .iter()
            .all(|dataset| dataset.source.name != source.name)
    });
    cuts.extend(logs.map(|source| format!("{} was left out.", source.title)));
    for dataset in &study.datasets {
        let (title, schedule) = (dataset.source.title, study.schedule(dataset));
        let left_out: Vec<String> = study.left_out(dataset).iter().map(System::title).collect();
        if !left_out.is_empty() {
            cuts.push(format!("{title}, not run: {}.", left_out.join("; ")));
        }
        cuts.push(format!("{title}, each run: {}.", schedule.describe()));
        let runs = study
            .runs
            .iter()
            .filter(|run| run.spec.seed == 0 && std::ptr::eq(study.dataset(run), dataset));
        for sac in runs
            .map(|run| run.spec.system)
            .filter(|system| system.method == "sac")
        {
            let full = warm_up_steps(sac.encoder.unwrap_or_default(), dataset.source.name);
            let ours = schedule.shortened(full);
            if ours < full {
                cuts.push(format!(
                    "{title}, {}: {ours} steps of warm-up, the protocol's {full} shortened as the run is.",
                    sac.title()
                ));
            }
        }
    }
    cuts
}

/// Every row of which runs failed: what it is with which seeds, and why; seeds that failed alike stand together.
pub fn failures<'a>(study: &'a Study, outcomes: &'a [Outcome]) -> Vec<(String, &'a str)> {
    let mut failures: Vec<(String, &str, Vec<String>)> = Vec::new();
    for (run, outcome) in study.runs.iter().zip(outcomes) {
        let Outcome::Failed(failure) = outcome else {
            continue;
        };
        let row = format!(
            "{} {}",
            study.dataset(run).source.title,
            run.spec.system.title()
        );
        let seed = run.spec.seed.to_string();
        match failures
            .iter_mut()
            .find(|(name, why, _)| *name == row && *why == failure.message)
        {
            Some((_, _, seeds)) => seeds.push(seed),
            None => failures.push((row, &failure.message, vec![seed])),
        }
    }
    let describe = |(row, why, seeds): (String, _, Vec<String>)| {
        (format!("{row}, seed {}", seeds.join(", ")), why)
    };
    failures.into_iter().map(describe).collect()
}

/// The machines that made the runs, and for each how many it made, on what, and in what time together.
pub fn machines(outcomes: &[Outcome]) -> Vec<(&Machine, String)> {
    let mut machines: BTreeMap<&Machine, (usize, f64, BTreeSet<String>)> = BTreeMap::new();
    for outcome in outcomes {
        let Outcome::Done(run) = outcome else {
            continue;
        };
        let entry = machines.entry(&run.machine).or_default();
        entry.0 += 1;
        entry.1 += run.manifest.seconds;
        entry.2.insert(format!(
            "{} with {} threads",
            run.manifest.machine.device, run.manifest.machine.threads
        ));
    }
    let describe = |(machine, (runs, seconds, devices)): (_, (usize, f64, BTreeSet<String>))| {
        let devices: Vec<String> = devices.into_iter().collect();
        let time = clock(Duration::from_secs_f64(seconds));
        (
            machine,
            format!(
                "{runs} runs, {time} of training and validation together, on {}",
                devices.join("; ")
            ),
        )
    };
    machines.into_iter().map(describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prl_experiments::fixture;
    use prl_experiments::run_spec::Filter;

    #[test]
    fn what_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            encoders: vec!["gru".into()],
            methods: ["normal", "sac"].map(str::to_owned).into(),
        };
        let mut study = fixture::study(dir.path(), 2, true, filter);
        study.wish.cut.steps = Some(600);
        let outcomes = fixture::outcomes(&study, |system| (system.method == "sac").then_some(0.5));
        let count = Count::of(&outcomes);
        assert_eq!(
            (count.describe().as_str()),
            "4 of 8 runs are done, 4 failed."
        );
        let cuts = cuts(&study).join("\n");
        assert!(
            cuts.contains("RC15, not run: Popularity; Last items; Session-kNN; GRU SQN; GRU PRL; "),
            "{cuts}"
        );
        assert!(
            cuts.contains(
                "RetailRocket, GRU SAC: 83 steps of warm-up, the protocol's 15000 shortened"
            ),
            "{cuts}"
        );
        assert!(
            !cuts.contains("RC15, GRU SAC: ") && !cuts.contains("SASRec SAC: "),
            "{cuts}"
        );
        assert!(cuts.contains("RC15, each run: 600 steps"), "{cuts}");
        assert_eq!(
            failures(&study, &outcomes)[0].0,
            "RC15 GRU normal, seed 0, 1"
        );
        let machines = machines(&outcomes);
        assert_eq!(machines.len(), 1);
        assert_eq!(
            machines[0].1,
            "4 runs, 4:00 of training and validation together, on cpu with 1 threads"
        );
    }
}
