//! Facts that every report states beside its numbers: completeness, departures from the paper's
//! protocol, failures, and machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prl_baselines::warm_up_steps;
use prl_experiments::Machine;
use prl_experiments::datasets::{Dataset, SOURCES};
use prl_experiments::experiment::Experiment;
use prl_experiments::matrix::System;
use prl_experiments::outcome::Outcome;
use prl_experiments::progress::clock;

/// Numbers of runs by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// All planned runs.
    pub all: usize,
    /// Trained and evaluated runs.
    pub done: usize,
    /// Failed runs.
    pub failed: usize,
}

impl RunCounts {
    /// Counts outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self {
            all: outcomes.len(),
            ..Self::default()
        };
        for outcome in outcomes {
            match outcome {
                Outcome::Done(_) => counts.done += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Pending => {}
            }
        }
        counts
    }

    /// The counts in a sentence.
    pub fn describe(&self) -> String {
        let Self { all, done, failed } = *self;
        let pending = match all - done - failed {
            0 => String::new(),
            pending => format!(", {pending} are still to come"),
        };
        format!("{done} of {all} runs are done, {failed} failed{pending}.")
    }
}

/// Departures from the paper's whole matrix and its protocol, one sentence each.
pub fn deviations(experiment: &Experiment) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(of_scale) = experiment.request.scale.deviations() {
        sentences.push(of_scale.to_owned());
    }
    let datasets = &experiment.datasets;
    for source in &SOURCES {
        if !datasets
            .iter()
            .any(|dataset| dataset.source.name == source.name)
        {
            sentences.push(format!("{} was left out.", source.title));
        }
    }
    for (i, dataset) in datasets.iter().enumerate() {
        let title = dataset.source.title;
        let excluded = experiment.excluded_systems(dataset);
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(System::title).collect();
            sentences.push(format!("{title}, not run: {}.", names.join("; ")));
        }
        let schedule = experiment.schedule(dataset).describe();
        sentences.push(format!("{title}, each run: {schedule}."));
        for run in &experiment.runs {
            if run.dataset == i && run.spec.seed == 0 && run.spec.system.method == "sac" {
                sentences.extend(shortened_warm_up(experiment, dataset, &run.spec.system));
            }
        }
    }
    sentences
}

/// Sentence on the warm-up of a SAC system, if it is shorter than the protocol's.
fn shortened_warm_up(
    experiment: &Experiment,
    dataset: &Dataset,
    system: &System,
) -> Option<String> {
    let full = warm_up_steps(system.encoder.unwrap_or_default(), dataset.source.name);
    let ours = experiment.schedule(dataset).scaled(full);
    (ours < full).then(|| {
        format!(
            "{}, {}: {ours} steps of warm-up, the protocol's {full} shortened as the run is.",
            dataset.source.title,
            system.title()
        )
    })
}

/// Runs of one table row that failed with the same message.
pub struct FailureGroup<'a> {
    /// Log and system.
    pub row: String,
    /// Seeds.
    pub seeds: Vec<String>,
    /// Message.
    pub message: &'a str,
}

impl FailureGroup<'_> {
    /// Description: `RC15 GRU SAC, seed 0, 1: the message`.
    pub fn describe(&self) -> String {
        format!(
            "{}, seed {}: {}",
            self.row,
            self.seeds.join(", "),
            self.message
        )
    }
}

/// Failed runs, grouped by row and message.
pub fn failures<'a>(experiment: &Experiment, outcomes: &'a [Outcome]) -> Vec<FailureGroup<'a>> {
    let mut groups: Vec<FailureGroup<'a>> = Vec::new();
    for (run, outcome) in experiment.runs.iter().zip(outcomes) {
        let Outcome::Failed(failure) = outcome else {
            continue;
        };
        let log = experiment.dataset(run).source.title;
        let row = format!("{log} {}", run.spec.system.title());
        let seed = run.spec.seed.to_string();
        let same = groups
            .iter_mut()
            .find(|group| group.row == row && group.message == failure.message);
        match same {
            Some(group) => group.seeds.push(seed),
            None => groups.push(FailureGroup {
                row,
                seeds: vec![seed],
                message: &failure.message,
            }),
        }
    }
    groups
}

/// Runs that one machine made.
#[derive(Default)]
struct MachineShare {
    runs: usize,
    seconds: f64,
    devices: BTreeSet<String>,
}

/// Machines that made the runs, each with a description of its share.
pub fn machines(outcomes: &[Outcome]) -> Vec<(&Machine, String)> {
    let mut shares: BTreeMap<&Machine, MachineShare> = BTreeMap::new();
    for outcome in outcomes {
        let Outcome::Done(run) = outcome else {
            continue;
        };
        let share = shares.entry(&run.machine).or_default();
        let used = &run.manifest.machine;
        share.runs += 1;
        share.seconds += run.manifest.seconds;
        share
            .devices
            .insert(format!("{} with {} threads", used.device, used.threads));
    }
    let mut machines = Vec::new();
    for (machine, share) in shares {
        let devices: Vec<String> = share.devices.into_iter().collect();
        let description = format!(
            "{} runs, {} of training and validation together, on {}",
            share.runs,
            clock(Duration::from_secs_f64(share.seconds)),
            devices.join("; ")
        );
        machines.push((machine, description));
    }
    machines
}

#[cfg(test)]
mod tests {
    use prl_experiments::fixture;
    use prl_experiments::run_spec::Filter;

    use super::*;

    #[test]
    fn deviations_failures_and_machines_are_described() {
        let dir = tempfile::tempdir().unwrap();
        let filter = Filter {
            encoders: vec!["gru".into()],
            methods: ["normal", "sac"].map(str::to_owned).into(),
        };
        let mut experiment = fixture::experiment(dir.path(), 2, true, filter);
        experiment.request.overrides.steps = Some(600);
        let outcomes = fixture::outcomes(&experiment, |system| {
            (system.method == "sac").then_some(0.5)
        });
        let counts = RunCounts::of(&outcomes);
        assert_eq!(counts.describe(), "4 of 8 runs are done, 4 failed.");
        let deviations = deviations(&experiment).join("\n");
        for sentence in [
            "RC15, not run: Popularity; Last items; Session-kNN; GRU SQN; GRU PRL; ",
            "RetailRocket, GRU SAC: 83 steps of warm-up, the protocol's 15000 shortened",
            "RC15, each run: 600 steps",
        ] {
            assert!(deviations.contains(sentence), "{sentence}: {deviations}");
        }
        assert!(
            !deviations.contains("RC15, GRU SAC: ") && !deviations.contains("SASRec SAC: "),
            "{deviations}"
        );
        let failure = failures(&experiment, &outcomes)[0].describe();
        assert!(
            failure.starts_with("RC15 GRU normal, seed 0, 1: "),
            "{failure}"
        );
        let machines = machines(&outcomes);
        assert_eq!(machines.len(), 1);
        assert_eq!(
            machines[0].1,
            "4 runs, 4:00 of training and validation together, on cpu with 1 threads"
        );
    }
}
