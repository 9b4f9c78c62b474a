//! Specification of one run: system, seed, `prl train` flags, and the name of its directory.
//!
//! The directory's name contains a fingerprint of everything that determines the result (code,
//! dataset, flags), so a changed setting is a new run and never an old result under a new name.
//! Device and threads only determine the speed and are not part of the name.

use anyhow::{Result, ensure};
use prl_baselines::warm_up_steps;

use crate::fingerprint::fingerprint;
use crate::matrix::{ENCODERS, METHODS, System, systems};
use crate::schedule::{EPOCHS, Scale, Schedule, ScheduleOverride};

/// Runs that a command requests.
pub struct ExperimentRequest {
    /// Size.
    pub scale: Scale,
    /// Seeds of every trained row.
    pub repeats: u64,
    /// Changes of the scale's schedule.
    pub overrides: ScheduleOverride,
    /// Restriction to some systems.
    pub filter: Filter,
}

impl ExperimentRequest {
    /// Whether a system is run: by the filter if it names encoders or methods, otherwise by the
    /// scale's default.
    pub fn includes(&self, system: &System) -> bool {
        self.filter.matches(system) && (self.scale.includes(system) || !self.filter.is_empty())
    }
}

/// One run: a system and a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSpec {
    /// Recommender to train.
    pub system: System,
    /// Seed of all random numbers.
    pub seed: u64,
}

impl RunSpec {
    /// All requested runs on a log, in the order of the tables' rows.
    pub fn all(log: &str, request: &ExperimentRequest) -> Vec<RunSpec> {
        let mut specs = Vec::new();
        for system in systems(log) {
            if !request.includes(&system) {
                continue;
            }
            for seed in 0..request.scale.seeds(&system, request.repeats) {
                specs.push(RunSpec { system, seed });
            }
        }
        specs
    }

    /// Flags of `prl train` that determine the result on a log.
    pub fn flags(&self, log: &str, schedule: Schedule) -> Vec<String> {
        let mut flags = vec![
            ("--method", self.system.method.to_owned()),
            ("--seed", self.seed.to_string()),
        ];
        if let Some(encoder) = self.system.encoder {
            flags.push(("--encoder", encoder.to_owned()));
            flags.push(("--epochs", EPOCHS.to_string()));
            flags.push(("--max-steps", schedule.steps.to_string()));
            flags.push(("--eval-every", schedule.eval_every.to_string()));
            if self.system.method == "sac" {
                let warm_up = schedule.scaled(warm_up_steps(encoder, log));
                flags.push(("--warm-up", warm_up.to_string()));
            }
        }
        if self.system.released {
            flags.push(("--attention", "released".to_owned()));
        }
        let mut words = Vec::new();
        for (flag, value) in flags {
            words.extend([flag.to_owned(), value]);
        }
        words
    }

    /// Name of the run's directory: readable, and unique for everything that determines the result.
    pub fn directory(&self, log: &str, dataset: &str, code: &str, flags: &[String]) -> String {
        let identity = format!("{code}\n{dataset}\n{}", flags.join(" "));
        format!(
            "{log}-{}-{}-{}",
            self.system.name(),
            self.seed,
            fingerprint(&identity)
        )
    }

    /// Title for messages: `GRU PRL seed 2`, `Popularity`.
    pub fn title(&self) -> String {
        if self.system.has_encoder() {
            format!("{} seed {}", self.system.title(), self.seed)
        } else {
            self.system.title()
        }
    }
}

/// Restriction to some systems; an empty list restricts nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Encoders, as `prl` names them. Systems without an encoder always match.
    pub encoders: Vec<String>,
    /// Methods, as `prl` names them.
    pub methods: Vec<String>,
}

impl Filter {
    /// Checks that all names exist.
    ///
    /// # Errors
    /// If one does not.
    pub fn check(&self) -> Result<()> {
        let encoders = ENCODERS.map(|encoder| encoder.name);
        let methods = METHODS.map(|method| method.name);
        check_names("--encoders", &self.encoders, &encoders)?;
        check_names("--methods", &self.methods, &methods)
    }

    /// Whether it restricts nothing.
    pub fn is_empty(&self) -> bool {
        self.encoders.is_empty() && self.methods.is_empty()
    }

    /// Whether it admits a system.
    pub fn matches(&self, system: &System) -> bool {
        if let Some(encoder) = system.encoder
            && !admits(&self.encoders, encoder)
        {
            return false;
        }
        admits(&self.methods, system.method)
    }
}

