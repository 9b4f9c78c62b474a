//! Parser of a search space.

use std::collections::BTreeMap;

use toml::{Spanned, Table, Value};

use super::{Condition, Space, Variable};
use crate::domain::{Domain, Range, is_same, number, plain, position};
use crate::error::{Error, Result};

/// Largest number of steps of a range: their values differ in twelve digits.
const MAX_STEPS: f64 = 1e6;

/// Problem of one setting, without its place.
type Checked<T> = std::result::Result<T, String>;

pub(super) fn parse(file: &str, text: &str) -> Result<Space> {
    let parsed: std::result::Result<BTreeMap<Spanned<String>, Value>, _> = toml::from_str(text);
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let start = error.span().unwrap_or_default().start;
            return Err(refused(file, line_at(text, start), error.message()));
        }
    };
    let mut space = Space {
        file: file.to_owned(),
        lines: BTreeMap::new(),
        table: Table::new(),
        fixed: Table::new(),
        variables: Vec::new(),
    };
    for (name, value) in parsed {
        let line = line_at(text, name.span().start);
        let name = name.into_inner();
        space.lines.insert(name.clone(), line);
        space.table.insert(name.clone(), value.clone());
        match setting(&name, value) {
            Ok(Setting::Fixed(value)) => _ = space.fixed.insert(name, value),
            Ok(Setting::Variable(variable)) => space.variables.push(variable),
            Err(what) => return Err(refused(file, line, &format!("{name}: {what}"))),
        }
    }
    if space.variables.is_empty() {
        let what = "every setting has one value; give one a list or a range";
        return Err(refused(file, 1, what));
    }
    space.variables.sort_by_key(Variable::is_conditional);
    for variable in &space.variables {
        if let Err(what) = check_conditions(variable, &space) {
            let name = &variable.name;
            return Err(space.error(name, format!("{name}: {what}")));
        }
    }
    Ok(space)
}

fn refused(file: &str, line: usize, what: &str) -> Error {
    Error::Space {
        file: file.to_owned(),
        line,
        what: what.to_owned(),
    }
}

/// Line of a byte of the text, from 1.
fn line_at(text: &str, byte: usize) -> usize {
    let before = text.get(..byte).unwrap_or(text);
    before.matches('\n').count() + 1
}

enum Setting {
    Fixed(Value),
    Variable(Variable),
}

fn setting(name: &str, value: Value) -> Checked<Setting> {
    let (domain, conditions) = match value {
        Value::Array(values) => (choices(values)?, Vec::new()),
        Value::Table(table) => described(table)?,
        value => {
            check_scalar(&value)?;
            return Ok(Setting::Fixed(value));
        }
    };
    // A single choice without a condition is a fixed setting.
    if let (Domain::Choices(values), true) = (&domain, conditions.is_empty())
        && let [value] = values.as_slice()
    {
        return Ok(Setting::Fixed(value.clone()));
    }
    Ok(Setting::Variable(Variable {
        name: name.to_owned(),
        domain,
        conditions,
    }))
}

fn choices(values: Vec<Value>) -> Checked<Domain> {
    if values.is_empty() {
        return Err("the list is empty; list at least one value".into());
    }
    for (i, value) in values.iter().enumerate() {
        check_scalar(value)?;
        if position(&values[..i], value).is_some() {
            return Err(format!("{} is listed twice; leave one out", plain(value)));
        }
    }
    Ok(Domain::Choices(values))
}

fn check_scalar(value: &Value) -> Checked<()> {
    match value {
        Value::String(_) | Value::Integer(_) | Value::Boolean(_) => Ok(()),
        Value::Float(x) if x.is_finite() => Ok(()),
        _ => Err("a value must be a number, a text or true or false".into()),
    }
}

