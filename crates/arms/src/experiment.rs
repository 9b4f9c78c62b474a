//! Definition of an experiment, and the arm of a session.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use toml::Spanned;

use crate::error::{Error, Result};

/// Largest definition that is read.
const MAX_BYTES: u64 = 1 << 20;
/// Largest number of arms.
const MAX_ARMS: usize = 1_000;

/// An experiment: arms that sessions are assigned to.
///
/// ```toml
/// name = "dial"    # beside the seed, the key of the assignment
/// seed = 1         # 0 if absent
///
/// [[arm]]
/// name = "plain"   # asks nothing: the model's default prompt
/// share = 2        # weight; the probability is the share of their sum. 1 if absent
///
/// [[arm]]
/// name = "tilt"
/// share = 1
/// ask = { tilt = 0.25 }   # fields of a request that set a prompt
/// model = "candidate"     # answered by the server's candidate; by the current model if absent
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Name of its file, for messages.
    file: String,
    name: String,
    seed: u64,
    arms: Vec<Arm>,
}

/// One arm of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Name in answers and in the log.
    pub name: String,
    /// Probability that a session is assigned to it.
    pub p: f64,
    /// Fields of a request that set a prompt, not yet validated.
    pub ask: Map<String, Value>,
    /// Whether the server's candidate answers in place of the current model.
    pub candidate: bool,
    /// Line of the definition, from 1, for messages.
    pub line: usize,
}

/// The arm of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assignment<'a> {
    /// The arm.
    pub arm: &'a Arm,
    /// Its position in the definition, from 0.
    pub index: usize,
    /// Its probability.
    pub p: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: Spanned<String>,
    #[serde(default)]
    seed: u64,
    arm: Vec<ArmDefinition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArmDefinition {
    name: Spanned<String>,
    share: Option<Spanned<f64>>,
    #[serde(default)]
    ask: Map<String, Value>,
    model: Option<Spanned<String>>,
}

impl Experiment {
    /// Reads a definition; `file` is its name in messages.
    ///
    /// # Errors
    /// [`Error::Definition`] with the line of the first invalid setting.
    pub fn from_toml(file: &str, text: &str) -> Result<Self> {
        let place = Source { file, text };
        let definition: Definition = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            place.error(start, error.message().trim().replace('\n', ", "))
        })?;
        let name = definition.name.get_ref();
        if let Some(what) = name_fault(name) {
            return Err(place.error(definition.name.span().start, what));
        }
        let n = definition.arm.len();
        if !(1..=MAX_ARMS).contains(&n) {
            let what = format!("{n} arms; give 1 to {MAX_ARMS} as [[arm]]");
            return Err(place.error(0, what));
        }
        let (mut arms, mut names) = (Vec::with_capacity(n), BTreeSet::new());
        for arm in definition.arm {
            let arm = place.arm(arm)?;
            if !names.insert(arm.name.clone()) {
                let what = format!("arm {:?} is defined twice; rename one", arm.name);
                return Err(place.error_at(arm.line, what));
            }
            arms.push(arm);
        }
        let total: f64 = arms.iter().map(|arm| arm.p).sum();
        for arm in &mut arms {
            arm.p /= total;
            // A share beside one 1e300 times larger rounds to 0, which no weight can divide by.
            if !(arm.p > 0.0 && arm.p <= 1.0) {
                let what = "share is too small beside the others; at least 1e-9 of their sum";
                return Err(place.error_at(arm.line, what));
            }
        }
        Ok(Self {
            file: file.to_owned(),
            name: name.clone(),
            seed: definition.seed,
            arms,
        })
    }

    /// Reads a definition from a file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, and those of [`from_toml`](Self::from_toml).
    pub fn open(path: &Path) -> Result<Self> {
        use std::io::Read;
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        let mut text = String::new();
        let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(Error::io(path))?;
        let name = path.display().to_string();
        if text.len() as u64 > MAX_BYTES {
            let what = format!("longer than {MAX_BYTES} bytes; check that this is the right file");
            let (file, line) = (name, 1);
            return Err(Error::Definition { file, line, what });
        }
        Self::from_toml(&name, &text)
    }

    /// The experiment's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arms, in the order of the definition.
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// The error of an arm whose ask is no valid prompt.
    pub fn invalid_ask(&self, arm: &Arm, what: impl std::fmt::Display) -> Error {
        Error::Definition {
            file: self.file.clone(),
            line: arm.line,
            what: format!("arm {:?}: {what}", arm.name),
        }
    }

    /// The arm of a session: the same for ever, as it depends on nothing but the definition and
    /// the session's name.
    ///
    /// With u the first 53 bits of SHA-256(seed, length of the experiment's name, both as 8
    /// little-endian bytes; that name; the session's name), in \[0, 1), it is the first arm whose
    /// cumulative probability exceeds u. Experiments of other names or seeds assign independently.
    pub fn assign(&self, session: &str) -> Assignment<'_> {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update((self.name.len() as u64).to_le_bytes());
        hash.update(self.name.as_bytes());
        hash.update(session.as_bytes());
        let digest = hash.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        let u = (u64::from_be_bytes(first) >> 11) as f64 / (1u64 << 53) as f64;
        let (mut cumulative, mut index) = (0.0, 0);
        for (i, arm) in self.arms.iter().enumerate() {
            cumulative += arm.p;
            // The last arm also takes what rounding leaves of the sum.
            index = i;
            if u < cumulative {
                break;
            }
        }
        let arm = &self.arms[index];
        Assignment {
            arm,
            index,
            p: arm.p,
        }
    }
}

