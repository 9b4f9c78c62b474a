//! Policies: rules that choose the arm of a session.

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Result};
use crate::sessions::{Context, Session, Sessions};

/// Rule that chooses the arm of a session by its context at the first answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// The experiment itself.
    Logged,
    /// One arm for all sessions.
    Arm(usize),
    /// Arms by context.
    Rules(Rules),
}

/// Ordered rules; the first one that holds chooses the arm.
///
/// ```toml
/// [[rule]]
/// arm = "tilt"
/// step = [2, 9]        # from 2 to 9, both included
/// purchases = [0, 0]
///
/// [[rule]]             # all other sessions
/// arm = "plain"
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    arm: usize,
    step: Option<[u32; 2]>,
    clicks: Option<[u32; 2]>,
    purchases: Option<[u32; 2]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<RuleDefinition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDefinition {
    arm: Spanned<String>,
    step: Option<[u32; 2]>,
    clicks: Option<[u32; 2]>,
    purchases: Option<[u32; 2]>,
}

impl Policy {
    /// The arm of a session; its own under [`Policy::Logged`].
    pub(crate) fn arm(&self, session: &Session) -> usize {
        match self {
            Self::Logged => session.arm,
            Self::Arm(arm) => *arm,
            Self::Rules(rules) => rules.arm(&session.context),
        }
    }

    /// Weight of a session.
    pub(crate) fn weight(&self, session: &Session) -> f64 {
        if *self == Self::Logged {
            return 1.0;
        }
        if self.arm(session) == session.arm {
            1.0 / session.p
        } else {
            0.0
        }
    }

    /// Name as in arguments.
    pub fn name(&self, log: &Sessions) -> String {
        match self {
            Self::Logged => "logged".into(),
            Self::Arm(arm) => format!("arm:{}", log.arms[*arm]),
            Self::Rules(rules) => format!("rules:{}", rules.name),
        }
    }
}

impl Rules {
    /// Reads rules over the arms of a log; `file` is their name in messages.
    ///
    /// # Errors
    /// [`Error::Rules`] with the line of the first invalid rule.
    pub fn from_toml(file: &str, text: &str, log: &Sessions) -> Result<Self> {
        let error = |start: usize, what: String| Error::Rules {
            file: file.to_owned(),
            line: text.as_bytes()[..start]
                .split(|&byte| byte == b'\n')
                .count(),
            what,
        };
        let definition: File = toml::from_str(text).map_err(|invalid| {
            let start = invalid.span().map_or(0, |span| span.start.min(text.len()));
            error(start, invalid.message().trim().replace('\n', ", "))
        })?;
        let mut rules: Vec<Rule> = Vec::with_capacity(definition.rule.len());
        for rule in definition.rule {
            let start = rule.arm.span().start;
            if rules.last().is_some_and(Rule::is_last) {
                let what = "follows a rule without conditions, so it never holds; move that last";
                return Err(error(start, what.into()));
            }
            let arm = log.arm(rule.arm.get_ref());
            let rule = Rule {
                arm: arm.map_err(|unknown| error(start, unknown.to_string()))?,
                step: rule.step,
                clicks: rule.clicks,
                purchases: rule.purchases,
            };
            for [low, high] in rule.ranges() {
                if low > high {
                    let what =
                        format!("the range [{low}, {high}] is empty; its first is the least");
                    return Err(error(start, what));
                }
            }
            rules.push(rule);
        }
        if !rules.last().is_some_and(Rule::is_last) {
            let what = "the last rule has conditions; add one without, for all other sessions";
            return Err(error(text.len(), what.into()));
        }
        let name = file.to_owned();
        Ok(Self { name, rules })
    }

    fn arm(&self, context: &Context) -> usize {
        let mut arm = 0;
        for rule in &self.rules {
            arm = rule.arm;
            if rule.holds(context) {
                break;
            }
        }
        arm
    }
}

impl Rule {
    fn holds(&self, context: &Context) -> bool {
        let is_in = |range: Option<[u32; 2]>, value: u32| {
            range.is_none_or(|[low, high]| (low..=high).contains(&value))
        };
        is_in(self.step, context.step)
            && is_in(self.clicks, context.clicks)
            && is_in(self.purchases, context.purchases)
    }

    fn ranges(&self) -> impl Iterator<Item = [u32; 2]> {
        [self.step, self.clicks, self.purchases]
            .into_iter()
            .flatten()
    }

    /// Whether the rule has no conditions.
    fn is_last(&self) -> bool {
        self.ranges().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Sessions {
        Sessions {
            arms: vec!["a".into(), "b".into()],
            sessions: vec![],
        }
    }

    #[test]
    fn first_rule_that_holds_chooses_the_arm() {
        let text = "[[rule]]\narm = 'b'\nstep = [2, 4]\npurchases = [0, 0]\n[[rule]]\narm = 'a'\n";
        let rules = Rules::from_toml("r.toml", text, &log()).unwrap();
        for (step, purchases, expected) in [(1, 0, 0), (2, 0, 1), (4, 0, 1), (5, 0, 0), (3, 1, 0)] {
            let context = Context {
                step,
                clicks: 9,
                purchases,
            };
            assert_eq!(rules.arm(&context), expected, "{step} {purchases}");
        }
    }

    #[test]
    fn invalid_rules_name_the_line() {
        for (text, expected) in [
            (
                "[[rule]]\narm = 'c'\n",
                "r.toml:2: arm \"c\" is not in the log; its arms are a, b",
            ),
            (
                "[[rule]]\narm = 'a'\nstep = [3, 2]\n",
                "r.toml:2: the range [3, 2] is empty",
            ),
            (
                "[[rule]]\narm = 'a'\nstep = [1, 2]",
                "r.toml:3: the last rule has conditions",
            ),
            (
                "[[rule]]\narm='a'\n[[rule]]\narm='b'",
                "r.toml:4: follows a rule without",
            ),
            (
                "[[rule]]\narm = 'a'\nsteps = [1, 2]\n",
                "r.toml:3: unknown field `steps`",
            ),
            ("rule = []\n", "r.toml:2: the last rule has conditions"),
        ] {
            let error = Rules::from_toml("r.toml", text, &log()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