/// A domain with keys: a range, or choices under a condition.
fn described(mut table: Table) -> Checked<(Domain, Vec<Condition>)> {
    let conditions = match table.remove("when") {
        Some(when) => conditions(when)?,
        None => Vec::new(),
    };
    if let Some(Value::Array(values)) = table.remove("choices") {
        return match table.keys().next() {
            Some(key) => Err(format!("unknown key {key}; beside choices there is when")),
            None => Ok((choices(values)?, conditions)),
        };
    }
    for key in table.keys() {
        if !["min", "max", "log", "step", "int"].contains(&key.as_str()) {
            return Err(format!(
                "unknown key {key}; a range has min, max, log, step, int and when"
            ));
        }
    }
    if !table.contains_key("min") || !table.contains_key("max") {
        return Err("expected a value, a list of values, choices = [..], or min and max".into());
    }
    Ok((Domain::Range(range(&table)?), conditions))
}

fn range(table: &Table) -> Checked<Range> {
    let (min, max) = (finite(table, "min")?, finite(table, "max")?);
    let step = match table.contains_key("step") {
        true => Some(finite(table, "step")?),
        false => None,
    };
    let is_log = flag(table, "log")?.unwrap_or(false);
    let is_integer = match flag(table, "int")? {
        Some(is_integer) => is_integer,
        None => is_written_whole(table),
    };
    let (low, high) = (&table["min"], &table["max"]);
    if min > max {
        return Err(format!("min {low} is above max {high}; exchange them"));
    }
    if min == max {
        return Err(format!(
            "min and max are both {low}; write the value alone to fix it"
        ));
    }
    if is_log && min <= 0.0 {
        return Err("a logarithmic range starts above 0; raise min, or leave log out".into());
    }
    if is_log && step.is_some() {
        return Err("a logarithmic range has no step; leave one of them out".into());
    }
    if !(max - min).is_finite() {
        return Err("max - min must be a finite number; narrow the range".into());
    }
    let distance = step.unwrap_or(max - min);
    if distance <= 0.0 || distance > max - min {
        return Err("step must lie above 0 and at most at max - min".into());
    }
    if (max - min) / distance > MAX_STEPS {
        return Err("the range has more than a million steps; leave step out".into());
    }
    let fractions = min.fract().abs() + max.fract().abs() + distance.fract().abs();
    if is_integer && fractions != 0.0 {
        return Err("min, max and step of whole numbers must be whole".into());
    }
    Ok(Range {
        min,
        max,
        is_log,
        step,
        is_integer,
    })
}

/// Whether all numbers of a range are written without a decimal point.
fn is_written_whole(table: &Table) -> bool {
    for key in ["min", "max", "step"] {
        if table.get(key).is_some_and(Value::is_float) {
            return false;
        }
    }
    true
}

fn finite(table: &Table, key: &str) -> Checked<f64> {
    match table.get(key).and_then(number) {
        Some(x) if x.is_finite() => Ok(x),
        _ => Err(format!("{key} must be a finite number")),
    }
}

fn flag(table: &Table, key: &str) -> Checked<Option<bool>> {
    match table.get(key) {
        None => Ok(None),
        Some(Value::Boolean(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("{key} must be true or false")),
    }
}

fn conditions(when: Value) -> Checked<Vec<Condition>> {
    let Value::Table(table) = when else {
        return Err("when must be a table: when = { other = [value, ..] }".into());
    };
    let mut conditions = Vec::new();
    for (name, values) in table {
        let values = match values {
            Value::Array(values) => values,
            value => vec![value],
        };
        conditions.push((name, values));
    }
    Ok(conditions)
}

/// Fails if a condition can never hold, or depends on a setting that has a condition.
fn check_conditions(variable: &Variable, space: &Space) -> Checked<()> {
    for (name, values) in &variable.conditions {
        let other = space.variable(name);
        if other.is_some_and(Variable::is_conditional) {
            return Err(format!(
                "its condition names {name}, which has a condition itself; name one without"
            ));
        }
        let fixed = space.fixed.get(name);
        if other.is_none() && fixed.is_none() {
            return Err(format!(
                "its condition names {name}, which the space does not have; add it"
            ));
        }
        for value in values {
            let is_possible = match (other, fixed) {
                (Some(other), _) => other.domain.coordinate(value).is_some(),
                (None, Some(fixed)) => is_same(fixed, value),
                (None, None) => false,
            };
            if !is_possible {
                let value = plain(value);
                return Err(format!(
                    "its condition can never hold: {name} has no value {value}"
                ));
            }
        }
    }
    Ok(())
}
