//! What is run: the matrix of encoders, methods and seeds, and the schedule of each scale.
//!
//! A run's directory is named by everything that shapes its result, so a changed setting is another run and never an old
//! result under a new name. Device and threads shape only its speed, and are not part of the name.

use clap::ValueEnum;

/// The encoders that are there.
const ENCODERS: &[&str] = &["gru"];
/// What is trained on top of each.
const METHODS: &[&str] = &["normal", "prl"];
/// What needs no encoder. It is deterministic, so one seed says all.
const BASELINES: &[&str] = &["popularity", "last-items"];

/// Rows drawn at each step, the protocol's.
const BATCH: u64 = 256;
/// Passes over the training rows, the protocol's.
const EPOCHS: u64 = 30;
/// Steps between validations, the protocol's.
const EVAL_EVERY: u64 = 2000;
/// Validations that a learning curve and a choice of the best checkpoint need at least.
const FEWEST_VALIDATIONS: u64 = 3;
/// Steps of a run at quick scale, the same for every method.
const QUICK_STEPS: u64 = 900;
/// Steps between its validations.
const QUICK_EVAL_EVERY: u64 = 150;

/// How much of it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// Small stand-ins, few steps: minutes, to see that everything works and learns
    Quick,
    /// The paper's sizes and the protocol's 30 epochs: days on a CPU
    Paper,
}

impl Scale {
    /// `quick` or `paper`.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Quick => "quick",
            Scale::Paper => "paper",
        }
    }

    /// The schedule on a dataset of so many training rows.
    pub fn schedule(self, rows: u64) -> Schedule {
        let per_epoch = (rows / BATCH).max(1);
        let all = EPOCHS * per_epoch;
        match self {
            Scale::Quick => Schedule { steps: all.min(QUICK_STEPS), eval_every: QUICK_EVAL_EVERY, per_epoch },
            Scale::Paper if all / EVAL_EVERY < FEWEST_VALIDATIONS => {
                Schedule { steps: all, eval_every: per_epoch, per_epoch }
            }
            Scale::Paper => Schedule { steps: all, eval_every: EVAL_EVERY, per_epoch },
        }
    }
}

/// How long a run trains and how often it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Steps in all.
    pub steps: u64,
    /// Steps between validations.
    pub eval_every: u64,
    /// Steps that make one pass over the training rows.
    pub per_epoch: u64,
}

impl Schedule {
    /// In words, with every departure from the protocol.
    pub fn describe(&self) -> String {
        let Self { steps, eval_every, per_epoch } = *self;
        let mut text =
            format!("{steps} steps ({:.1} epochs), validated every {eval_every}", steps as f64 / per_epoch as f64);
        if steps < EPOCHS * per_epoch {
            text.push_str(&format!("; the protocol has {EPOCHS} epochs"));
        }
        if eval_every != EVAL_EVERY {
            text.push_str(&format!("; the protocol validates every {EVAL_EVERY} steps"));
        }
        text
    }
}

/// One run: a cell of the matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The encoder; `None` for what needs none.
    pub encoder: Option<&'static str>,
    /// What is trained on top of it.
    pub method: &'static str,
    /// The seed of everything random.
    pub seed: u64,
}

impl Spec {
    /// Every run on one dataset, row by row of the tables.
    pub fn all(repeats: u64) -> Vec<Spec> {
        let baselines = BASELINES.iter().map(|&method| Spec { encoder: None, method, seed: 0 });
        let rows = ENCODERS.iter().flat_map(|&encoder| METHODS.iter().map(move |&method| (encoder, method)));
        let trained = rows
            .flat_map(|(encoder, method)| (0..repeats).map(move |seed| Spec { encoder: Some(encoder), method, seed }));
        baselines.chain(trained).collect()
    }

