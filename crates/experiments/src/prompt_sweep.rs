//! Figures 4 and 5: evaluation of a trained PRL under other target returns, and under noisy ones.
//!
//! Each prompt is one more evaluation of the best weights on the test split, stored as a report in
//! the run's directory. The prompt of the tables is one of them and is not evaluated twice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::schedule::Scale;

/// Prompt of the tables, from the paper's protocol.
const TABLES: PromptSetting = PromptSetting { mu: 2.0, eps: 0.0 };

/// Distribution of the target return as a multiple of the mean return: N(mu, eps^2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptSetting {
    /// Mean.
    pub mu: f64,
    /// Standard deviation.
    pub eps: f64,
}

impl PromptSetting {
    /// Path of its report in a run's directory; `None` for the prompt of the tables, whose report
    /// is that of the test split.
    pub fn report_path(&self, dir: &Path) -> Option<PathBuf> {
        let Self { mu, eps } = self;
        (*self != TABLES).then(|| dir.join(format!("test-mu{mu}-eps{eps}.json")))
    }

    /// Flags of `prl evaluate`.
    pub fn flags(&self) -> [String; 4] {
        let Self { mu, eps } = self;
        [
            "--mu".into(),
            mu.to_string(),
            "--eps".into(),
            eps.to_string(),
        ]
    }
}

/// Parameter that a figure varies; the other one is that of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Mean of the target return.
    Mu,
    /// Standard deviation of the target return.
    Eps,
}

/// A figure of the paper with the reward by one parameter of the prompt.
pub struct PromptFigure {
    /// Number in the paper.
    pub number: u32,
    /// Varied parameter.
    pub parameter: Parameter,
    /// Symbol of the varied parameter.
    pub symbol: &'static str,
    /// Description of the varied parameter.
    pub description: &'static str,
    /// Value of the other parameter.
    pub fixed: &'static str,
    /// Finding of the paper's section 4.4 on RC15 and on RetailRocket.
    findings: [&'static str; 2],
    quick_values: &'static [f64],
    paper_values: &'static [f64],
}

/// Figures 4 and 5.
pub static FIGURES: [PromptFigure; 2] = [
    PromptFigure {
        number: 4,
        parameter: Parameter::Mu,
        symbol: "\u{3bc}",
        description: "the return asked for over the mean return",
        fixed: "\u{3b5} = 0",
        findings: [
            "rises at first, then falls with \u{3bc}",
            "falls all along with \u{3bc}",
        ],
        quick_values: &[0.5, 1.0, 2.0, 3.0, 5.0],
        paper_values: &[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0],
    },
    PromptFigure {
        number: 5,
        parameter: Parameter::Eps,
        symbol: "\u{3b5}",
        description: "the deviation of the return asked for",
        fixed: "\u{3bc} = 2",
        findings: ["falls with a large \u{3b5}", "rises slightly with \u{3b5}"],
        quick_values: &[0.0, 0.5, 1.0],
        paper_values: &[0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0],
    },
];

impl PromptFigure {
    /// Title: `test reward@1 by ..`.
    pub fn title(&self) -> String {
        format!(
            "test reward@1 by {}, {}, with {}",
            self.symbol, self.description, self.fixed
        )
    }

    /// Finding of the paper on a log.
    pub fn finding(&self, log: &str) -> &'static str {
        self.findings[usize::from(log != "rc15")]
    }

    /// Its prompts.
    pub fn prompts(&self, scale: Scale) -> Vec<PromptSetting> {
        let values = match scale {
            Scale::Quick => self.quick_values,
            Scale::Paper => self.paper_values,
        };
        let mut prompts = Vec::new();
        for &value in values {
            prompts.push(match self.parameter {
                Parameter::Mu => PromptSetting {
                    mu: value,
                    ..TABLES
                },
                Parameter::Eps => PromptSetting {
                    eps: value,
                    ..TABLES
                },
            });
        }
        prompts
    }

    /// Value of the varied parameter of a prompt; `None` if the other one is not that of the
    /// tables, so that the prompt is no point of the figure.
    pub fn value(&self, prompt: &PromptSetting) -> Option<f64> {
        match self.parameter {
            Parameter::Mu => (prompt.eps == TABLES.eps).then_some(prompt.mu),
            Parameter::Eps => (prompt.mu == TABLES.mu).then_some(prompt.eps),
        }
    }
}

/// Prompts of both figures, without repetition.
pub fn prompts(scale: Scale) -> Vec<PromptSetting> {
    let mut all = Vec::new();
    for figure in &FIGURES {
        for prompt in figure.prompts(scale) {
            if !all.contains(&prompt) {
                all.push(prompt);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_of_the_tables_is_in_both_figures_and_evaluated_once() {
        for scale in [Scale::Quick, Scale::Paper] {
            let all = prompts(scale);
            assert_eq!(all.iter().filter(|prompt| **prompt == TABLES).count(), 1);
            let points = |figure: &PromptFigure| {
                let values = all.iter().filter_map(|prompt| figure.value(prompt));
                values.count()
            };
            assert!(FIGURES.iter().all(|figure| figure.value(&TABLES).is_some()));
            assert_eq!(FIGURES.iter().map(points).sum::<usize>(), all.len() + 1);
        }
        assert_eq!(prompts(Scale::Paper).len(), 10 + 7 - 1);
    }

    #[test]
    fn each_other_prompt_has_its_own_report() {
        let dir = Path::new("run");
        assert_eq!(TABLES.report_path(dir), None);
        let prompt = PromptSetting { mu: 0.25, eps: 0.0 };
        assert_eq!(
            prompt.report_path(dir),
            Some("run/test-mu0.25-eps0.json".into())
        );
        assert_eq!(prompt.flags().join(" "), "--mu 0.25 --eps 0");
    }
}
