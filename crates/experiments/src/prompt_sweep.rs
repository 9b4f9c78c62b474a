//! Figures 4 and 5: what a trained PRL answers when it is asked for more, or with noise.
//!
//! An answer is one more evaluation of the best weights on the test split, under another prompt: a file in the run's
//! directory. The prompt of the tables is among them and is not evaluated twice.

use std::path::{Path, PathBuf};

use anyhow::Result;
use prl_eval::Report;
use serde::{Deserialize, Serialize};

use crate::outcome::read_json;
use crate::schedule::Scale;

/// The prompt of the tables, and the protocol's.
const TABLES: Ask = Ask { mu: 2.0, eps: 0.0 };

/// A prompt: factors on the mean return, drawn from N(mu, eps^2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The mean.
    pub mu: f64,
    /// The deviation.
    pub eps: f64,
}

/// What was measured under it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The prompt.
    pub ask: Ask,
    /// The sum of the rewards of the test events whose item is ranked first.
    pub reward_at_1: f64,
}

/// A figure of the paper: one number of the prompt goes, the other stays.
pub struct Figure {
    /// Its number.
    pub number: u32,
    /// The letter of what goes.
    pub symbol: &'static str,
    /// What goes, in words.
    pub what: &'static str,
    /// What stays, in words.
    pub fixed: &'static str,
    /// The paper's finding on a log, in its section 4.4.
    pub finding: fn(&str) -> &'static str,
    values: fn(Scale) -> &'static [f64],
    ask: fn(f64) -> Ask,
    /// The number of an answer that goes.
    pub of: fn(&Ask) -> f64,
}

/// Figures 4 and 5.
pub static FIGURES: [Figure; 2] = [
    Figure {
        number: 4,
        symbol: "\u{3bc}",
        what: "the return asked for over the mean return",
        fixed: "\u{3b5} = 0",
        finding: |log| match log {
            "rc15" => "rises at first, then falls with \u{3bc}",
            _ => "falls all along with \u{3bc}",
        },
        values: |scale| match scale {
            Scale::Paper => &[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0],
            Scale::Quick => &[0.5, 1.0, 2.0, 3.0, 5.0],
        },
        ask: |mu| Ask { mu, ..TABLES },
        of: |ask| ask.mu,
    },
    Figure {
        number: 5,
        symbol: "\u{3b5}",
        what: "the deviation of the return asked for",
        fixed: "\u{3bc} = 2",
        finding: |log| match log {
            "rc15" => "falls with a large \u{3b5}",
            _ => "rises slightly with \u{3b5}",
        },
        values: |scale| match scale {
            Scale::Paper => &[0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0],
            Scale::Quick => &[0.0, 0.5, 1.0],
        },
        ask: |eps| Ask { eps, ..TABLES },
        of: |ask| ask.eps,
    },
];

impl Figure {
    /// `reward@1 by ...`.
    pub fn title(&self) -> String {
        format!(
            "test reward@1 by {}, {}, with {}",
            self.symbol, self.what, self.fixed
        )
    }

    /// Its prompts.
    pub fn asks(&self, scale: Scale) -> impl Iterator<Item = Ask> {
        (self.values)(scale).iter().map(|&value| (self.ask)(value))
    }

    /// Whether an answer is a point of it.
    pub fn has(&self, ask: &Ask) -> bool {
        (self.ask)((self.of)(ask)) == *ask
    }
}

/// The prompts of both figures, each once.
pub fn asks(scale: Scale) -> Vec<Ask> {
    let mut all: Vec<Ask> = Vec::new();
    for ask in FIGURES.iter().flat_map(|figure| figure.asks(scale)) {
        if !all.contains(&ask) {
            all.push(ask);
        }
    }
    all
}

impl Ask {
    /// Where its report lies; `None` for the prompt of the tables, whose report is there anyway.
    pub fn path(&self, dir: &Path) -> Option<PathBuf> {
        (*self != TABLES).then(|| dir.join(format!("test-mu{}-eps{}.json", self.mu, self.eps)))
    }

    /// The flags of `prl evaluate`.
    pub fn flags(&self) -> [String; 4] {
        [
            "--mu".into(),
            self.mu.to_string(),
            "--eps".into(),
            self.eps.to_string(),
        ]
    }

    /// What a run answered, whose report of the tables is `test`.
    pub fn read(self, dir: &Path, test: &Report) -> Result<Answer> {
        let reward_at_1 = match self.path(dir) {
            Some(path) => read_json::<Report>(&path)?.scores.reward_at_1,
            None => test.scores.reward_at_1,
        };
        Ok(Answer {
            ask: self,
            reward_at_1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_of_the_tables_is_in_both_figures_once() {
        for scale in [Scale::Quick, Scale::Paper] {
            let all = asks(scale);
            assert_eq!(all.iter().filter(|ask| **ask == TABLES).count(), 1);
            assert!(FIGURES.iter().all(|figure| figure.has(&TABLES)));
            let points: usize = FIGURES
                .iter()
                .map(|figure| all.iter().filter(|ask| figure.has(ask)).count())
                .sum();
            assert_eq!(points, all.len() + 1);
        }
        assert_eq!(asks(Scale::Paper).len(), 10 + 7 - 1);
    }

    #[test]
    fn each_prompt_has_its_file() {
        let dir = Path::new("run");
        assert_eq!(TABLES.path(dir), None);
        let ask = Ask { mu: 0.25, eps: 0.0 };
        assert_eq!(ask.path(dir), Some("run/test-mu0.25-eps0.json".into()));
        assert_eq!(ask.flags().join(" "), "--mu 0.25 --eps 0");
    }
}