/// A definition's text with its name, for messages.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    fn error(&self, offset: usize, what: impl Into<String>) -> Error {
        self.error_at(self.line(offset), what)
    }

    fn error_at(&self, line: usize, what: impl Into<String>) -> Error {
        Error::Definition {
            file: self.file.to_owned(),
            line,
            what: what.into(),
        }
    }

    /// An arm whose probability is still its share.
    fn arm(&self, arm: ArmDefinition) -> Result<Arm> {
        let start = arm.name.span().start;
        let line = self.line(start);
        let name = arm.name.into_inner();
        if let Some(what) = name_fault(&name) {
            return Err(self.error_at(line, format!("arm {name:?}: {what}")));
        }
        let share = arm.share.as_ref().map_or(1.0, |share| *share.get_ref());
        if !(share > 0.0 && share <= 1e12) {
            let at = arm.share.as_ref().map_or(start, |share| share.span().start);
            let what = format!("arm {name:?}: share is {share}; expected above 0, at most 1e12");
            return Err(self.error(at, what));
        }
        for (field, value) in &arm.ask {
            // What JSON cannot hold, such as inf, has become null, which would ask nothing.
            if value.is_null() {
                let what = format!("arm {name:?}: {field} is not a finite number");
                return Err(self.error_at(line, what));
            }
        }
        let mut candidate = false;
        if let Some(model) = &arm.model {
            match model.get_ref().as_str() {
                "current" => {}
                "candidate" => candidate = true,
                other => {
                    let what =
                        format!("arm {name:?}: model is {other:?}; expected current or candidate");
                    return Err(self.error(model.span().start, what));
                }
            }
        }
        Ok(Arm {
            name,
            p: share,
            ask: arm.ask,
            candidate,
            line,
        })
    }
}

/// Why a text cannot be a name, if it cannot: names are also labels of metrics and arguments.
fn name_fault(name: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain);
    (!is_name).then_some("name is not 1 to 64 letters, digits, '.', '_' or '-'")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"dial\"\nseed = 7\n\n[[arm]]\nname = \"low\"\nshare = 1\n\
                        ask = { mu = 0.5 }\n\n[[arm]]\nname = \"high\"\nshare = 3\n";

    fn message(text: &str) -> String {
        Experiment::from_toml("e.toml", text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn definition_shares_become_probabilities() {
        let experiment = Experiment::from_toml("e.toml", TEXT).unwrap();
        let [low, high] = experiment.arms() else {
            panic!("{experiment:?}");
        };
        assert_eq!((low.p, high.p, low.line), (0.25, 0.75, 5));
        assert_eq!(low.ask["mu"], Value::from(0.5));
        assert!(high.ask.is_empty());
    }

    #[test]
    fn invalid_definition_names_the_line() {
        for (from, to, expected) in [
            (
                "share = 3",
                "share = 0",
                "e.toml:11: arm \"high\": share is 0",
            ),
            (
                "share = 3",
                "share = -1.5",
                "e.toml:11: arm \"high\": share is -1.5",
            ),
            (
                "share = 3",
                "share = nan",
                "e.toml:11: arm \"high\": share is NaN",
            ),
            (
                "share = 3",
                "shares = 3",
                "e.toml:11: unknown field `shares`",
            ),
            (
                "\"high\"",
                "\"low\"",
                "e.toml:10: arm \"low\" is defined twice",
            ),
            ("\"high\"", "\"a b\"", "e.toml:10: arm \"a b\": name is not"),
            ("\"dial\"", "\"\"", "e.toml:1: name is not 1 to 64"),
            (
                "mu = 0.5",
                "mu = inf",
                "e.toml:5: arm \"low\": mu is not a finite",
            ),
            ("seed = 7", "seed = -7", "e.toml:2: "),
            ("seed = 7", "seed =", "e.toml:2: "),
        ] {
            let found = message(&TEXT.replacen(from, to, 1));
            assert!(found.starts_with(expected), "{found}");
        }
        assert!(message("name = \"a\"\narm = []").contains("0 arms"));
        assert!(message("name = \"a\"").contains("missing field `arm`"));
    }

    #[test]
    fn assignment_is_that_of_earlier_releases() {
        let experiment = Experiment::from_toml("e.toml", TEXT).unwrap();
        let mut arms = String::new();
        for session in [
            "", "1", "2", "3", "4", "s-5", "\u{e9}", "6", "7", "8", "9", "10",
        ] {
            arms.push(if experiment.assign(session).index == 0 {
                'l'
            } else {
                'h'
            });
        }
        // From Python's hashlib, by the definition in the documentation.
        assert_eq!(arms, "lhlhhhhhlhhh");
    }

    #[test]
    fn assignment_follows_the_shares_and_differs_between_experiments() {
        let one = Experiment::from_toml("e.toml", TEXT).unwrap();
        let others = ["seed = 8", "name = \"dial2\"\n"].map(|setting| {
            let old = if setting.starts_with("seed") {
                "seed = 7"
            } else {
                "name = \"dial\"\n"
            };
            Experiment::from_toml("e.toml", &TEXT.replacen(old, setting, 1)).unwrap()
        });
        let n = 20_000;
        let (mut low, mut both) = (0, [0; 2]);
        for i in 0..n {
            let session = i.to_string();
            let is_low = one.assign(&session).index == 0;
            low += usize::from(is_low);
            for (both, other) in both.iter_mut().zip(&others) {
                *both += usize::from(is_low && other.assign(&session).index == 0);
            }
        }
        // 4 standard deviations of a binomial.
        let near = |found: usize, p: f64| {
            (found as f64 - n as f64 * p).abs() < 4.0 * (n as f64 * p * (1.0 - p)).sqrt()
        };
        assert!(near(low, 0.25), "{low}");
        assert!(near(both[0], 0.0625) && near(both[1], 0.0625), "{both:?}");
    }
}
