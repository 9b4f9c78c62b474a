//! A search space: fixed settings, and settings with a domain, some of them under a condition.

mod parse;

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::domain::{Domain, position};
use crate::error::{Error, Result};

/// The space of a search that names none.
pub const DEFAULT_SPACE: &str = include_str!("default_space.toml");

/// Values of the settings of one trial, by name; the fixed ones are not among them.
pub type Assignment = BTreeMap<String, Value>;

/// Settings to search over.
#[derive(Clone, Debug)]
pub struct Space {
    file: String,
    lines: BTreeMap<String, usize>,
    table: Table,
    fixed: Table,
    variables: Vec<Variable>,
}

/// A setting, and the values of which it must have one.
type Condition = (String, Vec<Value>);

/// A setting with more than one value.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Name of the setting.
    pub name: String,
    /// Its values.
    pub domain: Domain,
    /// Other settings and the values under which this one is varied; all must hold.
    conditions: Vec<Condition>,
}

impl Variable {
    /// Whether it is varied under a condition only.
    pub fn is_conditional(&self) -> bool {
        !self.conditions.is_empty()
    }
}

impl Space {
    /// Parses a space; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::Space`] with the line of the first invalid setting.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        parse::parse(file, text)
    }

    /// Settings with one value.
    pub fn fixed(&self) -> &Table {
        &self.fixed
    }

    /// Settings with several values: first those without a condition, each group by name.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The variable of a name.
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }

    /// The parsed file.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether the conditions of a variable hold. `settings` must have the values of those without
    /// a condition.
    pub fn is_active(&self, variable: &Variable, settings: &Assignment) -> bool {
        for (name, values) in &variable.conditions {
            let Some(value) = settings.get(name).or(self.fixed.get(name)) else {
                return false;
            };
            if position(values, value).is_none() {
                return false;
            }
        }
        true
    }

    /// The error of a setting: its place, and what is wrong with it.
    pub fn error(&self, name: &str, what: impl Into<String>) -> Error {
        Error::Space {
            file: self.file.clone(),
            line: self.lines.get(name).copied().unwrap_or(1),
            what: what.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Space::parse("s.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn space_has_fixed_settings_and_variables() {
        let text = "dim = 64\nencoder = [\"core\", \"gru\"]\n\
                    update_bias = { min = 0, max = 2.0, when = { encoder = \"gru\" } }\n\
                    window = { min = 4, max = 16, step = 4 }\n";
        let space = Space::parse("s.toml", text).unwrap();
        assert_eq!(space.fixed().get("dim"), Some(&Value::Integer(64)));
        let names: Vec<&str> = space.variables().iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["encoder", "window", "update_bias"]);
        let bias = &space.variables()[2];
        let with = |encoder: &str| Assignment::from([("encoder".into(), encoder.into())]);
        assert!(space.is_active(bias, &with("gru")));
        assert!(!space.is_active(bias, &with("core")));
        let Domain::Range(window) = &space.variables()[1].domain else {
            panic!("no range");
        };
        assert!(window.is_integer && window.step == Some(4.0));
    }

    #[test]
    fn default_space_is_valid() {
        let space = Space::parse("default", DEFAULT_SPACE).unwrap();
        assert_eq!(space.variables().len(), 15);
        assert!(space.fixed().is_empty());
    }

    #[test]
    fn invalid_setting_is_reported_with_place_cause_and_remedy() {
        for (text, expected) in [
            (
                "dim = 8\nlr = []\n",
                "s.toml:2: lr: the list is empty; list at least one value",
            ),
            (
                "lr = { min = 2.0, max = 1.0 }\n",
                "s.toml:1: lr: min 2.0 is above max 1.0; exchange them",
            ),
            (
                "lr = { min = 2, max = 2 }\n",
                "s.toml:1: lr: min and max are both 2; write the value alone to fix it",
            ),
            (
                "lr = { min = 0.0, max = 1.0, log = true }\n",
                "s.toml:1: lr: a logarithmic range starts above 0; raise min, or leave log out",
            ),
            (
                "lr = { min = 0.1, max = 1.0, log = true, step = 0.1 }\n",
                "s.toml:1: lr: a logarithmic range has no step; leave one of them out",
            ),
            (
                "lr = { min = 0.1, max = 1.0, step = 0.0 }\n",
                "s.toml:1: lr: step must lie above 0 and at most at max - min",
            ),
            (
                "lr = { min = 0.1, max = 1.0, step = 1e-320 }\n",
                "s.toml:1: lr: the range has more than a million steps; leave step out",
            ),
            (
                "lr = { min = -1e308, max = 1e308 }\n",
                "s.toml:1: lr: max - min must be a finite number; narrow the range",
            ),
            (
                "lr = { min = 0.1 }\n",
                "s.toml:1: lr: expected a value, a list of values, choices = [..], or min and max",
            ),
            (
                "lr = { min = 0.1, max = 1.0, logg = true }\n",
                "s.toml:1: lr: unknown key logg; a range has min, max, log, step, int and when",
            ),
            (
                "lr = { min = nan, max = 1.0 }\n",
                "s.toml:1: lr: min must be a finite number",
            ),
            (
                "lr = { min = \"a\", max = 1.0 }\n",
                "s.toml:1: lr: min must be a finite number",
            ),
            (
                "lr = [0.1, 0.1]\n",
                "s.toml:1: lr: 0.1 is listed twice; leave one out",
            ),
            (
                "lr = [[1], [2]]\n",
                "s.toml:1: lr: a value must be a number, a text or true or false",
            ),
            (
                "lr = { choices = [1, 2], when = { encoder = [\"gru\"] } }\n",
                "s.toml:1: lr: its condition names encoder, which the space does not have; add it",
            ),
            (
                "a = { choices = [1, 2], when = { b = [1] } }\nb = { choices = [1, 2], when = { c = 1 } }\nc = 1\n",
                "s.toml:1: a: its condition names b, which has a condition itself; name one without",
            ),
            (
                "a = [1, 2]\nb = { choices = [1, 2], when = { a = [3] } }\n",
                "s.toml:2: b: its condition can never hold: a has no value 3",
            ),
            (
                "a = { min = 1.5, max = 3, int = true }\n",
                "s.toml:1: a: min, max and step of whole numbers must be whole",
            ),
            (
                "a = 1\n",
                "s.toml:1: every setting has one value; give one a list or a range",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
        assert!(
            error("lr = \n").starts_with("s.toml:1: "),
            "{}",
            error("lr = \n")
        );
        assert!(error("a = 1\na = 2\n").starts_with("s.toml:2: "));
    }
}
