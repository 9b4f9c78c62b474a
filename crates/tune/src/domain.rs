//! Values that one setting can take, and their coordinate on the axis that a search works on.

use toml::Value;

/// Values of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// One of these; their coordinates are their positions.
    Choices(Vec<Value>),
    /// A number between two ends.
    Range(Range),
}

/// A range of numbers, both ends included.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Whether the coordinate is the logarithm.
    pub is_log: bool,
    /// Distance of two values, from `min` on.
    pub step: Option<f64>,
    /// Whether the values are whole numbers.
    pub is_integer: bool,
}

/// Coordinates of a domain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    /// Positions 0, 1, .., without an order.
    Categories(usize),
    /// An interval.
    Interval(f64, f64),
}

impl Domain {
    /// The coordinates.
    pub fn axis(&self) -> Axis {
        match self {
            Domain::Choices(values) => Axis::Categories(values.len()),
            Domain::Range(range) => range.axis(),
        }
    }

    /// Value at a coordinate of [`axis`](Self::axis).
    pub fn value_at(&self, x: f64) -> Value {
        match self {
            Domain::Choices(values) => values[(x as usize).min(values.len() - 1)].clone(),
            Domain::Range(range) => range.value_at(x),
        }
    }

    /// Coordinate of a value; `None` if the domain does not contain it.
    pub fn coordinate(&self, value: &Value) -> Option<f64> {
        match self {
            Domain::Choices(values) => Some(position(values, value)? as f64),
            Domain::Range(range) => {
                let x = number(value)?;
                if !(range.min..=range.max).contains(&x) {
                    return None;
                }
                Some(if range.is_log { x.ln() } else { x })
            }
        }
    }

    /// Values to check before a search: all choices, or both ends.
    pub fn extremes(&self) -> Vec<Value> {
        match self {
            Domain::Choices(values) => values.clone(),
            Domain::Range(range) => vec![range.typed(range.min), range.typed(range.max)],
        }
    }
}

impl Range {
    fn axis(&self) -> Axis {
        // Half a step beyond the ends, so that rounding gives every value an equal share.
        let half = match (self.step, self.is_integer) {
            (Some(step), _) => step / 2.0,
            (None, true) => 0.5,
            (None, false) => 0.0,
        };
        let (lo, hi) = (self.min - half, self.last() + half);
        if self.is_log {
            Axis::Interval(lo.ln(), hi.ln())
        } else {
            Axis::Interval(lo, hi)
        }
    }

    /// Greatest value that is a whole number of steps from `min`.
    fn last(&self) -> f64 {
        match self.step {
            Some(step) => {
                let steps = ((self.max - self.min) / step + 1e-9).floor();
                rounded(self.min + steps * step, 12)
            }
            None => self.max,
        }
    }

    fn value_at(&self, x: f64) -> Value {
        let x = if self.is_log { x.exp() } else { x };
        let x = match self.step {
            Some(step) => rounded(self.min + ((x - self.min) / step).round() * step, 12),
            None if self.is_integer => x.round(),
            // Four digits: a reader can copy them, and no result depends on the fifth.
            None => rounded(x, 4),
        };
        self.typed(x.clamp(self.min, self.last()))
    }

    fn typed(&self, x: f64) -> Value {
        if self.is_integer {
            Value::Integer(x.round() as i64)
        } else {
            Value::Float(x)
        }
    }
}

/// `x` to some significant digits.
fn rounded(x: f64, digits: usize) -> f64 {
    let text = format!("{x:.*e}", digits - 1);
    text.parse().unwrap_or(x)
}

/// The number that a value is.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(i) => Some(*i as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    }
}

/// Whether two values are equal, where `1` equals `1.0`.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Position of a value in a list.
pub(crate) fn position(values: &[Value], value: &Value) -> Option<usize> {
    values.iter().position(|other| is_same(other, value))
}

/// A value as text, without quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: f64, max: f64) -> Range {
        Range {
            min,
            max,
            is_log: false,
            step: None,
            is_integer: false,
        }
    }

    #[test]
    fn stepped_range_has_values_a_step_apart_and_none_beyond_its_end() {
        let stepped = Range {
            step: Some(0.1),
            ..range(0.0, 0.35)
        };
        let Axis::Interval(lo, hi) = stepped.axis() else {
            panic!("no interval");
        };
        assert!((lo + 0.05).abs() < 1e-12 && (hi - 0.35).abs() < 1e-12);
        let at = |x| stepped.value_at(x);
        assert_eq!(
            [lo, 0.049, 0.051, 0.26, hi].map(at),
            [0.0, 0.0, 0.1, 0.3, 0.3].map(Value::Float)
        );
    }

    #[test]
    fn whole_numbers_are_rounded_and_have_equal_shares() {
        let whole = Range {
            is_integer: true,
            ..range(2.0, 4.0)
        };
        assert_eq!(whole.axis(), Axis::Interval(1.5, 4.5));
        assert_eq!(
            [1.5, 2.49, 2.51, 4.49].map(|x| whole.value_at(x)),
            [2, 2, 3, 4].map(Value::Integer)
        );
    }

    #[test]
    fn logarithmic_value_has_four_digits_and_stays_inside() {
        let log = Range {
            is_log: true,
            ..range(0.001, 0.01)
        };
        assert_eq!(log.value_at(0.003_217_89f64.ln()), Value::Float(0.003218));
        assert_eq!(log.value_at(0.011f64.ln()), Value::Float(0.01));
        let domain = Domain::Range(log);
        assert_eq!(domain.coordinate(&Value::Float(0.01)), Some(0.01f64.ln()));
        assert_eq!(domain.coordinate(&Value::Float(0.02)), None);
    }

    #[test]
    fn choices_are_found_by_value() {
        let domain = Domain::Choices(vec![Value::Float(1.0), Value::String("a".into())]);
        assert_eq!(domain.coordinate(&Value::Integer(1)), Some(0.0));
        assert_eq!(domain.coordinate(&Value::String("b".into())), None);
        assert_eq!(domain.value_at(1.0), Value::String("a".into()));
    }
}
