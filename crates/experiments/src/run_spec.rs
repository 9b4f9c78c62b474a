//! One run: a system and a seed, its flags, and the name of its directory.
//!
//! A run's directory is named by everything that shapes its result, so a changed setting is another run and never an old
//! result under a new name. Device and threads shape only its speed, and are not part of the name.

use anyhow::{Result, ensure};
use prl_baselines::warm_up_steps;

use crate::experiment::Wish;
use crate::matrix::{ENCODERS, METHODS, System, systems};
use crate::schedule::{EPOCHS, Schedule};

/// One run: a cell of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What is trained.
    pub system: System,
    /// The seed of everything random.
    pub seed: u64,
}

impl Spec {
    /// Every run on a log that is wished for, row by row of the tables.
    pub fn all(log: &str, wish: &Wish) -> Vec<Spec> {
        let rows = systems(log).into_iter().filter(|system| wish.keeps(system));
        let seeds = |system: System| {
            (0..wish.scale.seeds(&system, wish.repeats)).map(move |seed| Spec { system, seed })
        };
        rows.flat_map(seeds).collect()
    }

    /// The flags of `prl train` that shape the result on a log.
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
                flags.push((
                    "--warm-up",
                    schedule.shortened(warm_up_steps(encoder, log)).to_string(),
                ));
            }
        }
        if self.system.released {
            flags.push(("--attention", "released".to_owned()));
        }
        flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    /// The run's name on a dataset: readable, and different whenever anything that shapes the result is.
    pub fn directory(&self, log: &str, dataset: &str, code: &str, flags: &[String]) -> String {
        let shape = format!("{code}\n{dataset}\n{}", flags.join(" "));
        format!(
            "{log}-{}-{}-{}",
            self.system.name(),
            self.seed,
            fingerprint(&shape)
        )
    }

    /// For people.
    pub fn title(&self) -> String {
        let seed = if self.system.is_baseline() {
            String::new()
        } else {
            format!(" seed {}", self.seed)
        };
        self.system.title() + &seed
    }
}

/// Which systems are wanted; an empty list wants all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Encoders, as `prl` names them. What needs no encoder is kept.
    pub encoders: Vec<String>,
    /// Methods.
    pub methods: Vec<String>,
}

impl Filter {
    /// Whether the names exist.
    ///
    /// # Errors
    /// On one that does not.
    pub fn check(&self) -> Result<()> {
        let encoders: Vec<&str> = ENCODERS.iter().map(|encoder| encoder.name).collect();
        let methods: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
        for (flag, given, known) in [
            ("--encoders", &self.encoders, encoders),
            ("--methods", &self.methods, methods),
        ] {
            let unknown = given.iter().find(|name| !known.contains(&name.as_str()));
            ensure!(
                unknown.is_none(),
                "{flag} {} is not one of {}",
                unknown.map_or("", |s| s),
                known.join(", ")
            );
        }
        Ok(())
    }

    /// Whether it wants all.
    pub fn is_open(&self) -> bool {
        self.encoders.is_empty() && self.methods.is_empty()
    }

    /// Whether a system is wanted.
    pub fn keeps(&self, system: &System) -> bool {
        let wants = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|wanted| wanted == name)
        };
        system
            .encoder
            .is_none_or(|encoder| wants(&self.encoders, encoder))
            && wants(&self.methods, system.method)
    }
}

/// Eight hexadecimal digits of a text, equal for ever (FNV-1a; the standard library's hashes may change with it).
pub fn fingerprint(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Cut, Scale};

    fn wish(scale: Scale, repeats: u64, filter: Filter) -> Wish {
        Wish {
            scale,
            repeats,
            cut: Cut::default(),
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
    fn baselines_run_once_and_the_rest_for_every_seed() {
        let specs = Spec::all("rc15", &wish(Scale::Paper, 3, Filter::default()));
        assert_eq!(specs.len(), 3 + 3 * 25);
        assert!(
            specs
                .iter()
                .filter(|spec| spec.system.is_baseline())
                .all(|spec| spec.seed == 0)
        );
        assert_eq!(specs[0].title(), "Popularity");
        assert_eq!(specs[5].title(), "GRU normal seed 2");
    }

    #[test]
    fn filters_keep_what_they_name() {
        let names = |filter: Filter| -> Vec<String> {
            let specs = Spec::all("retailrocket", &wish(Scale::Quick, 1, filter));
            specs.iter().map(|spec| spec.system.name()).collect()
        };
        // Caser SQN is no part of quick scale unless it is named.
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
    fn the_flags_say_it_all() {
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
            Spec {
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
    fn whatever_shapes_a_result_names_another_directory() {
        let system = systems("rc15")
            .into_iter()
            .find(|system| system.name() == "gru-prl")
            .unwrap();
        let spec = Spec { system, seed: 1 };
        let schedule = Scale::Quick.schedule(1 << 20, Cut::default());
        let name = |spec: &Spec, schedule, dataset: &str, code: &str| {
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
                &Spec {
                    seed: 2,
                    ..spec.clone()
                },
                schedule,
                "d1",
                "c1",
            ),
            name(
                &Spec {
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

    /// The 64-bit FNV-1a of "a" is af63dc4c8601ec8c, and of "" the offset basis (Internet-Draft draft-eastlake-fnv).
    #[test]
    fn the_fingerprint_is_fnv() {
        assert_eq!(
            fingerprint("a"),
            format!("{:08x}", 0xaf63_dc4c_u64 ^ 0x8601_ec8c)
        );
        assert_eq!(
            fingerprint(""),
            format!("{:08x}", 0xcbf2_9ce4_u64 ^ 0x8422_2325)
        );
    }
}