fn admits(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|listed| listed == name)
}

fn check_names(flag: &str, names: &[String], existing: &[&str]) -> Result<()> {
    for name in names {
        ensure!(
            existing.contains(&name.as_str()),
            "{flag} {name} is not one of {}",
            existing.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Scale, ScheduleOverride};

    fn request(scale: Scale, repeats: u64, filter: Filter) -> ExperimentRequest {
        ExperimentRequest {
            scale,
            repeats,
            overrides: ScheduleOverride::default(),
            filter,
        }
    }

    fn filter(encoders: &[&str], methods: &[&str]) -> Filter {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Filter {
            encoders: owned(encoders),
            methods: owned(methods),
        }
    }

    #[test]
    fn systems_without_encoder_run_once_others_per_seed() {
        let specs = RunSpec::all("rc15", &request(Scale::Paper, 3, Filter::default()));
        assert_eq!(specs.len(), 3 + 3 * 25);
        assert!(
            specs
                .iter()
                .filter(|spec| !spec.system.has_encoder())
                .all(|spec| spec.seed == 0)
        );
        assert_eq!(specs[0].title(), "Popularity");
        assert_eq!(specs[5].title(), "GRU normal seed 2");
    }

    #[test]
    fn filter_admits_named_systems_only() {
        let names = |filter: Filter| -> Vec<String> {
            let specs = RunSpec::all("retailrocket", &request(Scale::Quick, 1, filter));
            specs.iter().map(|spec| spec.system.name()).collect()
        };
        // Quick scale includes Caser SQN only if it is named.
        assert_eq!(
            names(filter(&["caser"], &["sqn", "popularity"])),
            ["popularity", "caser-sqn"]
        );
        assert_eq!(
            names(filter(&["sasrec"], &["prl"])),
            ["sasrec-prl", "sasrec-prl-released"]
        );
        assert!(!names(Filter::default()).contains(&"caser-sqn".to_owned()));
        assert!(filter(&["gru"], &["sac"]).check().is_ok());
        let error = filter(&[], &["sca"]).check().unwrap_err().to_string();
        assert!(
            error.starts_with("--methods sca is not one of popularity, "),
            "{error}"
        );
    }

    #[test]
    fn flags_contain_all_settings() {
        let schedule = Schedule {
            steps: 100,
            eval_every: 50,
            per_epoch: 10,
        };
        let system = |name: &str| {
            systems("rc15")
                .into_iter()
                .find(|system| system.name() == name)
                .unwrap()
        };
        let flags = |name: &str| {
            RunSpec {
                system: system(name),
                seed: 2,
            }
            .flags("rc15", schedule)
            .join(" ")
        };
        assert_eq!(flags("session-knn"), "--method session-knn --seed 2");
        assert_eq!(
            flags("sasrec-prl-released"),
            "--method prl --seed 2 --encoder sasrec --epochs 30 --max-steps 100 --eval-every 50 --attention released"
        );
        assert!(!flags("sasrec-prl").contains("--attention"));
        assert!(
            flags("sasrec-sac").ends_with("--warm-up 27"),
            "30,000 of the protocol's steps, of 100 here"
        );
    }

    #[test]
    fn directory_name_depends_on_every_setting() {
        let system = systems("rc15")
            .into_iter()
            .find(|system| system.name() == "gru-prl")
            .unwrap();
        let spec = RunSpec { system, seed: 1 };
        let schedule = Scale::Quick.schedule(1 << 20, ScheduleOverride::default());
        let name = |spec: &RunSpec, schedule, dataset: &str, code: &str| {
            spec.directory("rc15", dataset, code, &spec.flags("rc15", schedule))
        };
        let first = name(&spec, schedule, "d1", "c1");
        assert!(first.starts_with("rc15-gru-prl-1-"), "{first}");
        assert_eq!(first, name(&spec, schedule, "d1", "c1"));
        let others = [
            name(&spec, schedule, "d2", "c1"),
            name(&spec, schedule, "d1", "c2"),
            name(
                &spec,
                Schedule {
                    eval_every: 90,
                    ..schedule
                },
                "d1",
                "c1",
            ),
            name(
                &RunSpec {
                    seed: 2,
                    ..spec.clone()
                },
                schedule,
                "d1",
                "c1",
            ),
            name(
                &RunSpec {
                    system: System {
                        released: true,
                        ..system
                    },
                    ..spec.clone()
                },
                schedule,
                "d1",
                "c1",
            ),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?}");
    }
}
