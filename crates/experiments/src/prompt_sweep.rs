//! Figures 4 and 5: evaluation of a trained PRL under other target returns, and under noisy ones;
//! and beside them under a tilt of its scores, which needs no training.
//!
//! Each prompt is one more evaluation of the best weights on the test split, stored as a report in
//! the run's directory. The prompt of the tables is one of them and is not evaluated twice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::schedule::Scale;

/// Prompt of the tables, from the paper's protocol.
const TABLES: PromptSetting = PromptSetting {
    mu: 2.0,
    eps: 0.0,
    tilt: 0.0,
};

/// Distribution of the target return as a multiple of the mean return, N(mu, eps^2), and the tilt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptSetting {
    /// Mean.
    pub mu: f64,
    /// Standard deviation.
    pub eps: f64,
    /// Tilt towards bought items.
    #[serde(default)]
    pub tilt: f64,
}

impl PromptSetting {
    /// Path of its report in a run's directory; `None` for the prompt of the tables, whose report
    /// is that of the test split.
    pub fn report_path(&self, dir: &Path) -> Option<PathBuf> {
        let Self { mu, eps, tilt } = self;
        let tilted = match *tilt == 0.0 {
            true => String::new(),
            false => format!("-tilt{tilt}"),
        };
        (*self != TABLES).then(|| dir.join(format!("test-mu{mu}-eps{eps}{tilted}.json")))
    }

    /// Flags of `prl evaluate`.
    pub fn flags(&self) -> Vec<String> {
        let Self { mu, eps, tilt } = self;
        let mut flags = vec![
            "--mu".into(),
            mu.to_string(),
            "--eps".into(),
            eps.to_string(),
        ];
        if *tilt != 0.0 {
            flags.extend(["--tilt".into(), tilt.to_string()]);
        }
        flags
    }
}

/// Parameter that a figure varies; the other one is that of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Mean of the target return.
    Mu,
    /// Standard deviation of the target return.
    Eps,
    /// Tilt towards bought items.
    Tilt,
}

/// A figure of the paper with the reward by one parameter of the prompt.
pub struct PromptFigure {
    /// Name of its file and section.
    pub id: &'static str,
    /// Its number in the paper, or the figure that it is beside.
    pub heading: &'static str,
    /// Varied parameter.
    pub parameter: Parameter,
    /// Symbol of the varied parameter.
    pub symbol: &'static str,
    /// Description of the varied parameter.
    pub description: &'static str,
    /// Value of the other parameter.
    pub fixed: &'static str,
    /// Finding of the paper's section 4.4 on RC15 and on RetailRocket.
    findings: Option<[&'static str; 2]>,
    quick_values: &'static [f64],
    paper_values: &'static [f64],
}

/// Figures 4 and 5, and the tilt.
pub static FIGURES: [PromptFigure; 3] = [
    PromptFigure {
        id: "figure4",
        heading: "Figure 4",
        parameter: Parameter::Mu,
        symbol: "\u{3bc}",
        description: "the return asked for over the mean return",
        fixed: "\u{3b5} = 0",
        findings: Some([
            "rises at first, then falls with \u{3bc}",
            "falls all along with \u{3bc}",
        ]),
        quick_values: &[0.5, 1.0, 2.0, 3.0, 5.0],
        paper_values: &[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0],
    },
    PromptFigure {
        id: "figure5",
        heading: "Figure 5",
        parameter: Parameter::Eps,
        symbol: "\u{3b5}",
        description: "the deviation of the return asked for",
        fixed: "\u{3bc} = 2",
        findings: Some(["falls with a large \u{3b5}", "rises slightly with \u{3b5}"]),
        quick_values: &[0.0, 0.5, 1.0],
        paper_values: &[0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0],
    },
    PromptFigure {
        id: "figure4-tilt",
        heading: "Beside Figure 4",
        parameter: Parameter::Tilt,
        symbol: "\u{3b2}",
        description: "the tilt towards bought items, which needs no training",
        fixed: "\u{3bc} = 2",
        findings: None,
        quick_values: &[0.0, 1.0],
        paper_values: &[0.0, 0.5, 1.0, 2.0, 4.0],
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

    /// Finding of the paper on a log, if the figure is the paper's.
    pub fn finding(&self, log: &str) -> Option<&'static str> {
        Some(self.findings?[usize::from(log != "rc15")])
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
                Parameter::Tilt => PromptSetting {
                    tilt: value,
                    ..TABLES
                },
            });
        }
        prompts
    }

    /// Value of the varied parameter of a prompt; `None` if another one is not that of the tables,
    /// so that the prompt is no point of the figure.
    pub fn value(&self, prompt: &PromptSetting) -> Option<f64> {
        let mut others = *prompt;
        let value = match self.parameter {
            Parameter::Mu => std::mem::replace(&mut others.mu, TABLES.mu),
            Parameter::Eps => std::mem::replace(&mut others.eps, TABLES.eps),
            Parameter::Tilt => std::mem::replace(&mut others.tilt, TABLES.tilt),
        };
        (others == TABLES).then_some(value)
    }
}

/// Prompts of all figures, without repetition.
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
    fn prompt_of_the_tables_is_in_all_figures_and_evaluated_once() {
        for scale in [Scale::Quick, Scale::Paper] {
            let all = prompts(scale);
            assert_eq!(all.iter().filter(|prompt| **prompt == TABLES).count(), 1);
            let points = |figure: &PromptFigure| {
                let values = all.iter().filter_map(|prompt| figure.value(prompt));
                values.count()
            };
            assert!(FIGURES.iter().all(|figure| figure.value(&TABLES).is_some()));
            assert_eq!(FIGURES.iter().map(points).sum::<usize>(), all.len() + 2);
        }
        assert_eq!(prompts(Scale::Paper).len(), 10 + 7 + 5 - 2);
    }

    #[test]
    fn each_other_prompt_has_its_own_report() {
        let dir = Path::new("run");
        assert_eq!(TABLES.report_path(dir), None);
        let prompt = PromptSetting { mu: 0.25, ..TABLES };
        assert_eq!(
            prompt.report_path(dir),
            Some("run/test-mu0.25-eps0.json".into())
        );
        assert_eq!(prompt.flags().join(" "), "--mu 0.25 --eps 0");
        let tilted = PromptSetting {
            tilt: 0.5,
            ..TABLES
        };
        assert_eq!(
            tilted.report_path(dir),
            Some("run/test-mu2-eps0-tilt0.5.json".into())
        );
        assert_eq!(tilted.flags().join(" "), "--mu 2 --eps 0 --tilt 0.5");
    }
}