    /// The flags of `prl train` that shape the result.
    pub fn flags(&self, schedule: Schedule) -> Vec<String> {
        let mut flags = vec![("--method", self.method.to_owned()), ("--seed", self.seed.to_string())];
        if let Some(encoder) = self.encoder {
            flags.push(("--encoder", encoder.to_owned()));
            flags.push(("--epochs", EPOCHS.to_string()));
            flags.push(("--max-steps", schedule.steps.to_string()));
            flags.push(("--eval-every", schedule.eval_every.to_string()));
        }
        flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    /// The run's name on a dataset: readable, and different whenever anything that shapes the result is.
    pub fn directory(&self, log: &str, dataset: &str, version: &str, flags: &[String]) -> String {
        let shape = format!("{version}\n{dataset}\n{}", flags.join(" "));
        let encoder = self.encoder.map(|encoder| format!("{encoder}-")).unwrap_or_default();
        format!("{log}-{encoder}{}-{}-{}", self.method, self.seed, fingerprint(&shape))
    }

    /// For people.
    pub fn title(&self) -> String {
        match self.encoder {
            Some(encoder) => format!("{encoder} {} seed {}", self.method, self.seed),
            None => self.method.to_owned(),
        }
    }
}

/// Eight hexadecimal digits of a text, equal for ever (FNV-1a; the standard library's hashes may change with it).
pub fn fingerprint(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_run_once_and_the_rest_for_every_seed() {
        let specs = Spec::all(3);
        assert_eq!(specs.len(), 2 + 2 * 3);
        assert!(specs.iter().filter(|spec| spec.encoder.is_none()).all(|spec| spec.seed == 0));
        assert_eq!(specs.last().unwrap().title(), "gru prl seed 2");
    }

    #[test]
    fn a_small_dataset_is_still_validated_three_times() {
        // 200 steps an epoch give 6,000 steps: three validations. One epoch's step fewer gives two.
        assert_eq!(Scale::Paper.schedule(200 * 256), Schedule { steps: 6000, eval_every: 2000, per_epoch: 200 });
        let small = Scale::Paper.schedule(200 * 256 - 1);
        assert_eq!(small, Schedule { steps: 30 * 199, eval_every: 199, per_epoch: 199 });
        assert_eq!(
            small.describe(),
            "5970 steps (30.0 epochs), validated every 199; the protocol validates every 2000 steps"
        );
        assert_eq!(Scale::Quick.schedule(100).steps, 30);
    }

    #[test]
    fn whatever_shapes_a_result_names_another_directory() {
        let spec = Spec { encoder: Some("gru"), method: "prl", seed: 1 };
        let schedule = Scale::Quick.schedule(1 << 20);
        let name = |spec: &Spec, schedule, dataset: &str, version: &str| {
            spec.directory("rc15", dataset, version, &spec.flags(schedule))
        };
        let first = name(&spec, schedule, "d1", "prl 0.1.0");
        assert!(first.starts_with("rc15-gru-prl-1-"), "{first}");
        assert_eq!(first, name(&spec, schedule, "d1", "prl 0.1.0"));
        let others = [
            name(&spec, schedule, "d2", "prl 0.1.0"),
            name(&spec, schedule, "d1", "prl 0.2.0"),
            name(&spec, Schedule { eval_every: 100, ..schedule }, "d1", "prl 0.1.0"),
            name(&Spec { seed: 2, ..spec.clone() }, schedule, "d1", "prl 0.1.0"),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?}");
    }

    /// The 64-bit FNV-1a of "a" is af63dc4c8601ec8c, and of "" the offset basis (Internet-Draft draft-eastlake-fnv).
    #[test]
    fn the_fingerprint_is_fnv() {
        assert_eq!(fingerprint("a"), format!("{:08x}", 0xaf63_dc4c_u64 ^ 0x8601_ec8c));
        assert_eq!(fingerprint(""), format!("{:08x}", 0xcbf2_9ce4_u64 ^ 0x8422_2325));
    }
}
